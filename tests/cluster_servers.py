"""A served cluster of the default fleet: added, started and registered by the operators' own commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from placement.headscale.fleet.binary import free_ports
from tests.conftest import clusters_to_drop, fresh_cluster_id, manage
from tests.servers import Server, run_headscale, run_simulator


@contextmanager
def serve_cluster(
    folder: Path, *, real: bool, region: str = "eu", client_url: str = "", derp_map: Path | None = None
) -> Iterator[tuple[str, Server]]:
    """Its cluster_id and its server, real headscale or the simulator, active and with the base policy."""
    cluster_id = fresh_cluster_id()
    listen, metrics = (f"127.0.0.1:{port}" for port in free_ports(2))
    words = [
        "--region",
        region,
        "--listen",
        listen,
        "--metrics-listen",
        metrics,
        "--client-url",
        client_url or f"http://{listen}",
        "--out",
        str(folder),
    ]
    manage("fleet", "add-cluster", cluster_id, *words, *(["--derp-map", str(derp_map)] if derp_map else []))
    clusters_to_drop.append(cluster_id)
    start = run_headscale if real else run_simulator
    with start(folder) as server:
        manage("cluster", "register", cluster_id)
        yield cluster_id, server


@contextmanager
def serve_external(folder: Path, *, real: bool = False, region: str = "eu") -> Iterator[tuple[str, Server]]:
    """The same for a server with a database of its own, reached by its admin API alone."""
    cluster_id = fresh_cluster_id()
    start = run_headscale if real else run_simulator
    folder.mkdir()
    prefixes = {"prefix_v4": "100.80.0.0/20", "prefix_v6": "fd7a:115c:a1e0:ff::/64"}
    with start(folder, **prefixes) as server:
        key_file = folder / "acs.key"
        key_file.write_text(server.api_key)
        words = ["--external", "--region", region, "--admin-url", server.url, "--admin-key-file", str(key_file)]
        words += ["--client-url", server.url, "--metrics-url", server.metrics_url]
        words += ["--prefix-v4", prefixes["prefix_v4"], "--prefix-v6", prefixes["prefix_v6"]]
        manage("cluster", "register", cluster_id, *words)
        clusters_to_drop.append(cluster_id)
        yield cluster_id, server
