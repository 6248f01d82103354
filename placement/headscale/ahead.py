"""Keys made before their request holds a lock: hashing takes a millisecond, in which others would wait for the tenant's rows.

Each thread has one at hand; where a request turns out to need none, it is the next one's. The web server's threads take theirs from a
stock that a process of its own fills in idle time (`hashing`): settings.HASHED_AHEAD of them, by default enough for a storm. Where the stock
is used up, lost, or was never begun, a thread hashes for itself.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from placement.headscale import hashing, keys
from placement.headscale.keys import AuthKey
from tenants.keyring import Keyring

HOUSE = Path(__file__).resolve().parents[2]  # where the packages are found, wherever the server was started


@dataclass(frozen=True, repr=False)
class Fresh:
    """The id of a grant to be, and its key."""

    keyring: Keyring
    keyring_id: str
    grant_id: UUID
    key: AuthKey
    hashed: bytes


class _AtHand(threading.local):
    fresh: Fresh | None = None


class Stock:
    """Hashes made ahead, in a pipe from the process that makes them. Opened before the web server forks, so that its workers share it.

    `size`: about so many. The pipe is made of whole pages, a power of two of them, each with room for 51.
    """

    def __init__(self, keyring: Keyring, size: int) -> None:
        self.keyring = keyring
        self.reads, self.writes = os.pipe()
        os.set_blocking(self.reads, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # else, or where it is not allowed, the stock is as large as a pipe is there
            with suppress(OSError):
                fcntl.fcntl(self.writes, fcntl.F_SETPIPE_SZ, size * hashing.RECORD.size)
        self.process: subprocess.Popen[bytes] | None = None

    def keep_filled(self) -> None:
        """Start the process that fills it, unless it runs."""
        if self.process is not None and self.process.poll() is None:
            return
        words = [sys.executable, "-m", "placement.headscale.hashing"]
        self.process = subprocess.Popen(words, cwd=HOUSE, stdin=subprocess.DEVNULL, stdout=self.writes)
        _only_in_idle_time(self.process.pid)

    def close(self) -> None:
        """The process ends by itself too, once the last reader is gone."""
        if self.process is not None:
            self.process.kill()

    def take(self) -> tuple[UUID, bytes] | None:
        """One that nobody else gets; None while it is empty."""
        try:
            record = os.read(self.reads, hashing.RECORD.size)
        except BlockingIOError:
            return None
        return hashing.unpack(record)


def _only_in_idle_time(pid: int) -> None:
    with suppress(OSError):
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
        else:
            os.setpriority(os.PRIO_PROCESS, pid, 19)


_at_hand = _AtHand()
stock: Stock | None = None  # of this process; None where nobody opened one


def prepare(keyring: Keyring) -> Fresh:
    """The key that `take` will return."""
    fresh = _at_hand.fresh
    if fresh is None or fresh.keyring != keyring:
        fresh = _at_hand.fresh = _from_stock(keyring) or _made_here(keyring)
    return fresh


def take(keyring: Keyring) -> Fresh:
    """A key for one grant, never to be taken again."""
    fresh = prepare(keyring)
    _at_hand.fresh = None
    return fresh


def _from_stock(keyring: Keyring) -> Fresh | None:
    if stock is None or stock.keyring != keyring:
        return None
    taken = stock.take()
    if taken is None:
        return None
    grant_id, hashed = taken
    return Fresh(keyring, keyring.current, grant_id, keys.derive(keyring, keyring.current, grant_id), hashed)


def _made_here(keyring: Keyring) -> Fresh:
    grant_id = uuid.uuid4()
    key = keys.derive(keyring, keyring.current, grant_id)
    return Fresh(keyring, keyring.current, grant_id, key, key.hashed())
