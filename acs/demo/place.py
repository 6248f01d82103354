"""Where a demonstration keeps what it needs: data, secrets, ports, and the lock that keeps a second one out."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent.parent
PORTS = {"web": 8000, "a": 8081, "b": 8082, "a metrics": 9081, "b metrics": 9082, "valkey": 6390}


class CannotRun(Exception):
    """The demonstration cannot start; the message says why and what to do."""


@dataclass
class Place:
    """The folder of one demonstration, held until the process ends."""

    folder: Path
    lock: IO[str]

    @classmethod
    def take(cls, folder: Path) -> Place:
        """Raises: CannotRun when another demonstration holds the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "logs").mkdir(exist_ok=True)
        lock = (folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CannotRun(
                f"another `make run` (process {lock.read().strip() or 'unknown'}) is running on {folder}: stop it first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return cls(folder, lock)

    def secrets(self) -> dict[str, str]:
        """Made once, kept readable for their owner only: losing the keyring would make sealed values unreadable."""
        path = self.folder / "secrets.json"
        if not path.exists():
            made = {
                "SECRET_KEY": secrets.token_urlsafe(48),
                "ACS_KEYRING": "d1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
                "valkey password": secrets.token_urlsafe(24),
                "admin password": secrets.token_urlsafe(12),
            }
            self.keep("secrets.json", made)
        return dict(json.loads(path.read_text()))

    def keep(self, name: str, facts: dict[str, str]) -> None:
        descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(facts, file, indent=2)

    def ports(self) -> dict[str, int]:
        """The usual ones, shifted so that the web's is ACS_DEMO_PORT_BASE; 0 takes free ones. Kept: addresses are part of the clusters' data."""
        path = self.folder / "ports.json"
        if not path.exists():
            base = _port_base()
            chosen = {name: port - PORTS["web"] + base for name, port in PORTS.items()} if base else _free(list(PORTS))
            path.write_text(json.dumps(chosen))
        return {name: int(port) for name, port in json.loads(path.read_text()).items()}


def check_free(ports: dict[str, int], *, patience: float = 6.0) -> None:
    """What a killed demonstration left may need some seconds to go. Raises: CannotRun, naming every busy port and its use."""
    deadline = time.monotonic() + patience
    while busy := {name: port for name, port in ports.items() if not _is_free(port)}:
        if time.monotonic() > deadline:
            named = ", ".join(f"{port} ({name})" for name, port in busy.items())
            raise CannotRun(
                f"busy ports on 127.0.0.1: {named}. Stop what uses them, or `make clean` and set ACS_DEMO_PORT_BASE to another one than 8000"
            )
        time.sleep(0.3)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _port_base() -> int:
    text = os.environ.get("ACS_DEMO_PORT_BASE", "8000")
    if not text.isdigit() or not (int(text) == 0 or 2000 <= int(text) <= 60000):
        raise CannotRun("ACS_DEMO_PORT_BASE must be 0 (free ports) or between 2000 and 60000")
    return int(text)


def _free(names: list[str]) -> dict[str, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {name: held.getsockname()[1] for name, held in zip(names, sockets, strict=True)}
    for held in sockets:
        held.close()
    return ports
