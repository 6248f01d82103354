"""A served cluster of the default fleet: added, started and registered by the operators' own commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from placement.headscale.fleet.binary import free_ports
from tests.conftest import clusters_to_drop, fresh_cluster_id, manage
from tests.servers import Server, run_headscale, run_simulator


@contextmanager
def serve_cluster(folder: Path, *, real: bool, region: str = "eu") -> Iterator[tuple[str, Server]]:
    """Its cluster_id and its server, real headscale or the simulator, active and with the base policy."""
    cluster_id = fresh_cluster_id()
    listen, metrics = (f"127.0.0.1:{port}" for port in free_ports(2))
    words = ["--region", region, "--listen", listen, "--metrics-listen", metrics, "--client-url", f"http://{listen}", "--out", str(folder)]
    manage("fleet", "add-cluster", cluster_id, *words)
    clusters_to_drop.append(cluster_id)
    start = run_headscale if real else run_simulator
    with start(folder) as server:
        manage("cluster", "register", cluster_id)
        yield cluster_id, server
