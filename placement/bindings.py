"""Where a tenant lives: settled at first contact, once, and never re-decided.

The engine decides on paper; the ledger decides for real. The tenant's row is locked while it is bound, so concurrent first contacts wait for each
other and find one binding. The cluster's ledger rises by a conditional update: no race takes a cluster past its cap, and whoever finds it full
tries the engine's next choice.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import structlog
from django.db import connection, transaction
from django.utils.translation import gettext as _

from placement import decisions, facts, ledger, snapshots, stays, waiting
from placement import external as outside
from placement.decisions import Asked, Look
from placement.engine import regions
from placement.engine.choice import choose, choose_dedicated
from placement.engine.facts import ANY, Newcomer, PoolKey
from placement.engine.hints import hinted
from placement.engine.regions import NotAllowed, Preference, Wish
from placement.errors import ClusterError, NoClusterAvailable, PlacementError, RegionNotInPlan
from placement.models import Binding, Cluster, Region
from placement.policies import wishes
from placement.snapshots import Snapshot
from tenants.models import Tenant

log = structlog.get_logger(__name__)

SERVED_FIRST = 3  # of those who wait already, before a newcomer is looked at
TRIES = 3  # how often a pool whose choices all filled up meanwhile is looked at again


def settle(tenant: Tenant, *, wish: Wish, now: datetime) -> Binding:
    """The tenant's binding, made if there is none.

    Raises: RegionNotInPlan, NoClusterAvailable (the tenant now has a place in the queue), ClusterError (an external server had to be asked and did
        not comply).
    """
    if existing := Binding.objects.of(tenant).select_related("cluster").first():
        return existing
    snapshot = snapshots.current(now=now)
    preference = prefer(tenant, wish, snapshot)
    newcomer = newcomer_of(tenant)
    asked = Asked(newcomer, wish, preference)
    ahead = waiting.ahead_of(tenant, newcomer, preference.regions, now=now, limit=SERVED_FIRST)
    if ahead and any(_look(asked, region, snapshot, now=now).decision.ranked for region in preference.regions):
        for earlier in ahead:  # there is room again, and it is theirs first; what their servers say is not this tenant's trouble
            with suppress(PlacementError):
                serve(earlier.tenant, list(earlier.regions), now=now)
    binding, looks = _place(tenant, asked, snapshot, now=now)
    if binding is not None:
        return binding
    why = looks[-1].decision.reason if looks else "no region to look in"
    with transaction.atomic():
        Tenant.objects.select_for_update(of=("self",), no_key=True).get(pk=tenant.pk)
        if existing := Binding.objects.of(tenant).select_related("cluster").first():
            return existing  # another of its devices took the last room meanwhile, for this one too
        decisions.store_refused(tenant, asked, looks, now=now)
        waiting.join(tenant, newcomer, preference.regions, why, now=now)
    log.error("no_cluster_available", tenant=tenant.account, regions=preference.regions, why=why)
    raise NoClusterAvailable(_("no active cluster has room for the tenant; it keeps its place in the queue"))


def serve(tenant: Tenant, order: list[str], *, now: datetime) -> Binding | None:
    """Place a tenant that waits, where it fits now. Raises: ClusterError."""
    if existing := Binding.objects.of(tenant).select_related("cluster").first():
        waiting.leave(tenant)
        return existing
    asked = Asked(newcomer_of(tenant), Wish(), Preference(tuple(order), "it waited for room"))
    return _place(tenant, asked, snapshots.current(now=now), now=now)[0]


def newcomer_of(tenant: Tenant) -> Newcomer:
    plan = tenant.plan
    return Newcomer(str(tenant.pk), max(1, plan.expected_devices), plan.service_class, tenant.residency, plan.strategy)


def prefer(tenant: Tenant, wish: Wish, snapshot: Snapshot) -> Preference:
    """The regions to look in. Raises: RegionNotInPlan."""
    plan = tenant.plan
    neighbours = dict(Region.objects.values_list("name", "neighbours"))
    try:
        preference = regions.prefer(wish, allowed=plan.regions or snapshot.regions, default=plan.default_region, neighbours=neighbours)
    except NotAllowed as error:
        raise RegionNotInPlan(
            _("the plan %(plan)s does not include the region %(region)s") % {"plan": plan.name, "region": wish.want_region}
        ) from error
    _refuse_other_residency(tenant, wish, snapshot)
    if not preference.level:
        return preference
    emptiest = sorted(preference.regions, key=lambda region: (snapshot.pool(_key(tenant, region)).mean, region))
    return Preference(tuple(emptiest), preference.why)


def _refuse_other_residency(tenant: Tenant, wish: Wish, snapshot: Snapshot) -> None:
    """A region none of whose clusters keeps the tenant's residency is not one that it may have, full or not."""
    if not (wish.want_region and tenant.residency):
        return
    there = [cluster for cluster in snapshot.clusters.values() if cluster.region == wish.want_region]
    if there and all(cluster.residency != tenant.residency for cluster in there):
        raise RegionNotInPlan(
            _("no cluster in the region %(region)s keeps the residency %(residency)s")
            % {"region": wish.want_region, "residency": tenant.residency}
        )


def _key(tenant: Tenant, region: str) -> PoolKey:
    return PoolKey(region, tenant.plan.service_class, tenant.residency or ANY)


def _place(tenant: Tenant, asked: Asked, snapshot: Snapshot, *, now: datetime) -> tuple[Binding | None, list[Look]]:
    """The first region with room for the tenant; and what was looked at on the way.

    Raises: ClusterError of the last server that had to be asked and did not comply, when no other cluster took the tenant either.
    """
    looks: list[Look] = []
    trouble: ClusterError | None = None
    for region in asked.preference.regions:
        for _attempt in range(TRIES):
            look = _look(asked, region, snapshot, now=now)
            for cluster_id in look.decision.ranked:
                try:
                    binding = _bind_to(cluster_id, tenant, asked, [*looks, look], now=now)
                except ClusterError as error:
                    if trouble is not None:  # a second one: each costs the waiting device seconds
                        raise
                    trouble = error
                    continue
                if binding is not None:
                    return binding, looks
            if trouble is not None or not look.decision.ranked:
                break
        looks.append(look)
    if trouble is not None:
        raise trouble
    return None, looks


def _look(asked: Asked, region: str, snapshot: Snapshot, *, now: datetime) -> Look:
    newcomer = asked.newcomer
    if newcomer.kind == Cluster.Kind.DEDICATED:
        there = [cluster.cluster_id for cluster in snapshot.dedicated if cluster.region == region]
        clusters = facts.load(now=now, only=there)
        return Look.of_dedicated(choose_dedicated(newcomer, clusters), clusters)
    key = PoolKey(region, newcomer.service_class, newcomer.residency or ANY)
    pool = snapshots.renewed(snapshot.pool(key), newcomer.tenant_id, now=now)
    return Look.of_pool(hinted(choose(newcomer, pool), newcomer, pool, asked.wish.cluster), pool, newcomer.tenant_id)


def _bind_to(cluster_id: str, tenant: Tenant, asked: Asked, looks: list[Look], *, now: datetime) -> Binding | None:
    """Bind to this cluster, or return None when it filled up meanwhile. Finds the binding that another request made first."""
    cluster = Cluster.objects.select_related("fleet").get(pk=cluster_id)
    own = cluster.fleet is not None and cluster.fleet.is_own
    user_id = None if own else outside.ensure_user(cluster, tenant.account)
    with transaction.atomic():
        Tenant.objects.select_for_update(of=("self",), no_key=True).get(pk=tenant.pk)
        if existing := Binding.objects.of(tenant).select_related("cluster").first():
            return existing
        if not ledger.promise(cluster, asked.newcomer):
            return None
        binding = Binding.objects.create(
            tenant=tenant,
            cluster=cluster,
            headscale_user_id=_make_user(cluster_id, tenant.account) if user_id is None else user_id,
            expected_load=asked.newcomer.load,
            reason=looks[-1].decision.reason[:200],
        )
        stays.begin(tenant, cluster_id, at=now)
        decisions.store_placed(tenant, cluster_id, asked, looks, now=now)
        waiting.leave(tenant)
        wishes.touch(cluster_id, now=now)
    return binding


def _make_user(cluster_id: str, account: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("select headscale.make_user(%s, %s)", [cluster_id, account])
        row = cursor.fetchone()
    return int(row[0])
