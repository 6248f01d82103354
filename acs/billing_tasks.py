"""Tasks of billing: the close of a month and what customers are told, which ask for themselves again until nothing is left to do; the nightly look at the books."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from celery import shared_task
from django.utils import timezone

from acs import wiring
from billing import calendar
from billing.books import checks
from billing.notices import sending
from billing.rating.cycles import month_of
from tenants.errors import WrongState

CLOSERS = 2  # of a month, at once


@shared_task
def close_months() -> None:
    """Ask for the close of every month whose time has come, by several at once: they share what is left of it."""
    begun = timezone.now()
    for month in calendar.due(now=begun):
        for _ in range(CLOSERS):
            close_month.apply_async((month.start.isoformat(), begun.isoformat()), expires=3600)


@shared_task
def close_month(month: str, begun: str) -> None:
    """A part of a month's close. What is left to do goes to the next task."""
    period = month_of(datetime.fromisoformat(month))
    with suppress(WrongState):
        if calendar.close(period, at=datetime.fromisoformat(begun), now=timezone.now()):
            wiring.enqueue(close_month, month, begun)


@shared_task
def send_notices() -> None:
    """What customers are told by e-mail. What is left to send goes to the next task."""
    if sending.send():
        wiring.enqueue(send_notices)


@shared_task
def check_books() -> None:
    """Whether every sum agrees with every other."""
    checks.watch(now=timezone.now())
