"""What the engine decided, kept with everything it saw, so that anybody can ask why, and decide again on paper.

A document holds the newcomer, the regions in the order in which they were tried and why in that order, and for each region its pool's decision
together with the facts of the clusters that were weighed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from placement.engine.choice import choose
from placement.engine.facts import ClusterFacts, Decision, Newcomer, Pool, PoolKey, Weighed
from placement.engine.regions import Preference, Wish
from placement.engine.ring import Ring
from placement.models import Decision as Stored
from tenants.models import Tenant


@dataclass(frozen=True)
class Look:
    """One pool that was asked: the engine's decision, and the facts of the clusters it weighed or refused."""

    decision: Decision
    clusters: tuple[ClusterFacts, ...]
    largest: int = 0

    @classmethod
    def at(cls, decision: Decision, pool: Pool | None, clusters: Iterable[ClusterFacts] = ()) -> Look:
        seen = {*(weighed.cluster_id for weighed in decision.weighed), *decision.refused}
        known = {cluster.cluster_id: cluster for cluster in clusters} if pool is None else pool.clusters
        return cls(decision, tuple(known[cluster_id] for cluster_id in sorted(seen)), pool.largest if pool else 0)


def document(newcomer: Newcomer, wish: Wish, preference: Preference, looks: Iterable[Look]) -> dict[str, Any]:
    """All of it as JSON."""
    return {
        "newcomer": asdict(newcomer),
        "wish": {"want_region": wish.want_region, "latencies": dict(wish.latencies), "near": wish.near},
        "regions": {"order": list(preference.regions), "why": preference.why},
        "looks": [_look_as_json(look) for look in looks],
    }


def _look_as_json(look: Look) -> dict[str, Any]:
    decision = look.decision
    return {
        "pool": list(decision.pool),
        "ring": decision.ring,
        "engine": decision.engine,
        "ranked": list(decision.ranked),
        "reason": decision.reason,
        "bound": decision.bound,
        "mean": decision.mean,
        "blind": decision.blind,
        "largest": look.largest,
        "weighed": [asdict(weighed) for weighed in decision.weighed],
        "refused": dict(decision.refused),
        "refusals": dict(decision.refusals),
        "clusters": [asdict(cluster) for cluster in look.clusters],
    }


def store_placed(
    tenant: Tenant, cluster_id: str, newcomer: Newcomer, wish: Wish, preference: Preference, looks: list[Look], *, now: datetime
) -> Stored:
    """With the binding, in its transaction. The tenant's last refusal is history."""
    Stored.objects.of(tenant).filter(outcome=Stored.Outcome.REFUSED).delete()
    return _create(tenant, Stored.Outcome.PLACED, cluster_id, newcomer, wish, preference, looks, now)


def store_refused(tenant: Tenant, newcomer: Newcomer, wish: Wish, preference: Preference, looks: list[Look], *, now: datetime) -> Stored:
    """The last refusal takes the place of the one before: a device that asks every minute fills no table. Inside a transaction."""
    Stored.objects.of(tenant).filter(outcome=Stored.Outcome.REFUSED).delete()
    return _create(tenant, Stored.Outcome.REFUSED, None, newcomer, wish, preference, looks, now)


def _create(
    tenant: Tenant,
    outcome: Stored.Outcome,
    cluster_id: str | None,
    newcomer: Newcomer,
    wish: Wish,
    preference: Preference,
    looks: list[Look],
    now: datetime,
) -> Stored:
    last = looks[-1].decision if looks else None
    return Stored.objects.create(
        tenant=tenant,
        at=now,
        outcome=outcome,
        cluster_id=cluster_id,
        pool=str(last.pool) if last else "",
        load=newcomer.load,
        reason=(last.reason if last else "no region to look in")[:300],
        engine=last.engine if last else "",
        ring=last.ring if last else "",
        document=document(newcomer, wish, preference, looks),
    )


def newcomer_of(stored: Stored) -> Newcomer:
    return Newcomer(**stored.document["newcomer"])


def looks_of(stored: Stored) -> list[Look]:
    return [_look_from_json(look) for look in stored.document["looks"]]


def _look_from_json(look: dict[str, Any]) -> Look:
    decision = Decision(
        ranked=tuple(look["ranked"]),
        reason=look["reason"],
        pool=PoolKey(*look["pool"]),
        weighed=tuple(Weighed(**weighed) for weighed in look["weighed"]),
        refused=look["refused"],
        refusals=look["refusals"],
        bound=look["bound"],
        mean=look["mean"],
        blind=look["blind"],
        ring=look["ring"],
        engine=look["engine"],
    )
    return Look(decision, tuple(ClusterFacts(**cluster) for cluster in look["clusters"]), look["largest"])
