"""How much waits in the outbox of our own fleet. The door may know the count and the age, and nothing of the events themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

LOOK = "select depth, oldest from headscale.outbox()"


@dataclass(frozen=True)
class Outbox:
    """`oldest` is None when nothing waits."""

    depth: int
    oldest: datetime | None

    def lag(self, now: datetime) -> float:
        """Seconds that the oldest event has waited."""
        return max(0.0, (now - self.oldest).total_seconds()) if self.oldest else 0.0


def look() -> Outbox:
    """Nothing waits in a database without a fleet."""
    with connection.cursor() as cursor:
        cursor.execute("select to_regprocedure('headscale.outbox()') is not null")
        if not cursor.fetchone()[0]:
            return Outbox(0, None)
        cursor.execute(LOOK)
        depth, oldest = cursor.fetchone()
    return Outbox(depth, oldest)
