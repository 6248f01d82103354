"""Which months the schedule closes, so many days after they ended, and its part of closing one. People close months by hand beside it: both share what is left."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max

from billing import closing, numbering
from billing.errors import NoSeller
from billing.invoicing import SETTLES, check_over
from billing.models import ClosedPeriod
from billing.rating.cycles import Range, month_of, months_after
from placement import alerts
from placement.models import Alert

ACTOR = "system:schedule"
LATEST = 12  # months back that are looked at


def due(*, now: datetime) -> list[Range]:
    """The latest month that ended long enough ago; those since the last one that was closed, where a service was down; those of which something was refused.
    The oldest first. None where months are closed by hand."""
    if not settings.CLOSE_DAYS:
        return []
    over = now - max(timedelta(days=int(settings.CLOSE_DAYS)), SETTLES)
    latest = month_of(months_after(over, -1)).start
    closed = ClosedPeriod.objects.filter(period_start__lte=latest)
    begin = closed.aggregate(last=Max("period_start"))["last"] or latest
    refused = closed.filter(outcome=ClosedPeriod.Outcome.REFUSED).values_list("period_start", flat=True).distinct()
    months = [month_of(months_after(latest, -back)) for back in range(LATEST, -1, -1)]
    held = set(refused)
    return [month for month in months if month.start >= begin or month.start in held]


def close(period: Range, *, at: datetime, now: datetime, seconds: float = 60.0) -> bool:
    """Bill what is left of a month, for up to so many seconds. `at`: when this run began; what a run refused, the next one tries again. Returns whether there
    is more to do. Without a seller nothing is billed, and operators are told. Raises: WrongState while it is not over."""
    check_over(period, at)
    subject = f"{period.start:%Y-%m}"
    try:
        numbering.seller()
    except NoSeller as error:
        alerts.raise_(Alert.Kind.NOT_BILLED, subject, facts={"NoSeller": str(error)}, now=now)
        return False
    done = closing.work(period, at, ACTOR, seconds=seconds)
    if done:
        closing.tell_operators(period, now=now)
    return not done
