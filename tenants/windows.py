"""A storage for the `limits` library in PostgreSQL: fixed windows, counted by one statement each, the same for all processes.

It is what the door counts with while Valkey is away: slower, and as exact.
"""

from __future__ import annotations

from datetime import datetime
from time import time

from django.db import Error, connection
from limits.storage import Storage

HIT = """
insert into tenants_limitwindow as w (key, hits, ends_at) values (%(key)s, %(amount)s, now() + %(seconds)s * interval '1 second')
on conflict (key) do update set
    hits = case when w.ends_at <= now() then excluded.hits else w.hits + excluded.hits end,
    ends_at = case when w.ends_at <= now() then excluded.ends_at else w.ends_at end
returning hits
"""
READ = "select hits, ends_at from tenants_limitwindow where key = %(key)s and ends_at > now()"


class PostgresStorage(Storage):
    """Must not be hit inside a transaction: a refusal would take its own count back, and others would wait for the commit."""

    STORAGE_SCHEME = ["acs-postgres"]

    @property
    def base_exceptions(self) -> type[Exception]:
        return Error

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        with connection.cursor() as cursor:
            cursor.execute(HIT, {"key": key, "amount": amount, "seconds": expiry})
            return int(cursor.fetchone()[0])

    def get(self, key: str) -> int:
        return self._read(key)[0]

    def get_expiry(self, key: str) -> float:
        return self._read(key)[1]

    def check(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
        return True

    def reset(self) -> int | None:
        with connection.cursor() as cursor:
            cursor.execute("delete from tenants_limitwindow")
            return int(cursor.rowcount)

    def clear(self, key: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute("delete from tenants_limitwindow where key = %(key)s", {"key": key})

    def _read(self, key: str) -> tuple[int, float]:
        """Hits so far and the window's end, in seconds since 1970."""
        with connection.cursor() as cursor:
            cursor.execute(READ, {"key": key})
            row = cursor.fetchone()
        return (int(row[0]), row[1].timestamp()) if row else (0, time())


def forget(*, now: datetime, at_once: int = 10_000) -> int:
    """Drop the windows that are over. Returns how many."""
    dropped = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "delete from tenants_limitwindow where key in (select key from tenants_limitwindow where ends_at < %s limit %s)",
                [now, at_once],
            )
            dropped += cursor.rowcount
            if cursor.rowcount < at_once:
                return dropped
