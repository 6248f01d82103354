"""Lanes: how many of us, over all processes, may do one thing to one cluster at a time.

A lane is an advisory lock of this thread's database session: a process that dies gives its lanes back with its connection. The session is the
caller's own, outside of transactions, so a lane must be left before the connection returns to its pool; the `with` sees to that. A session that holds a lane
would be given it again: a thread takes one at a time. (A pooler between us and PostgreSQL has to keep sessions, not transactions.)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import DatabaseError, InterfaceError, connection

REFILL, REQUESTS = 0x57AC0000, 0x57AD0000  # what a lane is for; the lane's number is added


@contextmanager
def lane(cluster_id: str, purpose: int, lanes: int) -> Iterator[bool]:
    """Whether one of the `lanes` was free, which is then ours until the end of the block."""
    about = number_of(cluster_id)
    taken = next((purpose + number for number in range(lanes) if _ask("pg_try_advisory_lock", purpose + number, about)), None)
    try:
        yield taken is not None
    finally:
        if taken is not None:
            with suppress(DatabaseError, InterfaceError):  # a session that broke has lost its locks already
                _ask("pg_advisory_unlock", taken, about)


def number_of(cluster_id: str) -> int:
    """What the database knows the cluster by. Two clusters that share a number share their lanes: slower, never wrong."""
    return zlib.crc32(cluster_id.encode()) - 2**31


def _ask(function: str, purpose: int, about: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"select {function}(%s::int, %s::int)", [purpose, about])
        return bool(cursor.fetchone()[0])
