"""Rows beyond their retention, or too many, deleted oldest first and a slice a statement: a day's load samples of a thousand clusters are more than one
may last."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet


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


def drop_due(rows: QuerySet[Any], field: str, *, before: datetime, at_once: int = 10_000) -> int:
    """The same of rows that come in another order than they end: by the order of `field`, which should have an index. Returns how many."""
    due = rows.filter(**{f"{field}__lt": before})
    dropped = 0
    while oldest := list(due.order_by(field).values_list("pk", flat=True)[:at_once]):
        dropped += due.order_by().filter(pk__in=oldest).delete()[0]
    return dropped


def trim(rows: QuerySet[Any], owner: str, field: str, *, most: int, at_once: int = 10_000) -> int:
    """Of each owner's rows keep the `most` latest by `field`; the rows without an owner are one owner's. Returns how many went."""
    crowded = rows.order_by().values_list(owner).annotate(held=Count("pk")).filter(held__gt=most)
    dropped = 0
    for owner_id, held in list(crowded):
        own = rows.filter(**{owner: owner_id})
        for begun in range(0, held - most, at_once):
            oldest = own.order_by(field, "pk").values_list("pk", flat=True)[: min(at_once, held - most - begun)]
            dropped += own.order_by().filter(pk__in=list(oldest)).delete()[0]
    return dropped
