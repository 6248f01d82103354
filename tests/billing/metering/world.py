"""A fleet of rows for tests of metering: clusters, tenants and devices without servers, polled by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from billing.metering import rolling, taking, usage
from billing.metering.taking import Poll, Sample, Taken
from placement import stays
from placement.models import Device, Stay
from tenants.models import Tenant
from tests import factories

DAY = (timezone.now() - timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)  # a day that is over, kept for certain


def at(clock: str, *, day: int = 0) -> datetime:
    """`10:30:20` of that day."""
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return DAY + timedelta(days=day, hours=hours, minutes=minutes, seconds=seconds)


def device(tenant: Tenant, cluster: Any, node_id: int, *, since: datetime = DAY) -> Device:
    return Device.objects.create(
        tenant=tenant, cluster_id=cluster.cluster_id, node_id=node_id, machine_key=f"mkey:{node_id}", node_key=f"nodekey:{node_id}",
        name=f"till-{node_id}", joined_at=since, seen_at=since,
    )  # fmt: skip


def lives(cluster: Any, *, devices: int = 1, since: datetime = DAY) -> tuple[Tenant, list[Device]]:
    """A tenant on a cluster, with so many devices: nodes 1, 2, 3 ..."""
    tenant = factories.tenant()
    stays.begin(tenant, cluster.cluster_id, at=since)
    Stay.objects.of(tenant).update(changed_at=since)  # long ago
    known = Device.objects.across_tenants().filter(cluster_id=cluster.cluster_id).count()
    return tenant, [device(tenant, cluster, known + number + 1) for number in range(devices)]


def poll(
    cluster: Any,
    when: datetime,
    online: dict[int, datetime | None] | set[int],
    offline: dict[int, datetime | None] | None = None,
    **facts: Any,
) -> Taken | None:
    """`online` and `offline`: nodes, with what the server says of when it last saw them."""
    seen = dict.fromkeys(online) if isinstance(online, set) else online
    samples = [Sample(node, True, last) for node, last in seen.items()] + [
        Sample(node, False, last) for node, last in (offline or {}).items()
    ]
    with transaction.atomic():
        return taking.take(Poll(cluster.cluster_id, when, samples, **facts))


def polls(
    cluster: Any, first: datetime, last: datetime, online: set[int], offline: dict[int, datetime | None] | None = None, *, every: int = 60
) -> None:
    """The same answer again and again, from `first` to `last`."""
    when = first
    while when < last:
        poll(cluster, when, online, offline)
        when += timedelta(seconds=every)
    poll(cluster, last, online, offline)


def roll() -> None:
    rolling.roll(now=timezone.now())


def seconds(tenant: Tenant, *, days: int = 3) -> int:
    return usage.used(tenant, DAY, DAY + timedelta(days=days)).device_seconds


def by_device(tenant: Tenant) -> dict[UUID, int]:
    rows = usage.by_device(tenant, DAY, DAY + timedelta(days=3))
    return {row["device_id"]: row["device_seconds"] for row in rows}
