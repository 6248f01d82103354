"""Where a demonstration keeps what it needs: data, secrets, ports, and the lock that keeps a second one out. Standard library alone."""

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
        if not _locked(lock):
            lock.seek(0)
            raise CannotRun(f"another `make run` (process {lock.read().strip() or 'unknown'}) is running on {folder}: stop it first")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        with (folder / "guardian").open("a") as guardian:
            for _ in range(600):
                if _locked(guardian):
                    break
                time.sleep(0.1)  # the guardian of a killed demonstration is still ending its servers
        return cls(folder, lock)

    def secrets(self) -> dict[str, str]:
        """Made once, kept readable for their owner only. SECRET_KEY and ACS_KEYRING of the environment go before those made here.

        Raises: CannotRun when ACS_KEYRING would not open what the kept data holds sealed.
        """
        kept, given = self.kept("secrets.json"), os.environ.get("ACS_KEYRING", "")
        if not kept:
            kept = {
                "SECRET_KEY": secrets.token_urlsafe(48),
                "ACS_KEYRING": given or "d1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
                "valkey password": secrets.token_urlsafe(24),
                "admin password": secrets.token_urlsafe(12),
            }
        elif given and not set(kept["ACS_KEYRING"].split(",")) <= set(given.split(",")):
            raise CannotRun(f"ACS_KEYRING lacks a key under which secrets in {self.folder} are sealed: add it, or unset ACS_KEYRING")
        kept["ACS_KEYRING"] = given or kept["ACS_KEYRING"]
        self.keep("secrets.json", kept)
        return kept

    def kept(self, name: str) -> dict[str, str]:
        path = self.folder / name
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def keep(self, name: str, facts: dict[str, str]) -> None:
        """Whole or not at all: an interrupted start leaves no half of a file."""
        beside = self.folder / f".{name}.new"
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(facts, file, indent=2)
        beside.replace(self.folder / name)

    def ports(self) -> dict[str, int]:
        """ACS_DEMO_PORT_BASE is the web's, the others keep their distance; 0 takes free ones. What was chosen stays until it says otherwise."""
        base, kept = _port_base(), {name: int(port) for name, port in self.kept("ports.json").items()}
        if base:
            ports = {name: port - PORTS["web"] + base for name, port in PORTS.items()}
        elif base is None:
            ports = kept or PORTS
        else:
            ports = kept or _free(list(PORTS))
        self.keep("ports.json", {name: str(port) for name, port in ports.items()})
        return ports


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_free(ports: dict[str, int], *, patience: float = 6.0) -> None:
    """What a killed demonstration left may need some seconds to go. Raises: CannotRun, naming every busy port and its use."""
    deadline = time.monotonic() + patience
    while busy := {name: port for name, port in ports.items() if not _is_free(port)}:
        if time.monotonic() > deadline:
            named = ", ".join(f"{port} ({name})" for name, port in busy.items())
            raise CannotRun(f"busy ports on 127.0.0.1: {named}. Stop what uses them, or set ACS_DEMO_PORT_BASE (8000 unless told)")
        time.sleep(0.3)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _port_base() -> int | None:
    text = os.environ.get("ACS_DEMO_PORT_BASE", "")
    if not text:
        return None
    if not text.isdigit() or not (int(text) == 0 or 3000 <= int(text) <= 60000):
        raise CannotRun("ACS_DEMO_PORT_BASE must be 0 (free ports) or between 3000 and 60000")
    return int(text)


def _free(names: list[str]) -> dict[str, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {name: held.getsockname()[1] for name, held in zip(names, sockets, strict=True)}
    for held in sockets:
        held.close()
    return ports
