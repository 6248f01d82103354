"""What the engine knows of clusters, pools and tenants, and what it answers. Load and capacity count devices; utilisation is a share.

Utilisation U = max(committed / capacity, measured): the ledger alone is blind to real heat, a sample alone sends everybody to the same place.
A sample is some time old, so what was promised since it was taken counts on top of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import fsum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from placement.engine.ring import Ring

ENGINE = "1"  # version of the rules; stored with every decision

PENALISED_AFTER = 2.0  # sampling intervals: an older sample counts for more than it says
INELIGIBLE_AFTER = 5.0  # sampling intervals: an older one says nothing
PENALTY_PER_INTERVAL = 0.05  # added to the measured utilisation for each interval past PENALISED_AFTER
ANY = "*"  # the pool of a region and class for tenants that may live under any residency


class PoolKey(NamedTuple):
    """The clusters a tenant may land on share region and service class, and residency where the tenant needs one (ANY: any)."""

    region: str
    service_class: str
    residency: str = ANY

    def __str__(self) -> str:
        return "/".join(self)


class Weighed(NamedTuple):
    """An eligible cluster as the choice saw it: utilisation before, and with the newcomer."""

    cluster_id: str
    utilisation: float
    projected: float


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """One cluster as it stands. `measured` and `age` (in sampling intervals) are None where there is nothing to sample.

    `sessions` are online devices; `max_tenants` None is no limit; `reserved_for` names the tenant that a dedicated cluster is kept for.
    `promised_since`: devices that were promised after the sample was taken: in `committed` already, in `measured` not yet.
    """

    cluster_id: str
    region: str = "eu"
    service_class: str = "standard"
    residency: str = ""
    kind: str = "shared"
    state: str = "active"
    capacity: int = 500
    committed: int = 0
    tenants: int = 0
    max_tenants: int | None = None
    sessions: int = 0
    max_sessions: int = 500
    measured: float | None = None
    age: float | None = None
    breaker_open: bool = False
    reserved_for: str = ""
    promised_since: int = 0

    @property
    def is_stale(self) -> bool:
        return self.age is not None and self.age > PENALISED_AFTER

    def utilisation(self, *, more: int = 0, blind: bool = False) -> float:
        """U with `more` devices promised. `blind`: by the ledger alone. An old sample is penalised."""
        return self.weigh(more, blind).projected

    def weigh(self, load: int, blind: bool = False) -> Weighed:
        """U as it is and with the newcomer, in one go: a decision asks for little else."""
        capacity = self.capacity
        if not capacity:
            return Weighed(self.cluster_id, 1.0, 1.0)
        before, after = self.committed / capacity, (self.committed + load) / capacity
        if blind or self.measured is None:
            return Weighed(self.cluster_id, before, after)
        measured = self.measured + self.promised_since / capacity
        if self.age is not None and self.age > PENALISED_AFTER:
            # no further than an old sample matters: else one dead cluster would lift its whole pool's mean, and the bound with it, beyond all use
            measured += PENALTY_PER_INTERVAL * (min(self.age, INELIGIBLE_AFTER) - PENALISED_AFTER)
        projected = measured + load / capacity
        return Weighed(self.cluster_id, before if before > measured else measured, after if after > projected else projected)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A tenant that needs a cluster. `load` in devices; `residency` empty: it may live anywhere."""

    tenant_id: str
    load: int
    service_class: str = "standard"
    residency: str = ""
    kind: str = "shared"


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool at one moment: its ring, its clusters, and what is derived from them once. Built by `Pool.of`.

    `blind`: more than half of the samples are stale, so the ledger alone decides. `mean`: of the active clusters' utilisation.
    """

    key: PoolKey
    ring: Ring
    clusters: Mapping[str, ClusterFacts]
    mean: float
    blind: bool
    largest: int  # capacity of the largest active cluster

    @classmethod
    def of(cls, key: PoolKey, ring: Ring, clusters: Iterable[ClusterFacts], *, kind: str = "shared") -> Pool:
        known = {cluster.cluster_id: cluster for cluster in clusters}
        active = [cluster for cluster in known.values() if cluster.state == "active" and cluster.kind == kind]
        sampled = [cluster for cluster in active if cluster.age is not None]
        blind = 2 * sum(cluster.is_stale for cluster in sampled) > len(sampled)
        used = fsum(cluster.utilisation(blind=blind) for cluster in active)  # exact: the same in whatever order they come
        mean = used / len(active) if active else 0.0
        return cls(key, ring, known, mean, blind, max((cluster.capacity for cluster in active), default=0))


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a newcomer goes and why. `ranked`: the order in which to try, `chosen` first; empty when nobody is eligible.

    `refused`: rule by cluster, at most 50 of those that were looked at; `refusals`: how many each rule refused in all.
    """

    ranked: tuple[str, ...]
    reason: str
    pool: PoolKey
    weighed: tuple[Weighed, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)
    bound: float = 0.0
    mean: float = 0.0
    blind: bool = False
    ring: str = ""
    engine: str = ENGINE

    @property
    def chosen(self) -> str:
        return self.ranked[0] if self.ranked else ""
