"""Device login: a person lets a device in that has no key. The flow, told in order; the pages around it are acs/register_pages.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

import stamina
import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from acs import tasks, wiring
from placement import bindings, clusters, devices, logins
from placement.engine.regions import Wish
from placement.errors import ClusterError, ClusterRefused, ClusterSilent, ClusterUnreachable, ForeignDevice, PlacementError
from placement.headscale.admin import Admin
from placement.models import Binding, Cluster, DeviceLogin
from tenants.models import Tenant

log = structlog.get_logger(__name__)
KEPT = re.compile(r"device (\d+) belongs to tenant")  # the fleet's trigger, in a refusal: placement/headscale/fleet/sql/2-functions.sql


class LivesElsewhere(PlacementError):
    """The device asked at another cluster than the one that its tenant lives on: it has to ask there."""

    def __init__(self, binding: Binding) -> None:
        super().__init__(binding.cluster_id)
        self.binding = binding


def approve(tenant: Tenant, person: User, auth_id: str, *, opened: Cluster | None, now: datetime) -> DeviceLogin:
    """Let the device that waits under `auth_id` into the tenant, once. `opened`: the cluster whose page the device showed, where that is known.

    The login that comes back may be an earlier one of the same person and tenant, and may not be settled yet.
    Raises: NotEntitled, TenantSuspended, QuotaExceeded, LoginTaken, ForeignDevice, LivesElsewhere, RegionNotInPlan, NoClusterAvailable, ClusterRefused,
        ClusterUnreachable.
    """
    binding = _home(tenant, opened, now)
    if opened is not None and opened.cluster_id != binding.cluster_id:
        raise LivesElsewhere(binding)
    if binding.cluster.state == Cluster.State.OFFLINE:
        raise ClusterUnreachable(binding.cluster_id, "the cluster is out of service")
    login, is_new = logins.claim(tenant, person, auth_id, now=now)
    if is_new:
        _register(login, auth_id)
    return logins.find(auth_id) or login


def _home(tenant: Tenant, opened: Cluster | None, now: datetime) -> Binding:
    """Where the tenant lives; one without a home gets one where its first device has asked, if there is room."""
    if existing := Binding.objects.of(tenant).select_related("cluster").first():
        return existing
    binding = bindings.settle(tenant, wish=Wish(cluster=opened.cluster_id if opened else ""), now=now)
    if settings.GATEWAY_SOCKETS:
        wiring.enqueue(tasks.publish_route, str(tenant.pk))
    return binding


def _register(login: DeviceLogin, auth_id: str) -> None:
    """Ask the server, and remember what it said. Silence is settled by a later poll. Raises: ClusterRefused, ClusterUnreachable, ForeignDevice."""
    asked_at = timezone.now()
    with clusters.admin_of(login.cluster) as admin:
        try:
            node = admin.register(login.tenant.account, auth_id)
        except ClusterSilent as silence:
            log.warning("device_login_unknown", cluster_id=login.cluster_id, login=str(login.pk), error=str(silence))
            logins.mark_unknown(login, silence.reason)
            return
        except (ClusterRefused, ClusterUnreachable) as refusal:
            if anothers := KEPT.search(refusal.reason):
                _turn_away(admin, login, int(anothers[1]))
                raise ForeignDevice from refusal
            logins.refuse(login, refusal.reason, now=timezone.now())
            raise
        if logins.is_anothers(login, node.id):
            _turn_away(admin, login, node.id)
            raise ForeignDevice
    logins.mark_registered(login, devices.sighting_of(node), seen_at=asked_at, now=timezone.now())


def _turn_away(admin: Admin, login: DeviceLogin, node_id: int) -> None:
    """Another tenant's tagged device was handed over in place: its session ends, and it is its owner's again.

    Where the fleet's database refused that, the server's memory holds the new owner all the same, and serves the device as theirs until then.
    """
    tags = logins.tags_of_another(login, node_id)
    log.error("foreign_device", cluster_id=login.cluster_id, node_id=node_id, tenant=login.tenant.account)
    try:
        _insist(lambda: admin.expire_node(node_id))
        if tags:
            _insist(lambda: admin.set_tags(node_id, tags))
    finally:
        logins.refuse(login, "the device is another tenant's", now=timezone.now())


def _insist(call: Callable[[], object]) -> None:
    """Again after a failure: these calls may be repeated."""
    for attempt in stamina.retry_context(on=ClusterError, attempts=3, timeout=settings.CLUSTER_TIMEOUT):
        with attempt:
            call()
