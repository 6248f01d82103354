"""Dedicated clusters: whoever buys one on a shared cluster stays there until one is free, waits in the open, and gets it reserved first come, first
served. Moving the tenant onto its reserved cluster is a move like any other; a tenant that lives nowhere yet is placed on it directly.
"""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Q

from placement import alerts, facts, waiting
from placement.bindings import newcomer_of
from placement.engine.choice import choose_dedicated
from placement.models import Alert, Cluster, Waiting
from tenants.models import Plan, Tenant

SHARED, DEDICATED = Cluster.Kind.SHARED, Cluster.Kind.DEDICATED


def review(*, now: datetime) -> int:
    """Let go what nobody is entitled to any more, reserve what is free for those who wait, tell operators what is missing.

    Returns how many tenants wait without a reservation.
    """
    _let_go()
    entitled = Tenant.objects.filter(plan__strategy=Plan.Strategy.DEDICATED, binding__cluster__kind=SHARED).exclude(
        state=Tenant.State.CLOSED
    )
    lacking = entitled.filter(dedicated_cluster=None)
    ordered = lacking.select_related("plan", "binding__cluster").order_by("waiting__since", "created_at", "pk")
    return sum(not _reserve(tenant, now) for tenant in ordered)


def _let_go() -> None:
    """Places and reservations of tenants that moved, closed or left the plan. A cluster that its tenant lives on stays its own."""
    waits = Waiting.objects.across_tenants().filter(want=Waiting.Want.DEDICATED)
    waits.filter(~Q(tenant__plan__strategy=Plan.Strategy.DEDICATED) | Q(tenant__binding__cluster__kind=DEDICATED)).delete()
    waits.filter(tenant__state=Tenant.State.CLOSED).delete()
    idle = Cluster.objects.filter(tenants=0).exclude(reserved_for=None)
    gone = Q(reserved_for__state=Tenant.State.CLOSED) | ~Q(reserved_for__plan__strategy=Plan.Strategy.DEDICATED)
    Cluster.objects.filter(pk__in=idle.filter(gone).values("pk"), tenants=0).update(reserved_for=None)


def _reserve(tenant: Tenant, now: datetime) -> bool:
    """Whether a free cluster is now kept for the tenant: in the region it lives in, else in another one of its plan."""
    clusters, home = facts.load(now=now), tenant.binding.cluster.region
    regions = [home, *sorted({cluster.region for cluster in clusters} - {home})]
    if tenant.plan.regions:
        regions = [region for region in regions if region in tenant.plan.regions]
    for region in regions:
        free = (cluster for cluster in clusters if cluster.kind == DEDICATED and cluster.region == region and not cluster.reserved_for)
        for cluster_id in choose_dedicated(newcomer_of(tenant), free).ranked:
            if _keep(cluster_id, tenant):
                _tell(tenant, f"{cluster_id} is reserved, the tenant is to move there", regions, now, served=True)
                return True
    _tell(tenant, "no dedicated cluster is free", regions, now)
    return False


def _keep(cluster_id: str, tenant: Tenant) -> bool:
    free = Cluster.objects.filter(pk=cluster_id, state=Cluster.State.ACTIVE, tenants=0, reserved_for=None)
    try:
        with transaction.atomic():
            return free.update(reserved_for=tenant) == 1
    except IntegrityError:  # a review that ran beside this one has reserved another one for the same tenant
        return True


@transaction.atomic
def _tell(tenant: Tenant, why: str, regions: list[str], now: datetime, *, served: bool = False) -> None:
    waiting.join(tenant, newcomer_of(tenant), regions, why, now=now, served=served)


def close_alerts(*, now: datetime) -> None:
    """Alerts about pools for which nobody waits any more are over."""
    waits = Waiting.objects.across_tenants().select_related("tenant__plan").filter(tenant__dedicated_cluster=None)
    live = {waiting.subject_of(newcomer_of(row.tenant), row.regions) for row in waits}
    open_ones = Alert.objects.filter(kind__in=[Alert.Kind.NO_ROOM, Alert.Kind.NO_DEDICATED], closed_at=None)
    for kind, subject in open_ones.values_list("kind", "subject"):
        if subject not in live:
            alerts.over(Alert.Kind(kind), subject, now=now)
