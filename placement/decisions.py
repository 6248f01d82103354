"""What the engine decided, kept with everything it saw, so that anybody can ask why, and decide again on paper.

A document holds the newcomer, the regions in the order in which they were tried and why in that order, and for each region its pool's decision
together with the facts of the clusters that were weighed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

from placement.engine.choice import choose, choose_dedicated
from placement.engine.facts import ClusterFacts, Decision, Newcomer, Pool, PoolKey, Weighed
from placement.engine.regions import Preference, Wish
from placement.engine.ring import Ring, point_of
from placement.models import Decision as Stored
from tenants.models import Tenant


@dataclass(frozen=True)
class Look:
    """One pool that was asked: the engine's decision, and the facts of the clusters it weighed or refused, in the order in which they came up.

    `size`: members of the pool's ring, 0 for dedicated clusters, which are in none; `largest`: the largest active cluster's capacity.
    """

    decision: Decision
    clusters: tuple[ClusterFacts, ...]
    size: int = 0
    largest: int = 0

    @classmethod
    def of_pool(cls, decision: Decision, pool: Pool, tenant_id: str) -> Look:
        seen = _seen(decision)
        met = (cluster_id for cluster_id in pool.ring.walk(point_of(tenant_id)) if cluster_id in seen)
        in_order = [cluster_id for cluster_id, _ in zip(met, seen, strict=False)]
        return cls(decision, tuple(pool.clusters[cluster_id] for cluster_id in in_order), len(pool.ring), pool.largest)

    @classmethod
    def of_dedicated(cls, decision: Decision, clusters: Iterable[ClusterFacts]) -> Look:
        seen = _seen(decision)
        return cls(decision, tuple(cluster for cluster in clusters if cluster.cluster_id in seen))


def _seen(decision: Decision) -> set[str]:
    return {*(weighed.cluster_id for weighed in decision.weighed), *decision.refused}


@dataclass(frozen=True)
class Remembered:
    """As much of a ring as a decision saw: what a choice asks a ring for, from the point of one tenant."""

    order: tuple[str, ...]
    size: int
    digest: str

    def walk(self, point: int) -> Iterator[str]:  # noqa: ARG002 - it knows one point only
        return iter(self.order)

    def __len__(self) -> int:
        return self.size


def again(newcomer: Newcomer, look: Look) -> Decision | None:
    """The decision made anew from what was kept of it; None where more clusters were refused than a decision names."""
    told = look.decision
    if sum(told.refusals.values()) > len(told.refused):
        return None
    if not look.size and newcomer.kind == "dedicated":
        return choose_dedicated(newcomer, look.clusters)
    ring = Remembered(tuple(cluster.cluster_id for cluster in look.clusters), look.size, told.ring)
    known = {cluster.cluster_id: cluster for cluster in look.clusters}
    return choose(newcomer, Pool(told.pool, cast(Ring, ring), known, told.mean, told.blind, look.largest))


@dataclass(frozen=True)
class Asked:
    """What the engine was asked: for whom, what the device wished, and where to look in which order."""

    newcomer: Newcomer
    wish: Wish
    preference: Preference


def document(asked: Asked, looks: Iterable[Look]) -> dict[str, Any]:
    """All of it as JSON."""
    return {
        "newcomer": asdict(asked.newcomer),
        "wish": asdict(asked.wish),
        "regions": {"order": list(asked.preference.regions), "why": asked.preference.why},
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
        "size": look.size,
        "largest": look.largest,
        "weighed": [weighed._asdict() for weighed in decision.weighed],
        "refused": dict(decision.refused),
        "refusals": dict(decision.refusals),
        "clusters": [asdict(cluster) for cluster in look.clusters],
    }


def store_placed(tenant: Tenant, cluster_id: str, asked: Asked, looks: list[Look], *, now: datetime) -> Stored:
    """With the binding, in its transaction. The tenant's last refusal is history."""
    return _store(tenant, cluster_id, asked, looks, now)


def store_refused(tenant: Tenant, asked: Asked, looks: list[Look], *, now: datetime) -> Stored:
    """The last refusal takes the place of the one before: a device that asks every minute fills no table. Inside a transaction."""
    return _store(tenant, None, asked, looks, now)


def _store(tenant: Tenant, cluster_id: str | None, asked: Asked, looks: list[Look], now: datetime) -> Stored:
    Stored.objects.of(tenant).filter(outcome=Stored.Outcome.REFUSED).delete()
    last = looks[-1].decision if looks else None
    return Stored.objects.create(
        tenant=tenant,
        at=now,
        outcome=Stored.Outcome.PLACED if cluster_id else Stored.Outcome.REFUSED,
        cluster_id=cluster_id,
        pool=str(last.pool) if last else "",
        load=asked.newcomer.load,
        reason=(last.reason if last else "no region to look in")[:300],
        engine=last.engine if last else "",
        ring=last.ring if last else "",
        document=document(asked, looks),
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
    return Look(decision, tuple(ClusterFacts(**cluster) for cluster in look["clusters"]), look["size"], look["largest"])
