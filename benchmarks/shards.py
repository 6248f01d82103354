"""Simulated clusters and tenants for the benchmarks of placement: seeded, in one process, a fast ledger around the real decision.

Tenants are heavy-tailed: four plans, and within a plan a bounded Pareto distribution of exponent 1.1 (PLANS). A plan's figure is the mean of its
tenants, so one of them may bring four times what its plan promises. Clusters hold 500, 1,000 or 2,000 devices (SIZES), times a scale that ends the
pool at about two thirds. What a plan allows is at most 5 % of the clusters that its figure lets a tenant onto: larger ones belong elsewhere.

All tenants come within 28 hours, and none has a history of its own by then. A tenant's devices join at once, but nobody knows before the next
sample: each cluster is sampled every 30 seconds at a moment of its own, and a sample is told one interval after it was taken, so what the engine sees is 30 to
60 seconds old. Facts are read anew once a second: within it all decisions see the same ledger, as those of other processes would. The
commit looks at the ledger as it is.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from placement.engine.choice import FLOOR, choose
from placement.engine.facts import ClusterFacts, Newcomer, Pool, PoolKey
from placement.engine.ledger import cap
from placement.engine.ring import Ring, point_of, weight_of

INTERVAL = 30  # seconds between two samples of a cluster
RUSH = 100_000  # seconds in which all tenants come
ALPHA = 1.1
PLANS = ((0.6, 1, 10), (0.3, 3, 25), (0.08, 6, 25), (0.02, 26, 50))  # share of the tenants, fewest and most devices
SIZES = ((0.7, 500), (0.25, 1000), (0.05, 2000))  # share of the clusters, devices
KEY = PoolKey("eu", "standard")


@dataclass(frozen=True, slots=True)
class Tenant:
    tenant_id: str
    figure: int  # what its plan says
    devices: int  # what it brings


@dataclass(slots=True)
class Shard:
    """A cluster as it is, and as its samples tell: devices, and what had been promised when the sample was taken."""

    cluster_id: str
    capacity: int
    committed: int = 0
    tenants: int = 0
    devices: int = 0
    taken: tuple[int, int] = (0, 0)  # the sample on its way
    told: tuple[int, int] = (0, 0)  # the sample that the engine has

    @property
    def used(self) -> float:
        return self.devices / self.capacity

    def facts(self, *, counts_since: bool = True) -> ClusterFacts:
        devices, promised = self.told
        return ClusterFacts(
            self.cluster_id,
            capacity=self.capacity,
            committed=self.committed,
            tenants=self.tenants,
            sessions=devices,
            max_sessions=self.capacity,
            measured=devices / self.capacity,
            age=1.0,
            promised_since=self.committed - promised if counts_since else 0,
        )


Policy = Callable[["Fleet", Tenant], Shard | None]


@dataclass
class Fleet:
    """`sizes_known`: the ledger is told what a tenant brings; otherwise what its plan says. `counts_since`: what was promised since the sample counts."""

    shards: dict[str, Shard]
    ring: Ring
    sizes_known: bool
    per_second: int
    counts_since: bool = True
    bindings: dict[str, str] = field(default_factory=dict)
    clock: int = 0
    refused: int = 0
    above: int = 0  # placements on a cluster above 1.1 x mean, since the pool passed the floor
    placed: int = 0  # since then

    def __post_init__(self) -> None:
        self.due: list[list[Shard]] = [[] for _ in range(INTERVAL)]
        for number, shard in enumerate(self.shards.values()):
            self.due[number * 7 % INTERVAL].append(shard)
        self.used = sum(shard.used for shard in self.shards.values())
        self.known = {shard.cluster_id: shard.facts(counts_since=self.counts_since) for shard in self.shards.values()}
        self.changed: set[str] = set()
        self.pool = Pool.of(KEY, self.ring, self.known.values())
        self.sum = self.pool.mean * len(self.known)

    def receive(self, tenants: Iterable[Tenant], policy: Policy) -> Fleet:
        """Every tenant knocks; who is bound stays where it is."""
        for number, tenant in enumerate(tenants):
            if number % self.per_second == 0:
                self.sample()
                if policy is the_engine:
                    self.read()
            if tenant.tenant_id in self.bindings:
                continue
            shard = policy(self, tenant)
            if shard is None:
                self.refused += 1
            else:
                self.bind(tenant, shard)
        return self

    def sample(self) -> None:
        """A second passes: some samples arrive, and the next ones of the same clusters are taken."""
        for shard in self.due[self.clock % INTERVAL]:
            if shard.told[1] != shard.committed:
                shard.told, shard.taken = shard.taken, (shard.devices, shard.committed)
                self.changed.add(shard.cluster_id)
        self.clock += 1

    def read(self) -> None:
        """What `Pool.of` would read, from what changed only."""
        for cluster_id in self.changed:
            fresh = self.shards[cluster_id].facts(counts_since=self.counts_since)
            self.sum += fresh.utilisation() - self.known[cluster_id].utilisation()
            self.known[cluster_id] = fresh
        self.changed.clear()
        self.pool = replace(self.pool, clusters=self.known, mean=self.sum / len(self.known))

    def load(self, tenant: Tenant) -> int:
        return tenant.devices if self.sizes_known else tenant.figure

    def bind(self, tenant: Tenant, shard: Shard) -> None:
        mean = self.used / len(self.shards)
        if mean > FLOOR:
            self.placed += 1
            self.above += shard.used > 1.1 * mean
        self.used += tenant.devices / shard.capacity
        shard.devices += tenant.devices
        shard.committed += self.load(tenant)
        shard.tenants += 1
        self.bindings[tenant.tenant_id] = shard.cluster_id
        self.changed.add(shard.cluster_id)

    @property
    def part_above(self) -> float:
        """Per cent of the placements. Below the floor every cluster is as good as another: one tenant alone is several times the mean."""
        return 100 * self.above / max(1, self.placed)

    @property
    def max_over_mean(self) -> float:
        return max(shard.used for shard in self.shards.values()) * len(self.shards) / self.used

    def joined_by(self, cluster_id: str, capacity: int, *, per_second: int) -> Fleet:
        """The same fleet at the moment at which an empty cluster is added. The old one stays as it is."""
        shards = {shard.cluster_id: replace(shard) for shard in self.shards.values()}
        shards[cluster_id] = Shard(cluster_id, capacity)
        ring = ring_of({shard.cluster_id: shard.capacity for shard in shards.values()})
        return Fleet(shards, ring, self.sizes_known, per_second, self.counts_since, dict(self.bindings))


def the_engine(fleet: Fleet, tenant: Tenant) -> Shard | None:
    """The real decision; then the first of its clusters whose ledger has room at this moment."""
    load = fleet.load(tenant)
    for cluster_id in choose(Newcomer(tenant.tenant_id, load), fleet.pool).ranked:
        shard = fleet.shards[cluster_id]
        if shard.committed + load <= cap(shard.capacity, "shared"):
            return shard
    return None


def plain_hashing(fleet: Fleet, tenant: Tenant) -> Shard:
    """The first of the ring, whatever its load."""
    return fleet.shards[next(fleet.ring.walk(point_of(tenant.tenant_id)))]


class LeastLoaded:
    """The least utilised of all: by a ledger that sees every promise at once, or by the samples, which tell everybody the same."""

    def __init__(self, *, by_samples: bool = False) -> None:
        self.by_samples = by_samples
        self.heap: list[tuple[float, str]] = []

    def __call__(self, fleet: Fleet, tenant: Tenant) -> Shard:  # noqa: ARG002 - it asks for no tenant, only for the least
        if not self.heap:
            self.heap = [(self.used(shard), shard.cluster_id) for shard in fleet.shards.values()]
            heapq.heapify(self.heap)
        while True:  # load only grows here, so an entry that is still true is the least
            used, cluster_id = self.heap[0]
            shard = fleet.shards[cluster_id]
            now = self.used(shard)
            if now == used:
                return shard
            heapq.heapreplace(self.heap, (now, cluster_id))

    def used(self, shard: Shard) -> float:
        return (shard.told[0] if self.by_samples else shard.committed) / shard.capacity


def ring_of(capacities: Mapping[str, int]) -> Ring:
    return Ring.build({cluster_id: weight_of(capacity) for cluster_id, capacity in capacities.items()})


def clusters(count: int, scale: int = 1, *, seed: int, prefix: str = "eu") -> dict[str, int]:
    """Capacity by cluster_id."""
    drawn = random.Random(seed).choices([size for _, size in SIZES], [share for share, _ in SIZES], k=count)
    return {f"{prefix}{number}": size * scale for number, size in enumerate(drawn)}


def tenants(count: int, *, seed: int) -> Iterator[Tenant]:
    draw = random.Random(seed)
    figures = [round(mean(fewest, most)) for _, fewest, most in PLANS]
    for plan in draw.choices(range(len(PLANS)), [share for share, _, _ in PLANS], k=count):
        _, fewest, most = PLANS[plan]
        name = f"{draw.getrandbits(128):032x}"
        tenant_id = f"{name[:8]}-{name[8:12]}-4{name[13:16]}-a{name[17:20]}-{name[20:]}"
        yield Tenant(tenant_id, figures[plan], pareto(draw.random(), fewest, most))


def pareto(part: float, fewest: int, most: int) -> int:
    """The whole part of a bounded Pareto variable between `fewest` and `most` + 1; `part` from 0 to 1 is its place in the distribution."""
    low, high = fewest**-ALPHA, (most + 1) ** -ALPHA
    return int((low - part * (low - high)) ** (-1 / ALPHA))


def mean(fewest: int, most: int) -> float:
    return sum(pareto((number + 0.5) / 10_000, fewest, most) for number in range(10_000)) / 10_000
