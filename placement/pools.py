"""The pools as they stand, for people who look: how full, how hot, how much room, and which clusters wait for nobody's tenants.

A snapshot decides; this only shows, and reads the facts the moment it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from placement import snapshots
from placement.engine.choice import bound
from placement.engine.facts import ANY, ClusterFacts, Pool, PoolKey
from placement.engine.ledger import cap


@dataclass(frozen=True)
class Member:
    """A cluster and its utilisation as the choice would see it."""

    facts: ClusterFacts
    utilisation: float

    @property
    def cluster_id(self) -> str:
        return self.facts.cluster_id

    @property
    def promised(self) -> float:
        """Promised devices as a share of the capacity."""
        return self.facts.committed / self.facts.capacity

    @property
    def takes(self) -> bool:
        """Whether it is one that tenants may land on at all."""
        return self.facts.state == "active" and not self.facts.breaker_open

    @property
    def room(self) -> int:
        """Devices that may still be promised."""
        return max(0, cap(self.facts.capacity, self.facts.kind) - self.facts.committed) if self.takes else 0


@dataclass(frozen=True)
class PoolView:
    """A pool. `members` the fullest first; mean and bound are of the active ones."""

    pool: Pool
    members: tuple[Member, ...]

    @classmethod
    def of(cls, pool: Pool) -> PoolView:
        members = (Member(cluster, cluster.utilisation(blind=pool.blind)) for cluster in pool.clusters.values())
        return cls(pool, tuple(sorted(members, key=lambda member: (-member.utilisation, member.cluster_id))))

    @property
    def key(self) -> PoolKey:
        return self.pool.key

    @property
    def name(self) -> str:
        """For addresses within a page: no sign that they do not know."""
        return "-".join(self.key).replace(ANY, "any")

    @property
    def active(self) -> list[Member]:
        return [member for member in self.members if member.facts.state == "active"]

    @property
    def highest(self) -> Member | None:
        """The fullest of the active ones."""
        return next(iter(self.active), None)

    @property
    def bound(self) -> float:
        return bound(self.pool.mean)

    @property
    def room(self) -> int:
        return sum(member.room for member in self.members)

    @property
    def tenants(self) -> int:
        return sum(member.facts.tenants for member in self.members)

    @property
    def breakers(self) -> list[str]:
        """Clusters whose breaker is open."""
        return [member.cluster_id for member in self.members if member.facts.breaker_open]

    @property
    def stale(self) -> list[str]:
        """Active clusters whose last sample is old."""
        return [member.cluster_id for member in self.active if member.facts.is_stale]


@dataclass(frozen=True)
class Dedicated:
    """A region's dedicated clusters: they are in no pool."""

    region: str
    clusters: tuple[ClusterFacts, ...]

    @property
    def free(self) -> int:
        """Active ones that nobody lives on and that are kept for nobody."""
        return sum(cluster.state == "active" and not cluster.tenants and not cluster.reserved_for for cluster in self.clusters)


@dataclass(frozen=True)
class Standing:
    """All of it."""

    pools: tuple[PoolView, ...]
    dedicated: tuple[Dedicated, ...]


def look(*, now: datetime) -> Standing:
    """In order of region, class and residency; the pool of a whole region before those of its residencies."""
    snapshot = snapshots.fresh(now=now)
    ordered = sorted(snapshot.pools, key=lambda key: (key.region, key.service_class, key.residency != ANY, key.residency))
    return Standing(tuple(PoolView.of(snapshot.pools[key]) for key in ordered), tuple(_dedicated(snapshot.dedicated)))


def _dedicated(clusters: Iterable[ClusterFacts]) -> Iterable[Dedicated]:
    by_region: dict[str, list[ClusterFacts]] = {}
    for cluster in clusters:
        by_region.setdefault(cluster.region, []).append(cluster)
    for region in sorted(by_region):
        yield Dedicated(region, tuple(sorted(by_region[region], key=lambda cluster: cluster.cluster_id)))


def key_of(text: str) -> PoolKey | None:
    """REGION, REGION/CLASS or REGION/CLASS/RESIDENCY; None for anything else."""
    parts = text.split("/")
    if len(parts) > 3 or not all(parts):
        return None
    return PoolKey(parts[0], parts[1] if len(parts) > 1 else "standard", parts[2] if len(parts) > 2 else ANY)
