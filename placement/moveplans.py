"""Plans of moves as operators make, review and export them. Carrying one out is the business of moves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from placement import snapshots
from placement.engine.facts import ANY, ClusterFacts, PoolKey
from placement.engine.moves import Limits, Lodger, Plan
from placement.engine.rebalance import plan_drain, plan_rebalance
from placement.models import Binding, Heat, MovePlan
from tenants import audit
from tenants.errors import MalformedRequest, WrongState

State = MovePlan.State


def make_rebalance(key: PoolKey, *, at_once: bool, actor: str, now: datetime) -> MovePlan:
    """Even out a pool. `at_once`: as after clusters were added, without waiting for a quarter of an hour of heat. Raises: MalformedRequest."""
    clusters = list(snapshots.fresh(now=now).pool(key).clusters.values())
    if not clusters:
        raise MalformedRequest({"pool": _("there is no pool %(pool)s") % {"pool": key}})
    since = {cluster_id: at for cluster_id, at in Heat.objects.values_list("cluster_id", "hot_since") if at is not None}
    plan = plan_rebalance(clusters, lodgers(clusters), now=now, hot_since=since, limits=Limits(at_once=at_once))
    return _store(plan, MovePlan.Kind.REBALANCE, str(key), actor=actor, now=now)


def make_drain(cluster_ids: Sequence[str], *, actor: str, now: datetime) -> MovePlan:
    """Empty clusters of one pool. Raises: MalformedRequest."""
    known = snapshots.fresh(now=now)
    leaving = [known.clusters[cluster_id] for cluster_id in dict.fromkeys(cluster_ids) if cluster_id in known.clusters]
    if not leaving or len(leaving) < len(set(cluster_ids)):
        raise MalformedRequest(
            {"cluster_ids": _("not registered: %(names)s") % {"names": ", ".join(sorted(set(cluster_ids) - set(known.clusters)))}}
        )
    if any(cluster.kind != "shared" for cluster in leaving):
        raise MalformedRequest({"cluster_ids": _("a dedicated cluster has one tenant: move that one")})
    keys = {PoolKey(cluster.region, cluster.service_class, ANY) for cluster in leaving}
    if len(keys) > 1:
        raise MalformedRequest({"cluster_ids": _("not of one pool: %(pools)s") % {"pools": ", ".join(sorted(map(str, keys)))}})
    clusters = list(known.pool(keys.pop()).clusters.values())
    names = [cluster.cluster_id for cluster in leaving]
    plan = plan_drain(set(names), clusters, lodgers(clusters), now=now)
    return _store(plan, MovePlan.Kind.DRAIN, ", ".join(sorted(names)), actor=actor, now=now)


def lodgers(clusters: Sequence[ClusterFacts]) -> list[Lodger]:
    """Who lives on these clusters."""
    bound = Binding.objects.across_tenants().filter(cluster_id__in=[cluster.cluster_id for cluster in clusters]).order_by("tenant_id")
    rows = bound.values_list("tenant_id", "cluster_id", "expected_load", "tenant__residency", "moved_at")
    return [Lodger(str(tenant_id), home, load, residency, moved_at) for tenant_id, home, load, residency, moved_at in rows]


def approve(plan: MovePlan, *, actor: str, now: datetime) -> MovePlan:
    """Reviewed and to be carried out. Raises: WrongState unless a draft."""
    return _review(plan, State.APPROVED, "move_plan.approve", actor=actor, now=now)


def discard(plan: MovePlan, *, actor: str, now: datetime) -> MovePlan:
    """Not to be carried out. Raises: WrongState unless a draft."""
    return _review(plan, State.DISCARDED, "move_plan.discard", actor=actor, now=now)


@transaction.atomic
def _store(plan: Plan, kind: MovePlan.Kind, subject: str, *, actor: str, now: datetime) -> MovePlan:
    stored = MovePlan.objects.create(
        kind=kind, subject=subject[:200], made_at=now, made_by=actor[:120], moves=len(plan.moves), document=plan.as_document()
    )
    audit.record(
        "move_plan.make",
        actor=actor,
        tenant=None,
        target=f"move_plan:{stored.pk}",
        now=now,
        kind=kind,
        subject=subject,
        moves=len(plan.moves),
    )
    return stored


@transaction.atomic
def _review(plan: MovePlan, state: State, verb: str, *, actor: str, now: datetime) -> MovePlan:
    held = MovePlan.objects.filter(pk=plan.pk)
    if held.filter(state=State.DRAFT).update(state=state, reviewed_at=now, reviewed_by=actor[:120]) != 1:
        raise WrongState(_("the plan is %(state)s") % {"state": held.get().get_state_display()})
    audit.record(verb, actor=actor, tenant=None, target=f"move_plan:{plan.pk}", now=now)
    return held.get()
