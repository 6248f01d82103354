"""From a line of an invoice down to its evidence: days, a day's devices, a device's sessions, the polls behind them.

What was corrected since shows here as it counts now; the invoice says what was billed then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from billing.errors import EvidenceLost
from billing.metering import usage
from billing.metering.errors import EvidenceGone
from billing.models import InvoiceLine
from billing.rating.lines import Evidence
from placement.models import PollRun
from tenants.errors import MalformedRequest
from tenants.models import Tenant

DAY = timedelta(days=1)
POLLS = 200  # behind a session, at most


@dataclass(frozen=True)
class DayOf:
    """What of a UTC day lies in the line's time."""

    day: date
    active_devices: int
    device_seconds: int


@dataclass(frozen=True)
class SessionOf:
    """A part of a device's day, and the polls that saw it, at most POLLS of them."""

    shown: Any
    polls: tuple[PollRun, ...]


def days(line: InvoiceLine) -> list[DayOf]:
    """Days with use. A day that the line has a part of is counted again from its sessions. Empty for fees and coupons. Raises: EvidenceLost."""
    if not _of_use(line):
        return []
    tenant, start, end = _tenant(line), _utc(line.start), _utc(line.end)
    whole = {row.day: DayOf(row.day, row.active_devices, row.device_seconds) for row in usage.daily(tenant, _midnight(start), end)}
    for first, last in _edges(start, end):
        try:
            part = usage.used(tenant, first, last)
        except EvidenceGone as error:
            raise EvidenceLost(str(error)) from error
        whole[first.date()] = DayOf(first.date(), part.active_devices, part.device_seconds)
    return [row for _day, row in sorted(whole.items()) if row.active_devices]


def devices(line: InvoiceLine, day: date) -> Any:
    """The devices of one of the line's days, with their seconds of the whole day; rows of `usage.by_device`. Raises: MalformedRequest."""
    _check(line, day)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return usage.by_device(_tenant(line), start, start + DAY)


def sessions(line: InvoiceLine, day: date, device: UUID) -> list[SessionOf]:
    """What a device's day is made of. Raises: MalformedRequest."""
    _check(line, day)
    parts = usage.sessions_of(_tenant(line), device, day)
    return [SessionOf(part, tuple(islice(usage.polls_behind(part), POLLS))) for part in parts]


def _check(line: InvoiceLine, day: date) -> None:
    first, last = _utc(line.start).date(), (_utc(line.end) - timedelta(microseconds=1)).date()
    if not _of_use(line) or not first <= day <= last:
        raise MalformedRequest({"day": _("no day of use of this line")})


def _of_use(line: InvoiceLine) -> bool:
    return line.evidence in (Evidence.DEVICES, Evidence.SESSIONS)


def _edges(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Parts of days at the beginning and the end."""
    first, last = _midnight(start), _midnight(end)
    if first == last:
        yield start, end
        return
    if start != first:
        yield start, first + DAY
    if end != last:
        yield last, end


def _tenant(line: InvoiceLine) -> Tenant:
    return line.invoice.tenant


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
