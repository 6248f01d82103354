"""Alerts for operators: opened once, counted while they last, closed when it is over."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection

from placement.models import Alert

log = structlog.get_logger(__name__)

OFTEN = timedelta(seconds=1)

# one statement: two processes that see the same trouble open one alert
RAISE = """
insert into placement_alert (kind, subject, opened_at, last_at, times, facts) values (%(kind)s, %(subject)s, %(now)s, %(now)s, 1, %(facts)s::jsonb)
on conflict (kind, subject) where closed_at is null
do update set times = placement_alert.times + 1, last_at = excluded.last_at, facts = excluded.facts
returning times
"""


def raise_(kind: Alert.Kind, subject: str, *, facts: dict[str, Any], now: datetime) -> None:
    """Something wants an operator. Said again, it is counted, at most once a second, and its facts are the latest.

    Once a second, for in a storm everybody has the same to say, and would wait for the others to have said it.
    """
    if Alert.objects.filter(kind=kind, subject=subject, closed_at=None, last_at__gt=now - OFTEN).exists():
        return
    with connection.cursor() as cursor:
        cursor.execute(RAISE, {"kind": kind.value, "subject": subject, "now": now, "facts": json.dumps(facts)})
        if cursor.fetchone()[0] == 1:
            log.error("alert_opened", kind=kind.value, subject=subject, **{f"about_{name}": fact for name, fact in facts.items()})


def over(kind: Alert.Kind, subject: str, *, now: datetime) -> bool:
    """It is not so any more. Returns whether it was."""
    closed = Alert.objects.filter(kind=kind, subject=subject, closed_at=None).update(closed_at=now) > 0
    if closed:
        log.info("alert_closed", kind=kind.value, subject=subject)
    return closed
