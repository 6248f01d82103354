"""Run the headscale binary once, in the name of the schema's owner: it makes or changes its own tables at its start."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from placement.headscale.fleet import config, noise, prefixes

PATIENCE = 60.0  # seconds; a large fleet's migration takes its time


class HeadscaleFailed(Exception):
    """The binary did not come up on the fleet's schema; the message ends with what it said."""


def find() -> str | None:
    """The headscale binary on PATH."""
    return shutil.which("headscale")


def run_once(headscale: str, conninfo: str) -> None:
    """Start it, wait until it is healthy (its migrations are done then), stop it. Raises: HeadscaleFailed."""
    with tempfile.TemporaryDirectory(prefix="acs-fleet-") as name:
        folder = Path(name)
        listen, metrics, grpc = free_ports(3)
        plan = config.Plan(
            server_url=f"http://127.0.0.1:{listen}",
            listen=f"127.0.0.1:{listen}",
            metrics_listen=f"127.0.0.1:{metrics}",
            grpc_listen=f"127.0.0.1:{grpc}",
            base_domain="once.internal",
            prefix_v4=str(prefixes.ROOM_V4),
            prefix_v6=str(prefixes.ROOM_V6),
            conninfo=conninfo,
            policy_mode="file",  # the owner sees every cluster's policy: it must serve none of them
        )
        config.write(folder, plan, noise_key=noise.generate(), derp_map=config.LOOPBACK_MAP)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([headscale, "--config", str(folder / "config.yaml"), "serve"], stdout=log, stderr=log, cwd=folder)
            try:
                _wait_until_healthy(process, f"http://127.0.0.1:{listen}/health", folder / "log")
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - a loopback address of ours
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    said = log.read_text(errors="replace").strip()[-2000:]
    raise HeadscaleFailed(f"headscale did not come up on the fleet's schema; it said:\n{said}")


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
