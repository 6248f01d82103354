"""What tenants used, written as metering's own sums: days of devices on a cluster, mostly of June 2026."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from django.utils import timezone

from billing.metering import partitions
from billing.models import DeviceDay, Meter
from billing.rating.cycles import Range
from placement.models import Stay
from tenants.models import Tenant
from tests.billing.rating.bills import JUNE


def into(days: int, hours: int = 0) -> datetime:
    """So long after June began."""
    return JUNE.start + timedelta(days=days, hours=hours)


def after(month: Range = JUNE) -> datetime:
    return month.end + timedelta(hours=1)


def lives(tenant: Tenant, cluster: Any, *, since: datetime | None = None, until: datetime | None = None) -> None:
    """On the cluster, which has been counted up to now and whose stays have been looked at."""
    began = since or JUNE.start - timedelta(days=40)
    Stay.objects.create(tenant=tenant, cluster_id=cluster.cluster_id, since=began, until=until, changed_at=began)
    Meter.objects.update_or_create(cluster_id=cluster.cluster_id, defaults={"last_ok": timezone.now(), "stays_seen_at": timezone.now()})


def used(tenant: Tenant, cluster: Any, day: date | datetime, devices: int, hours: str | Decimal, *, first: int = 0) -> None:
    """So many devices were online on that day, for so many hours together (at most 24 each)."""
    on = day.date() if isinstance(day, datetime) else day
    start = datetime(on.year, on.month, on.day, tzinfo=UTC)
    partitions.make(start, start)
    seconds = int(Decimal(hours) * 3600)
    each, more = divmod(seconds, devices)
    assert each < 86400
    DeviceDay.objects.bulk_create(
        DeviceDay(
            day=on, device_id=uuid5(NAMESPACE_OID, f"{tenant.pk} {first + number}"), cluster_id=cluster.cluster_id, tenant=tenant,
            seconds=each + (number < more),
        )
        for number in range(devices)
    )  # fmt: skip


def month_of_use(tenant: Tenant, cluster: Any, devices: int, hours: str, *, start: datetime = JUNE.start, days: int = 28) -> None:
    """Spread over the days from `start` on, to the second."""
    seconds = int(Decimal(hours) * 3600)
    each, more = divmod(seconds, days)
    for number in range(days):
        used(tenant, cluster, start + timedelta(days=number), devices, Decimal(each + (number < more)) / 3600)
