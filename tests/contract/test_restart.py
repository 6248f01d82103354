"""What a server remembers: it reads its nodes at its start and never again."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.contract.test_nodes import eventually
from tests.servers import machine, run_headscale, run_simulator

RUN = {"simulator": run_simulator, "headscale": run_headscale}
BOTH = [pytest.param("simulator"), pytest.param("headscale", marks=[pytest.mark.headscale, pytest.mark.tailscale])]


@pytest.mark.parametrize("program", BOTH)
def test_nodes_are_read_at_the_start_only_and_nobody_is_online_then(program: str, tmp_path: Path) -> None:
    run = RUN[program]
    with ExitStack() as devices:
        with run(tmp_path / "server") as server, server.admin() as admin:
            user = admin.make_user("acme")
            for name in ("first", "second"):
                key = admin.make_key(user.id, datetime.now(UTC) + timedelta(hours=1))
                device = devices.enter_context(machine(server, tmp_path / name))
                device.join(key.secret or "", name)
            eventually(lambda: all(node.online for node in admin.nodes()))
            before = {node.hostname: node for node in admin.nodes()}
            file = sqlite3.connect(server.folder / "db.sqlite", timeout=10)
            with file:
                file.execute("delete from nodes where hostname = 'second'")
            file.close()
            assert {node.hostname for node in admin.nodes()} == {"first", "second"}
        devices.close()
        with run(tmp_path / "server") as server, server.admin() as admin:
            (after,) = admin.nodes()
            assert (after.hostname, after.online) == ("first", False)
            assert (after.id, after.machine_key, after.node_key, after.ipv4, after.ipv6) == (
                *(before["first"].id, before["first"].machine_key, before["first"].node_key),
                *(before["first"].ipv4, before["first"].ipv6),
            )


@pytest.mark.parametrize("program", BOTH)
def test_it_stops_when_asked(program: str, tmp_path: Path) -> None:
    with RUN[program](tmp_path / "server") as server:
        os.kill(server.process.pid, signal.SIGTERM)
        assert server.process.wait(5) == 0


@pytest.mark.headscale
def test_a_database_that_one_of_them_made_is_read_by_the_other(tmp_path: Path) -> None:
    with run_simulator(tmp_path / "server") as server, server.admin() as admin:
        user = admin.make_user("acme")
        with machine(server, tmp_path) as device:
            device.join(admin.make_key(user.id, datetime.now(UTC) + timedelta(hours=1)).secret or "", "made-here")
        admin.put_policy('{"acls": []}')
        before = admin.nodes()[0]
    with run_headscale(tmp_path / "real"):  # its own tables, then the simulator's rows
        pass
    with sqlite3.connect(tmp_path / "real" / "db.sqlite") as file:
        file.execute("attach database ? as made", [str(tmp_path / "server" / "db.sqlite")])
        for table in ("users", "pre_auth_keys", "nodes", "policies"):
            columns = ", ".join(row[1] for row in file.execute(f"pragma table_info({table})"))
            file.execute(f"insert into main.{table} ({columns}) select {columns} from made.{table}")
    file.close()
    with run_headscale(tmp_path / "real") as real, real.admin() as admin:
        (node,) = admin.nodes()
        assert (node.hostname, node.name, node.ipv4, node.ipv6, node.user_name) == (
            "made-here",
            "made-here",
            before.ipv4,
            before.ipv6,
            "acme",
        )
        assert (node.key_id, node.created_at, node.machine_key) == (before.key_id, before.created_at, before.machine_key)
        stored = admin.policy()
        assert stored is not None
        assert stored.document == '{"acls": []}'
