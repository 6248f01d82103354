"""How load shows in a server's metrics: the same on headscale, where peers are computed, and on the simulator, where the time for it is reckoned."""

from __future__ import annotations

import ipaddress
import json
import secrets
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from placement.engine.heat import quantile
from placement.headscale import metrics
from placement.headscale.metrics import LoadReading
from tests.servers import Server, run_headscale, run_simulator

NODES, USERS, WRITES = 800, 80, 24
RULES = {"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}]}


def settle(server: Server, count: int) -> None:
    """So many nodes, written while the server is stopped."""
    now = datetime.now(UTC).isoformat(sep=" ")
    with sqlite3.connect(server.database["sqlite"]["path"]) as file:
        for user in range(USERS):
            file.execute(
                "insert into users (name, created_at, updated_at) values (?, datetime('now'), datetime('now'))", [f"resident{user}"]
            )
        users = [row[0] for row in file.execute("select id from users order by id desc limit ?", [USERS])]
        for number in range(count):
            name, ip = f"node{number}", str(ipaddress.ip_network("100.64.0.0/20")[100 + number])
            keys = [f"{kind}:{secrets.token_hex(32)}" for kind in ("mkey", "nodekey", "discokey")]
            file.execute(
                "insert into nodes (machine_key, node_key, disco_key, endpoints, host_info, ipv4, hostname, given_name, user_id, register_method, tags,"
                " approved_routes, created_at, updated_at) values (?, ?, ?, '[]', '{}', ?, ?, ?, ?, 'authkey', '[]', '[]', ?, ?)",
                [*keys, ip, name, name, users[number % USERS], now, now],
            )
    file.close()


def look(server: Server) -> LoadReading:
    return metrics.fetch("tested", server.metrics_url, timeout=5)


def storm(server: Server) -> tuple[float, float, int]:
    """Writes all at once: the p95 of the peer calculations that they caused, the CPU that was used, and the deepest queue that was seen."""
    before, deepest, ended = look(server), 0, time.monotonic() + 6
    with server.admin() as admin, ThreadPoolExecutor(WRITES) as pool:
        nodes = admin.nodes()
        renamed = [pool.submit(admin.rename, node.id, f"renamed{node.id}") for node in nodes[:WRITES]]
        while time.monotonic() < ended and (not all(write.done() for write in renamed) or look(server).queue_depth):
            deepest = max(deepest, look(server).queue_depth)
    after = look(server)
    assert after.queue_depth == 0
    buckets = zip(after.peer_calculation_buckets, before.peer_calculation_buckets, strict=True)
    p95 = quantile([(bound, count - then) for (bound, count), (_, then) in buckets], 0.95)
    return p95 or 0.0, after.cpu_seconds - before.cpu_seconds, deepest


@pytest.mark.parametrize("run", [run_simulator, pytest.param(run_headscale, marks=pytest.mark.headscale)], ids=["simulator", "headscale"])
def test_writes_cost_a_server_with_many_nodes_more_and_wait_for_each_other(run, tmp_path: Path) -> None:
    with run(tmp_path) as server, server.admin() as admin:
        admin.put_policy(json.dumps(RULES))
        calm = storm(server)
    settle(server, NODES)
    with run(tmp_path) as server:
        assert look(server).nodes == NODES
        busy = storm(server)
    print(f"p95, CPU, queue with few nodes {calm}, with {NODES} {busy}")
    assert calm[0] < 0.01
    assert busy[0] > 0.05
    assert busy[1] > calm[1] + 0.1
    assert busy[2] > 0
