"""What a tenant used in a period, exact at any time.

Days that are rolled up are read as they are; the edges of a period within a day, and days that were touched since, are reckoned from the sessions. Series, and the way
down from a day to its polls, are in series.py and can be had from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from billing.metering import partitions, rolling
from billing.metering.errors import EvidenceGone, SumsGone
from billing.metering.pieces import BY_TENANT, SECONDS, pieces
from billing.metering.series import Day, by_device, daily, hourly, polls_behind, sessions_of
from billing.models import DirtyDay, Meter
from billing.rating.used import Used
from placement.models import Cluster, Stay
from tenants.models import Tenant

__all__ = ["by_device", "daily", "days_of", "devices_of", "hourly", "polls_behind", "sessions_of", "used"]

DAY = timedelta(days=1)

THESE_DAYS = "from billing_deviceday where tenant_id = %(tenant)s and day >= %(first)s and day <= %(last)s and day = any(%(days)s)"
ROLLED = f"select cluster_id, device_id, sum(seconds) {THESE_DAYS} group by cluster_id, device_id"
ROLLED_DAYS = f"select day, count(distinct device_id), sum(seconds) {THESE_DAYS} group by day"
PAGE = "and device_id > %(after)s group by device_id order by device_id limit %(most)s"
ROLLED_DEVICES = f"select device_id, sum(seconds) from billing_deviceday where tenant_id = %(tenant)s and day = %(day)s {PAGE}"  # noqa: S608 - our own words
LIVE = f"select cluster_id, device_id, {SECONDS} from piece group by cluster_id, device_id"  # noqa: S608
LIVE_DEVICES = f"select device_id, {SECONDS} from piece where true {PAGE}"  # noqa: S608
# An open session may have gone on over midnight.
LIVE_DAYS = """
select (day at time zone 'UTC')::date, count(distinct device_id),
    coalesce(sum(extract(epoch from least(upper, day + interval '1 day') - greatest(lower, day))), 0)::bigint
from piece, generate_series(date_trunc('day', lower, 'UTC'), upper, interval '1 day') day where upper > day or lower = upper group by 1"""


def used(tenant: Tenant, start: datetime, end: datetime) -> Used:
    """From `start` to `end` (not included). Raises: EvidenceGone where a part of a day is asked for whose sessions are not kept any more; SumsGone where not
    even its days are."""
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    seconds: Counter[str] = Counter()
    devices: set[UUID] = set()
    rolled, live = _split(tenant, start, end)
    rows = _rolled(ROLLED, tenant, rolled)
    edges = (row for a, b in live for row in _live(LIVE, {"tenant": tenant.pk, "start": a, "end": b}))
    for cluster_id, device_id, length in (*rows, *edges):
        seconds[cluster_id] += int(length)
        devices.add(device_id)
    spent = {cluster_id: total for cluster_id, total in sorted(seconds.items()) if total}
    return Used(len(devices), sum(spent.values()), spent, tuple(_dedicated(tenant, start, end)))


def days_of(tenant: Tenant, start: datetime, end: datetime) -> list[Day]:
    """What `used` is made of, by UTC day; of days at the edges the part that lies within. Days without use are left out. Raises: EvidenceGone."""
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    rolled, live = _split(tenant, start, end)
    rows = _rolled(ROLLED_DAYS, tenant, rolled)
    rows += [row for lower, upper in live for row in _live(LIVE_DAYS, {"tenant": tenant.pk, "start": lower, "end": upper})]
    return sorted((Day(day, devices, int(seconds)) for day, devices, seconds in rows), key=lambda row: row.day)


def devices_of(
    tenant: Tenant, start: datetime, end: datetime, *, after: UUID | None = None, most: int | None = None
) -> list[tuple[UUID, int]]:
    """What `used` is made of, by device, with its seconds: in the order of their ids those that come after `after`, `most` of them at once.

    `start` and `end` lie within one UTC day. Raises: EvidenceGone.
    """
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    rolled, live = _split(tenant, start, end)
    told = {"tenant": tenant.pk, "start": start, "end": end, "after": after or UUID(int=0), "most": most}
    rows = _live(LIVE_DEVICES, told) if live else _query(ROLLED_DEVICES, told | {"day": rolled[0]}) if rolled else []
    return [(device_id, int(seconds)) for device_id, seconds in rows]


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
    now = timezone.now()
    horizon, sums = partitions.horizon(now=now), partitions.horizon_of_sums(now=now)
    if rolled and rolled[0] < sums:
        raise SumsGone(sums)
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


def _rolled(statement: str, tenant: Tenant, days: list[date]) -> list[Any]:
    return _query(statement, {"tenant": tenant.pk, "first": days[0], "last": days[-1], "days": days}) if days else []


def _live(statement: str, told: dict[str, Any]) -> list[Any]:
    return _query(f"with {pieces(BY_TENANT)} {statement}", told)


def _query(statement: str, told: dict[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {name: value for name, value in told.items() if f"%({name})s" in statement})
        return list(cursor.fetchall())


def _dedicated(tenant: Tenant, start: datetime, end: datetime) -> Iterator[tuple[str, datetime, datetime | None]]:
    stays = Stay.objects.of(tenant).filter(cluster__kind=Cluster.Kind.DEDICATED, since__lt=end).order_by("since")
    for cluster_id, since, until in stays.values_list("cluster_id", "since", "until"):
        if until is None or until > max(start, since):
            yield cluster_id, since, until
