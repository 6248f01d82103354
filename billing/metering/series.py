"""Series of a tenant's use, and the way down from a day: to its devices, to a device's sessions, to the polls that saw them.

Series are read from the roll-ups: what is younger than the last one is not in them yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, Max, Q, QuerySet, Sum

from billing.metering.pieces import BY_DEVICE, pieces
from billing.models import DeviceDay, OpenSession, Session, UsageHour
from placement.models import PollRun
from tenants.models import Tenant

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


@dataclass(frozen=True)
class Hour:
    """Seconds online of all devices of a tenant on one cluster, in the hour that begins at `hour`."""

    hour: datetime
    cluster_id: str
    device_seconds: int


@dataclass(frozen=True)
class Day:
    """Devices of a tenant that were seen online on a UTC day, and their seconds online."""

    day: date
    active_devices: int
    device_seconds: int


@dataclass(frozen=True)
class DeviceUse:
    """One device in a period: on how many days it was seen online, and its seconds."""

    device_id: UUID
    days: int
    last_day: date
    device_seconds: int


@dataclass(frozen=True)
class SessionShown:
    """A part of a day in which a device was online. `billed`: seconds of it that count; `reason` empty: it still is, known until `ended`."""

    cluster_id: str
    node_id: int
    began: datetime
    ended: datetime
    reason: str
    told_at: datetime | None
    last_seen: datetime | None
    billed: int

    @property
    def reason_in_words(self) -> str:
        return str(Session.Reason(self.reason).label) if self.reason else ""


def hourly(tenant: Tenant, start: datetime, end: datetime) -> list[Hour]:
    """Hours that begin from `start` to before `end`, those without use left out."""
    rows = UsageHour.objects.of(tenant).filter(hour__gte=start, hour__lt=end).order_by("hour", "cluster_id")
    return [Hour(*row) for row in rows.values_list("hour", "cluster_id", "seconds")]


def daily(tenant: Tenant, start: datetime, end: datetime) -> list[Day]:
    """UTC days that begin from `start` to before `end`, those without use left out."""
    rows = _rows(tenant, start, end).values("day").annotate(devices=Count("device_id", distinct=True), sum=Sum("seconds")).order_by("day")
    return [Day(row["day"], row["devices"], row["sum"]) for row in rows]


def by_device(tenant: Tenant, start: datetime, end: datetime) -> Any:
    """A query of rows, one for each device that was seen online: device_id, days, last_day, device_seconds."""
    rows = _rows(tenant, start, end).order_by().values("device_id")
    return rows.annotate(days=Count("day", distinct=True), last_day=Max("day"), device_seconds=Sum("seconds")).order_by("device_id")


def _rows(tenant: Tenant, start: datetime, end: datetime) -> QuerySet[DeviceDay, DeviceDay]:
    first, last = start.astimezone(UTC), end.astimezone(UTC)
    first_day = first.date() + (DAY if first.time() > datetime.min.time() else timedelta(0))
    last_day = last.date() + (DAY if last.time() > datetime.min.time() else timedelta(0))
    return DeviceDay.objects.of(tenant).filter(day__gte=first_day, day__lt=last_day)


def sessions_of(tenant: Tenant, device_id: UUID, start: datetime, end: datetime) -> list[SessionShown]:
    """What a device's day is made of, or the part of it from `start` to `end`: sessions as its servers showed them, with what of each counts in that time."""
    day = start.replace(hour=0, minute=0, second=0)
    billed = _billed(tenant, device_id, start, end)
    over = Session.objects.of(tenant).filter(device_id=device_id, began__gte=day, began__lt=end, ended__gte=start).order_by("began")
    shown = [
        SessionShown(
            *(part.cluster_id, part.node_id, part.began, part.ended, part.reason, part.told_at, part.last_seen),
            _within(billed, part.cluster_id, part.began, part.ended),
        )
        for part in over
        if part.ended > start or part.began == start
    ]
    for still in OpenSession.objects.of(tenant).filter(device_id=device_id, began__lt=end).select_related("cluster__meter"):
        known = still.certain_until or still.cluster.meter.last_ok or still.began
        began, ended = max(still.began, day), min(known, day + DAY)
        if began <= ended and (ended > start or began == still.began == start):
            counts = _within(billed, still.cluster_id, began, ended)
            shown.append(SessionShown(still.cluster_id, still.node_id, began, ended, "", None, None, counts))
    return sorted(shown, key=lambda part: part.began)


def polls_behind(part: SessionShown) -> QuerySet[PollRun]:
    """The polls that saw the device in that part of a day, and the one that told its end, as far as they are still kept."""
    goes_on = part.ended == part.began.replace(hour=0, minute=0, second=0) + DAY
    told = part.told_at or part.ended
    seen = Q(started_at__gte=part.began, started_at__lt=(part.ended if goes_on else told) + SECOND)
    ended = Q(started_at__gte=told, started_at__lt=told + SECOND)
    return PollRun.objects.filter(seen | ended, cluster_id=part.cluster_id).order_by("started_at", "id")


def _billed(tenant: Tenant, device_id: UUID, start: datetime, end: datetime) -> list[tuple[str, datetime, datetime]]:
    with connection.cursor() as cursor:
        told: dict[str, Any] = {"tenant": tenant.pk, "device": device_id, "start": start, "end": end}
        cursor.execute(f"with {pieces(BY_DEVICE)} select cluster_id, lower, upper from piece", told)  # noqa: S608 - our own words
        return list(cursor.fetchall())


def _within(billed: list[tuple[str, datetime, datetime]], cluster_id: str, began: datetime, ended: datetime) -> int:
    parts = ((max(lower, began), min(upper, ended)) for cluster, lower, upper in billed if cluster == cluster_id)
    return sum(int((upper - lower).total_seconds()) for lower, upper in parts if lower < upper)
