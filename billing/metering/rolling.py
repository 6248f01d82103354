"""The roll-ups: seconds by hour, tenant and cluster, and by day and device. A day of a cluster is rebuilt as a whole from its sessions, with `=`.

Whatever touches a day marks it: polls, corrections, stays that changed. One statement makes hours and days of one look at the sessions, so that they agree to the
second; a mark that comes meanwhile stays, and the day is rebuilt again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import structlog
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from billing.metering import partitions
from billing.metering.errors import EvidenceGone, WrongRange
from billing.metering.pieces import BY_CLUSTER_DAY, SECONDS, pieces
from billing.metering.taking import mark
from billing.models import DirtyDay, Meter
from placement.models import Stay
from placement.presence import JOIN_AS_USUAL, JOIN_BY_HASH
from tenants import clocks

log = structlog.get_logger(__name__)

DAY = timedelta(days=1)
PATIENCE = "80s"  # for one day of a cluster of a million devices
CLOCKS_DIFFER = timedelta(minutes=1)

REBUILD = f"""
with {pieces(BY_CLUSTER_DAY)}, days as materialized (
    select device_id, tenant_id, {SECONDS} as seconds from piece group by device_id, tenant_id
), hours as materialized (
    select tenant_id, hour, sum(extract(epoch from least(upper, hour + interval '1 hour') - greatest(lower, hour)))::bigint as seconds
    from piece, generate_series(date_trunc('hour', lower, 'UTC'), upper, interval '1 hour') hour
    where upper > hour and upper > lower group by tenant_id, hour
), days_put as (
    insert into billing_deviceday (day, cluster_id, device_id, tenant_id, seconds)
    select %(day)s, %(cluster)s, device_id, tenant_id, seconds from days
    on conflict (day, cluster_id, device_id) do update set seconds = excluded.seconds, tenant_id = excluded.tenant_id
        where (billing_deviceday.seconds, billing_deviceday.tenant_id) is distinct from (excluded.seconds, excluded.tenant_id)
), days_gone as (
    delete from billing_deviceday d where d.day = %(day)s and d.cluster_id = %(cluster)s
        and not exists (select from days where days.device_id = d.device_id)
), hours_put as (
    insert into billing_usagehour (tenant_id, cluster_id, hour, seconds) select tenant_id, %(cluster)s, hour, seconds from hours
    on conflict (tenant_id, hour, cluster_id) do update set seconds = excluded.seconds where billing_usagehour.seconds <> excluded.seconds
), hours_gone as (
    delete from billing_usagehour h where h.cluster_id = %(cluster)s and h.hour >= %(start)s and h.hour < %(end)s
        and not exists (select from hours where hours.tenant_id = h.tenant_id and hours.hour = h.hour)
) select count(*) from days"""  # noqa: S608 - our own words


def roll(*, now: datetime, cluster_id: str = "") -> int:
    """Rebuild every day that was touched since it was last rebuilt, of one cluster or of all. Returns how many days were.

    Never later than it is by the database's clock: a host whose clock is ahead would take days for too old to be made again, and overlook what comes until then.
    """
    now = clocks.not_ahead(now)
    for known in Meter.objects.filter(**({"pk": cluster_id} if cluster_id else {})).values_list("pk", flat=True):
        mark_changed_stays(known, now=now)
    touched = DirtyDay.objects.filter(**({"cluster_id": cluster_id} if cluster_id else {}))
    days = list(touched.order_by("day", "cluster_id").values_list("cluster_id", "day"))
    return sum(rebuild(cluster, day, now=now) for cluster, day in days)


@transaction.atomic
def rebuild(cluster_id: str, day: date, *, now: datetime) -> bool:
    """Make one day of a cluster again. False where nobody asked for it any more, or where its evidence may be gone: then its sums stay as they are."""
    if day < partitions.horizon(now=now):
        DirtyDay.objects.filter(cluster_id=cluster_id, day=day).delete()
        return False
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    partitions.make(start, start)
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"billing_deviceday {cluster_id} {day}"])
        cursor.execute("select marks from billing_dirtyday where cluster_id = %s and day = %s", [cluster_id, day])
        seen = cursor.fetchone()
        if seen is None:
            return False
        cursor.execute(f"set local statement_timeout = '{PATIENCE}'")
        cursor.execute(JOIN_BY_HASH)
        cursor.execute(REBUILD, {"cluster": cluster_id, "day": day, "start": start, "end": start + DAY})
        devices = cursor.fetchone()[0]
        cursor.execute(JOIN_AS_USUAL)
        cursor.execute("delete from billing_dirtyday where cluster_id = %s and day = %s and marks = %s", [cluster_id, day, seen[0]])
    log.debug("day_rebuilt", cluster_id=cluster_id, day=str(day), devices=devices)
    return True


def again(cluster_id: str, first: date, last: date) -> None:
    """Have every day from `first` to `last` rebuilt by the next roll-up, whatever changed. Raises: WrongRange, EvidenceGone."""
    now = timezone.now()
    if not first <= last <= now.astimezone(UTC).date():
        raise WrongRange(_midnight(first), _midnight(last))
    if first < (horizon := partitions.horizon(now=now)):
        raise EvidenceGone(horizon)
    mark(cluster_id, _midnight(first), _midnight(last))


@transaction.atomic
def mark_changed_stays(cluster_id: str, *, now: datetime) -> None:
    """A tenant that moved, was placed or left: the days since then count otherwise on this cluster."""
    meter = Meter.objects.select_for_update(of=("self",)).get(pk=cluster_id)
    horizon = _midnight(partitions.horizon(now=now))
    for first in changes(meter, Stay.objects.across_tenants()):
        if first <= now:
            mark(cluster_id, max(first, horizon), now)
    Meter.objects.filter(pk=cluster_id).update(stays_seen_at=now)


def changes(meter: Meter, stays: QuerySet[Stay]) -> Iterator[datetime]:
    """From when on each of the stays on the meter's cluster that changed since it was last looked at counts otherwise.

    A transaction that began before that look and committed after it is not missed. Before the first look every day that was polled is marked anyway.
    """
    if meter.stays_seen_at is None:
        return
    lately = {"changed_at__gt": meter.stays_seen_at - CLOCKS_DIFFER}
    came = Exists(
        stays.filter(tenant=OuterRef("tenant"), until=OuterRef("since"), **lately)
    )  # a move that was told meanwhile, however long ago it was
    known = stays.filter(cluster_id=meter.pk, **lately).annotate(came=came)
    for since, until, moved_here in known.values_list("since", "until", "came"):
        yield since if until is None or moved_here or since >= meter.stays_seen_at - DAY else until


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
