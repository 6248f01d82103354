"""Where a tenant lives: settled at first contact, once, and never re-decided.

The tenant's row is locked while it is settled, so concurrent first contacts wait for each other and find one binding. The
cluster's ledger rises by a conditional update: no race takes a cluster past its capacity.
"""

from __future__ import annotations

import structlog
from django.db import connection, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from placement import external
from placement.choice import Candidate, Decision, Newcomer, choose
from placement.errors import NoClusterAvailable, RegionNotInPlan
from placement.models import Binding, Cluster
from tenants.models import Plan, Tenant

log = structlog.get_logger(__name__)


def settle(tenant: Tenant, *, want_region: str) -> Binding:
    """The tenant's binding, made if there is none.

    Raises: RegionNotInPlan, NoClusterAvailable, ClusterError (an external server had to be asked and did not comply).
    """
    if existing := Binding.objects.of(tenant).select_related("cluster").first():
        return existing
    newcomer = newcomer_of(tenant.plan, want_region)
    decision = choose(newcomer, candidates())
    for cluster_id in decision.ranked:
        cluster = Cluster.objects.select_related("fleet").get(pk=cluster_id)
        user_id = None if _is_own(cluster) else external.ensure_user(cluster, tenant.account)
        if binding := _bind(tenant, cluster, newcomer, decision, user_id=user_id):
            return binding
    log.error("no_cluster_available", tenant=tenant.account, regions=newcomer.regions, refused=decision.refused)
    raise NoClusterAvailable(_("no active cluster has room for the tenant"))


def newcomer_of(plan: Plan, want_region: str) -> Newcomer:
    """Raises: RegionNotInPlan."""
    if want_region:
        known = plan.regions or list(Cluster.objects.values_list("region", flat=True).distinct())
        if want_region not in known:
            raise RegionNotInPlan(
                _("the plan %(plan)s does not include the region %(region)s") % {"plan": plan.name, "region": want_region}
            )
        regions: tuple[str, ...] = (want_region,)
    elif plan.default_region:
        regions = (plan.default_region,)
    else:
        regions = tuple(plan.regions)
    return Newcomer(regions=regions, kind=plan.strategy, load=plan.expected_devices)


def candidates() -> list[Candidate]:
    rows = Cluster.objects.values_list("cluster_id", "region", "kind", "state", "capacity", "committed")
    return [Candidate(*row) for row in rows]


def _is_own(cluster: Cluster) -> bool:
    return cluster.fleet is not None and cluster.fleet.is_own


@transaction.atomic
def _bind(tenant: Tenant, cluster: Cluster, newcomer: Newcomer, decision: Decision, *, user_id: int | None) -> Binding | None:
    """Bind to this cluster, or return None when it filled up meanwhile. Finds the binding that another request made first."""
    Tenant.objects.select_for_update(of=("self",), no_key=True).get(pk=tenant.pk)
    if existing := Binding.objects.of(tenant).select_related("cluster").first():
        return existing
    room = Cluster.objects.filter(pk=cluster.pk, state=Cluster.State.ACTIVE, committed__lte=F("capacity") - newcomer.load)
    if cluster.kind == Cluster.Kind.DEDICATED:
        room = room.filter(committed=0)
    if room.update(committed=F("committed") + newcomer.load) != 1:
        return None
    user_id = user_id if user_id is not None else _make_user(cluster.cluster_id, tenant.account)
    return Binding.objects.create(
        tenant=tenant, cluster=cluster, headscale_user_id=user_id, expected_load=newcomer.load, reason=decision.reason
    )


def _make_user(cluster_id: str, account: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("select headscale.make_user(%s, %s)", [cluster_id, account])
        row = cursor.fetchone()
    return int(row[0])
