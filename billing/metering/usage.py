"""What a tenant used in a period, exact at any time.

Days that are rolled up are read as they are; the edges of a period within a day, and days that were touched since, are reckoned from the sessions. Series, and the way
down from a day to its polls, are in series.py and can be had from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from django.db import connection
from django.utils import timezone

from billing.metering import partitions, rolling
from billing.metering.errors import EvidenceGone
from billing.metering.pieces import BY_TENANT, SECONDS, pieces
from billing.metering.series import by_device, daily, hourly, polls_behind, sessions_of
from billing.models import DirtyDay, Meter
from billing.rating.used import Used
from placement.models import Cluster, Stay
from tenants.models import Tenant

__all__ = ["by_device", "daily", "hourly", "polls_behind", "sessions_of", "used"]

DAY = timedelta(days=1)


def used(tenant: Tenant, start: datetime, end: datetime) -> Used:
    """From `start` to `end` (not included). Raises: EvidenceGone where a part of a day is asked for whose sessions are not kept any more."""
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    seconds: Counter[str] = Counter()
    devices: set[UUID] = set()
    rolled, live = _split(tenant, start, end)
    rows = _rolled(tenant, rolled) if rolled else []
    for cluster_id, device_id, length in (*rows, *(row for a, b in live for row in _live(tenant, a, b))):
        seconds[cluster_id] += length
        devices.add(device_id)
    spent = {cluster_id: total for cluster_id, total in sorted(seconds.items()) if total}
    return Used(len(devices), sum(spent.values()), spent, tuple(_dedicated(tenant, start, end)))


def _split(tenant: Tenant, start: datetime, end: datetime) -> tuple[list[date], list[tuple[datetime, datetime]]]:
    """Days to read from the roll-up, and ranges to reckon: parts of days, and days that wait to be rebuilt."""
    dirty = _dirty(tenant)
    rolled: list[date] = []
    live: list[tuple[datetime, datetime]] = []
    day = start.astimezone(UTC).replace(hour=0, minute=0, second=0)
    while day < end:
        lower, upper = max(start, day), min(end, day + DAY)
        if upper - lower == DAY and day.date() not in dirty:
            rolled.append(day.date())
        elif live and live[-1][1] == lower:
            live[-1] = (live[-1][0], upper)
        elif lower < upper:
            live.append((lower, upper))
        day += DAY
    horizon = partitions.horizon(now=timezone.now())
    if any(lower.astimezone(UTC).date() < horizon for lower, _ in live):
        raise EvidenceGone(horizon)
    return rolled, live


def _dirty(tenant: Tenant) -> set[date]:
    """Days whose sums may be older than the sessions of a cluster on which the tenant lived."""
    lived = set(Stay.objects.of(tenant).values_list("cluster_id", flat=True))
    days = set(DirtyDay.objects.filter(cluster_id__in=lived).values_list("day", flat=True))
    now = timezone.now()
    today, horizon = now.astimezone(UTC).date(), partitions.horizon(now=now)
    for meter in Meter.objects.filter(pk__in=lived):
        for changed in rolling.changes(meter, Stay.objects.of(tenant)):
            first = max(changed.astimezone(UTC).date(), horizon)
            days |= {first + DAY * number for number in range((today - first).days + 1)}
    return days


def _rolled(tenant: Tenant, days: list[date]) -> list[tuple[str, UUID, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "select cluster_id, device_id, sum(seconds) from billing_deviceday where tenant_id = %s and day >= %s and day <= %s and day = any(%s)"
            " group by cluster_id, device_id",
            [tenant.pk, days[0], days[-1], days],
        )
        return [(cluster_id, device_id, int(seconds)) for cluster_id, device_id, seconds in cursor.fetchall()]


def _live(tenant: Tenant, start: datetime, end: datetime) -> list[tuple[str, UUID, int]]:
    query = f"with {pieces(BY_TENANT)} select cluster_id, device_id, {SECONDS} from piece group by cluster_id, device_id"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(query, {"tenant": tenant.pk, "start": start, "end": end})
        return [(cluster_id, device_id, int(seconds)) for cluster_id, device_id, seconds in cursor.fetchall()]


def _dedicated(tenant: Tenant, start: datetime, end: datetime) -> Iterator[tuple[str, datetime, datetime | None]]:
    stays = Stay.objects.of(tenant).filter(cluster__kind=Cluster.Kind.DEDICATED, since__lt=end).order_by("since")
    for cluster_id, since, until in stays.values_list("cluster_id", "since", "until"):
        if until is None or until > max(start, since):
            yield cluster_id, since, until
