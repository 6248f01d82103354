"""From a line of an invoice down to its evidence: days, a day's devices, a device's sessions, the polls behind them.

Of a day that the line has a part of, all that is shown is that part: seconds sum up to what the line was rated on. What was corrected since shows here as it
counts now; the invoice says what was billed then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.errors import EvidenceLost
from billing.metering import partitions, usage
from billing.metering.errors import EvidenceGone
from billing.metering.series import Day, SessionShown
from billing.models import InvoiceLine
from billing.rating.lines import Evidence
from placement.models import PollRun
from tenants.errors import MalformedRequest

DAY = timedelta(days=1)


@dataclass(frozen=True)
class DeviceOf:
    """A device's seconds of a day, as far as they lie in the line's time."""

    device_id: UUID
    device_seconds: int


def days(line: InvoiceLine) -> list[Day]:
    """Days with use. Empty for fees and coupons. Raises: EvidenceLost."""
    if not _of_use(line):
        return []
    try:
        return usage.days_of(line.invoice.tenant, *_time(line))
    except EvidenceGone as error:
        raise EvidenceLost(str(error)) from error


def devices(line: InvoiceLine, day: date, *, after: UUID | None = None, most: int | None = None) -> list[DeviceOf]:
    """The devices of one of the line's days, those after `after` in the order of their ids, `most` at once. Raises: MalformedRequest, EvidenceLost."""
    start, end = _part(line, day)
    try:
        return [DeviceOf(*row) for row in usage.devices_of(line.invoice.tenant, start, end, after=after, most=most)]
    except EvidenceGone as error:
        raise EvidenceLost(str(error)) from error


def sessions(line: InvoiceLine, day: date, device: UUID) -> list[SessionShown]:
    """What the device's day is made of; what of each session counts in the line's time. Raises: MalformedRequest, EvidenceLost."""
    start, end = _part(line, day)
    found = usage.sessions_of(line.invoice.tenant, device, start, end)
    horizon = partitions.horizon(now=timezone.now())
    if not found and day < horizon:
        raise EvidenceLost(str(EvidenceGone(horizon)))
    return found


def polls(line: InvoiceLine, day: date, device: UUID, began: datetime) -> QuerySet[PollRun]:
    """The polls behind the session that began then, as far as they are kept. Raises: MalformedRequest, EvidenceLost."""
    for part in sessions(line, day, device):
        if part.began == began:
            return usage.polls_behind(part)
    raise MalformedRequest({"session": _("no session of this device on that day")})


def _part(line: InvoiceLine, day: date) -> tuple[datetime, datetime]:
    """What of the day lies in the line's time. Raises: MalformedRequest."""
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    start, end = _time(line)
    lower, upper = max(start, begins), min(end, begins + DAY) if day < date.max else end
    if not _of_use(line) or not lower < upper:
        raise MalformedRequest({"day": _("no day of use of this line")})
    return lower, upper


def _of_use(line: InvoiceLine) -> bool:
    return line.evidence in (Evidence.DEVICES, Evidence.SESSIONS)


def _time(line: InvoiceLine) -> tuple[datetime, datetime]:
    """As metering counts it: cut to seconds, so that of two lines that meet within one neither has it twice."""
    start, end = (moment.astimezone(UTC).replace(microsecond=0) for moment in (line.start, line.end))
    return start, end
