"""How many pre-auth keys a second a stock headscale server mints by its own API: a database of its own, a key made by its own command."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from acs.demo.embedded import Postgres, make_database
from placement.headscale.fleet import binary, config, noise

CLIENTS = 4


@contextmanager
def minting() -> Iterator[Callable[[float], float] | None]:
    """A server that runs: called with seconds, it mints for so long and tells how many keys a second. None, and said so, where there is no binary."""
    headscale = binary.find()
    if headscale is None:
        print("no headscale on PATH: the stock API's mint rate is not measured", file=sys.stderr)
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="acs-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        postgres = Postgres(folder / "pg").start()
        try:
            make_database(postgres, "stock")
            with _server(headscale, postgres, folder / "server") as mint:
                yield mint
        finally:
            postgres.stop()


@contextmanager
def _server(headscale: str, postgres: Postgres, folder: Path) -> Iterator[Callable[[float], float]]:
    folder.mkdir()
    listen, metrics, grpc = binary.free_ports(3)
    plan = config.Plan(
        server_url=f"http://127.0.0.1:{listen}",
        listen=f"127.0.0.1:{listen}",
        metrics_listen=f"127.0.0.1:{metrics}",
        grpc_listen=f"127.0.0.1:{grpc}",
        base_domain="stock.internal",
        prefix_v4="100.64.0.0/16",
        prefix_v6="fd7a:115c:a1e0::/64",
        conninfo=postgres.url("stock", "postgres"),
        policy_mode="database",
    )
    config.write(folder, plan, noise_key=noise.generate(), derp_map=config.LOOPBACK_MAP)
    words = [headscale, "--config", str(folder / "config.yaml")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*words, "serve"], stdout=log, stderr=log, cwd=folder)
    try:
        _wait(listen, folder / "log")
        made = subprocess.run([*words, "apikeys", "create"], cwd=folder, capture_output=True, text=True, check=True)
        key = made.stdout.strip().splitlines()[-1]
        user = json.loads(_call(listen, key, "POST", "/api/v1/user", {"name": "bench"}))["user"]["id"]
        yield partial(_minted, listen, key, user)
    finally:
        server.terminate()
        server.wait(10)


def _minted(port: int, key: str, user: str, seconds: float) -> float:
    counts: list[int] = []
    begun = time.monotonic()

    def client() -> None:
        count = 0
        while time.monotonic() - begun < seconds:
            expiration = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
            _call(port, key, "POST", "/api/v1/preauthkey", {"user": user, "expiration": expiration})
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - begun)


def _call(port: int, key: str, method: str, path: str, body: dict[str, str]) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, json.dumps(body), {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"headscale answered {path} with {answer.status}: {told[:200]!r}")
    return told


def _wait(port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"headscale did not come up: {log.read_text()[-1000:]}")
