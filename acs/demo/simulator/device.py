"""A simulated device: joins with a key, is online, leaves. `python -m acs.demo.simulator.device --login-server URL --auth-key KEY --hostname NAME`."""

from __future__ import annotations

import argparse
import functools
import json
import secrets
import signal
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx2

_SECONDS = 10.0


class DeviceRefused(Exception):
    """The server did not let the device in; the text is the server's."""


@dataclass(frozen=True)
class SimulatedDevice:
    """A device with its keys. `node` is the server's view of it at the last call."""

    login_server: str
    machine_key: str
    node_key: str
    node: dict[str, Any]

    def online(self) -> dict[str, Any]:
        return _post(self.login_server, "online", {"node_key": self.node_key})

    def offline(self) -> dict[str, Any]:
        return _post(self.login_server, "offline", {"node_key": self.node_key})

    def netmap(self) -> dict[str, Any]:
        """Whom the server shows it, with which routes, and what it is to let in: `peers` and `filter`."""
        return _post(self.login_server, "netmap", {"node_key": self.node_key})

    def leave(self) -> dict[str, Any]:
        """Log out: an ephemeral device is deleted, another one's login expires."""
        return _post(self.login_server, "leave", {"node_key": self.node_key})


def join(
    login_server: str,
    auth_key: str,
    hostname: str,
    *,
    machine_key: str | None = None,
    online: bool = True,
    routes: Iterable[str] = (),
    tags: Iterable[str] = (),
) -> SimulatedDevice:
    """Join with a key, as `tailscale up` would; with the `machine_key` of a former device it is that machine again.

    `routes`, `tags`: what it advertises.

    Raises: DeviceRefused, httpx2.HTTPError.
    """
    machine, node_key = machine_key or f"mkey:{secrets.token_hex(32)}", f"nodekey:{secrets.token_hex(32)}"
    words = {"auth_key": auth_key, "hostname": hostname, "machine_key": machine, "node_key": node_key, "routes": [*routes], "tags": [*tags]}
    device = SimulatedDevice(login_server, machine, node_key, _post(login_server, "join", words)["node"])
    if online:
        device.online()
    return device


def ask_to_log_in(login_server: str, hostname: str, *, machine_key: str | None = None, tags: Iterable[str] = ()) -> str:
    """A device without a key: the id under which the admin API can register it."""
    words = {"hostname": hostname, "machine_key": machine_key or f"mkey:{secrets.token_hex(32)}", "tags": [*tags]}
    return str(_post(login_server, "login", words)["authId"])


@functools.cache
def _client() -> httpx2.Client:
    """One for all: to make one costs more than the call."""
    return httpx2.Client(timeout=_SECONDS, trust_env=False)


def _post(login_server: str, call: str, words: dict[str, Any]) -> dict[str, Any]:
    answer = _client().post(f"{login_server.rstrip('/')}/simulator/{call}", json=words)
    document: dict[str, Any] = answer.json()
    if answer.status_code != 200:
        raise DeviceRefused(str(document.get("error") or document.get("message") or answer.status_code))
    return document


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--login-server", required=True)
    words.add_argument("--auth-key", required=True)
    words.add_argument("--hostname", required=True)
    words.add_argument("--stay", action="store_true", help="stay online until stopped")
    given = words.parse_args()
    try:
        device = join(given.login_server, given.auth_key, given.hostname)
    except (DeviceRefused, httpx2.HTTPError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print(json.dumps(device.node))
    if given.stay:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        stopped.wait()
        device.offline()
    return 0


if __name__ == "__main__":
    sys.exit(main())
