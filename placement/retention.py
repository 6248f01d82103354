"""Rows beyond their retention, deleted oldest first and a slice a statement: a day's load samples of a thousand clusters are more than one may last."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet


def drop(rows: QuerySet[Any], field: str, *, before: datetime, at_once: int = 10_000) -> int:
    """Delete those of `rows` whose `field` lies before that moment. Returns how many.

    Rows are numbered in the order in which they came, so the first slice that holds a younger row is the last one looked at: no index on `field` is
    needed. A run that is cut short has done what it has done, and the next one goes on.
    """
    dropped = 0
    while oldest := list(rows.order_by("pk").values_list("pk", flat=True)[:at_once]):
        gone = rows.filter(pk__lte=oldest[-1], **{f"{field}__lt": before}).order_by().delete()[0]
        dropped += gone
        if gone < len(oldest):
            break
    return dropped
