"""What falls due with time: keys and places in queues of the no longer entitled, keys not put yet, devices of suspended and closed tenants."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from django.db.models import QuerySet

from placement import device_verbs, fulfilment, lineup, retiring, stock
from placement.errors import ClusterError
from placement.models import Cluster, Device
from tenants.errors import TenantError
from tenants.models import Tenant

log = structlog.get_logger(__name__)
ACTOR = "system:sweeper"


def sweep(cluster_id: str, *, now: datetime) -> None:
    """One cluster's share. A server that does not answer is tried again by the next sweep."""
    cluster = Cluster.objects.select_related("fleet").get(pk=cluster_id)
    try:
        if cluster.is_external:
            lineup.forget(cluster, now=now)
        retiring.retire_orphans(cluster, now=now)
        stock.retire(cluster, now=now)
        fulfilment.put_missing(cluster, now=now)
        _expire_due(cluster, now)
        _delete_due(cluster, now)
    except ClusterError as error:
        log.warning("sweep_interrupted", cluster_id=cluster_id, error=str(error))


def _expire_due(cluster: Cluster, now: datetime) -> None:
    """Devices of tenants whose grace period is over, that still have a login."""
    due = _devices(cluster).filter(tenant__devices_expire_at__lte=now).exclude(key_expires_at__lte=now)
    for device in due:
        _try(device_verbs.expire, device, now)


def _delete_due(cluster: Cluster, now: datetime) -> None:
    """Devices of closed tenants whose retention period is over."""
    for device in _devices(cluster).filter(tenant__state=Tenant.State.CLOSED, tenant__devices_delete_at__lte=now):
        _try(device_verbs.delete, device, now)


def _devices(cluster: Cluster) -> QuerySet[Device]:
    return Device.objects.across_tenants().select_related("tenant", "cluster").filter(cluster=cluster, gone_at=None)


def _try(verb: Callable[..., Device], device: Device, now: datetime) -> None:
    try:
        verb(device, now=now, actor=ACTOR)
    except TenantError as error:
        log.warning("sweep_skipped", device=str(device.pk), error=str(error))
