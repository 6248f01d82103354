"""Where tenants land: the engine's balance, its caution with new clusters and its speed, next to plain consistent hashing and plain least-loaded.

The decisions are the engine's own; clusters and tenants are simulated (benchmarks/shards.py says how) and the seeds are fixed, so the figures of balance are the
same in every run. Plain consistent hashing takes the first of the same ring; plain least-loaded takes the least utilised of all clusters by a
ledger that sees every promise at once, "by samples" by what the samples tell. With --quick the world of 10^6 tenants and 10^4 clusters is replaced by
one of 5 x 10^4 and 500: as many tenants per cluster, as many candidates per decision.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from benchmarks import caps, rebalance, shards
from benchmarks.report import Report, arguments
from benchmarks.shards import Fleet, LeastLoaded, Shard, Tenant, plain_hashing, the_engine
from placement.engine.choice import choose, reach
from placement.engine.facts import ClusterFacts, Decision, Newcomer, Pool
from placement.engine.ring import Ring, point_of

ROUNDS = 3


@dataclass
class World:
    """So many tenants come to so many clusters."""

    name: str
    tenants: list[Tenant]
    capacities: dict[str, int]
    ring: Ring

    @classmethod
    def of(cls, name: str, tenants: int, clusters: int, scale: int) -> World:
        capacities = shards.clusters(clusters, scale, seed=1)
        return cls(name, list(shards.tenants(tenants, seed=2)), capacities, shards.ring_of(capacities))

    def settled(self, policy: shards.Policy, *, sizes_known: bool, counts_since: bool = True) -> Fleet:
        empty = {cluster_id: Shard(cluster_id, capacity) for cluster_id, capacity in self.capacities.items()}
        fleet = Fleet(empty, self.ring, sizes_known, max(1, len(self.tenants) // shards.RUSH), counts_since)
        return fleet.receive(self.tenants, policy)


@cache
def hundred() -> World:
    return World.of("10^5 x 100", 10**5, 100, 10)


@cache
def full_pool() -> Fleet:
    return hundred().settled(the_engine, sizes_known=True)


def balance_of_hundred(report: Report, quick: bool) -> None:
    balance(report, hundred(), 1.05, 1.10, thorough=not quick)


def balance_of_ten_thousand(report: Report, quick: bool) -> None:
    sizes = ("5*10^4 x 500 (for 10^6 x 10^4)", 5 * 10**4, 500, 1) if quick else ("10^6 x 10^4", 10**6, 10**4, 1)
    balance(report, World.of(*sizes), 1.08, 1.15, thorough=not quick)


def balance(report: Report, world: World, known: float, unknown: float, *, thorough: bool) -> None:
    hashed = world.settled(plain_hashing, sizes_known=True)  # heeds no size, so one run tells both
    for sizes_known, what, target in ((True, "sizes known", known), (False, "plan known", unknown)):
        ours = full_pool() if world is hundred() and sizes_known else world.settled(the_engine, sizes_known=sizes_known)
        least = world.settled(LeastLoaded(), sizes_known=sizes_known)
        name = f"max/mean, {world.name}, {what}"
        report.add(name, ours.max_over_mean, "ratio", at_most=target)
        report.add(f"{name}: plain consistent hashing", hashed.max_over_mean, "ratio")
        report.add(f"{name}: plain least-loaded", least.max_over_mean, "ratio")
        if thorough and not sizes_known:
            blunt = world.settled(the_engine, sizes_known=False, counts_since=False)
            report.add(f"{name}: engine, without promises since the sample", blunt.max_over_mean, "ratio")
            by_samples = world.settled(LeastLoaded(by_samples=True), sizes_known=False)
            report.add(f"{name}: plain least-loaded, by samples", by_samples.max_over_mean, "ratio")
        name = f"placed above 1.1 x mean, {world.name}, {what}"
        report.add(name, ours.part_above, "%", at_most=0.5)
        report.add(f"{name}: plain consistent hashing", hashed.part_above, "%")
        report.add(f"{name}: plain least-loaded", least.part_above, "%")
        report.add(f"tenants refused, {world.name}, {what}", ours.refused, "count")


def a_new_cluster(report: Report, quick: bool) -> None:
    """Ten tenants a second, ten times the usual rush, for two minutes; twenty different clusters are each added to the same full pool."""
    world, full, per_second, tries = hundred(), full_pool(), 10, 8 if quick else 20
    comers = list(shards.tenants(120 * per_second, seed=3))
    capacity = 10_000
    fair = len(comers) * capacity / (sum(world.capacities.values()) + capacity)
    policies = {"": the_engine, ": plain consistent hashing": plain_hashing, ": plain least-loaded": None}
    for name, policy in policies.items():
        shares = []
        for number in range(tries):
            fleet = full.joined_by(f"new{number}", capacity, per_second=per_second)
            fleet.receive(comers, policy or LeastLoaded())
            shares.append(fleet.shards[f"new{number}"].tenants / fair)
        target = reach(len(world.ring) + 1) if policy is the_engine else None
        report.add(f"a new cluster's placements in 2 minutes over fair{name}", statistics.mean(shares), "x fair", at_most=target)
        if policy is the_engine:
            report.add(f"the same, the most that one of {tries} got", max(shares), "x fair", at_most=target)
    moved(report, full, world)


def moved(report: Report, full: Fleet, world: World) -> None:
    """Every bound tenant knocks again after a cluster was added; the simulated door tells it what it is bound to, as the real one does."""
    grown = full.joined_by("new0", 10_000, per_second=10)
    grown.receive(world.tenants, the_engine)
    places = [(world.ring.walk(point_of(one.tenant_id)), grown.ring.walk(point_of(one.tenant_id))) for one in world.tenants]
    hashed = [(next(before), next(after)) for before, after in places]
    changed = sum(full.bindings[tenant] != cluster for tenant, cluster in grown.bindings.items())
    report.add("bindings moved by adding a cluster", changed, "count", at_most=0)
    report.add("bindings moved by adding a cluster: plain consistent hashing", sum(before != after for before, after in hashed), "count")
    report.add("... of them to another than the new one", sum(before != after != "new0" for before, after in hashed), "count")


def decisions(report: Report, quick: bool) -> None:
    for size, clusters, target in (("10^3", 10**3, 50), ("10^4", 10**4, 150)):
        capacities = shards.clusters(clusters, seed=4, prefix="d")
        ring = shards.ring_of(capacities)
        newcomers = [Newcomer(tenant.tenant_id, tenant.figure) for tenant in shards.tenants(3000 if quick else 20_000, seed=5)]
        pool = some_pool(ring, capacities, full=0.0)
        best, single = measured(lambda one, pool=pool: choose(one, pool), newcomers)
        name = f"decision CPU, {size} clusters"
        report.add(f"{name}, p99", nearest(best, 0.99), "us", at_most=target)
        report.add(f"{name}, median", nearest(best, 0.5), "us")
        report.add(f"{name}, p99 of a single round, with the machine's noise", nearest(single, 0.99), "us")
        crowded = some_pool(ring, capacities, full=0.9)
        best, _ = measured(lambda one, pool=crowded: choose(one, pool), newcomers[:1000])
        report.add(f"{name}, p99, nine of ten clusters full", nearest(best, 0.99), "us")
        best, _ = measured(lambda one, ring=ring: next(ring.walk(point_of(one.tenant_id))), newcomers)
        report.add(f"{name}, p99: plain consistent hashing", nearest(best, 0.99), "us")
        best, _ = measured(lambda one, pool=pool: least(pool, one.load), newcomers[:50])
        report.add(f"{name}, p99: plain least-loaded", nearest(best, 0.99), "us")


def some_pool(ring: Ring, capacities: dict[str, int], *, full: float) -> Pool:
    """About 60 % promised and measured, 2 % up or down: a third of the primaries is beyond the bound. A part of the clusters may be full."""
    draw = random.Random(6)
    facts = [
        ClusterFacts(
            cluster_id,
            capacity=capacity,
            max_sessions=capacity,
            committed=int(capacity * (0.85 if draw.random() < full else draw.gauss(0.6, 0.012))),
            measured=draw.gauss(0.6, 0.012),
            age=1.0,
        )
        for cluster_id, capacity in capacities.items()
    ]
    return Pool.of(shards.KEY, ring, facts)


def least(pool: Pool, load: int) -> ClusterFacts:
    return min(pool.clusters.values(), key=lambda cluster: cluster.utilisation(more=load))


def measured(decide: Callable[[Newcomer], Decision | ClusterFacts | str], newcomers: Sequence[Newcomer]) -> tuple[list[float], list[float]]:
    """Microseconds of this thread's CPU per decision. A decision is pure, so what differs between rounds is the machine: the best of three counts; and one round alone."""
    rounds = []
    for _ in range(ROUNDS):
        took = []
        for one in newcomers:
            begun = time.thread_time_ns()
            decide(one)
            took.append((time.thread_time_ns() - begun) / 1000)
        rounds.append(took)
    return [min(takes) for takes in zip(*rounds, strict=True)], rounds[-1]


def rings(report: Report, quick: bool) -> None:
    """A ring from nothing is what a process builds at its start; one cluster more is what happens afterwards."""
    anew, again = [], []
    for number in range(3 if quick else 7):
        capacities = shards.clusters(10**3, seed=7, prefix=f"r{number}x")
        anew.append(cpu(lambda known=capacities: shards.ring_of(known)))
        again.append(cpu(lambda known={**capacities, f"r{number}more": 500}: shards.ring_of(known)))
    report.add("ring rebuild, 10^3 clusters, one cluster added", statistics.median(again), "ms", at_most=400)
    report.add("ring rebuild, 10^3 clusters, from nothing", statistics.median(anew), "ms", at_most=400)


def cpu(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return 1000 * (time.thread_time() - begun)


def nearest(values: list[float], quantile: float) -> float:
    return sorted(values)[int(len(values) * quantile)]


def plans(report: Report, quick: bool) -> None:
    rebalance.rows(report, [rebalance.HUNDRED] if quick else [rebalance.HUNDRED, rebalance.TEN_THOUSAND])


def processes_at_once(report: Report, quick: bool) -> None:
    """Needs a PostgreSQL and eight processes, which take longer to start than --quick has: `make bench NAME=caps` is this row alone."""
    if not quick:
        caps.caps(report, quick)


ROWS: list[Callable[[Report, bool], None]] = [
    balance_of_hundred,
    balance_of_ten_thousand,
    a_new_cluster,
    decisions,
    rings,
    plans,
    processes_at_once,
]


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report(options.json)
    for row in ROWS:
        row(report, options.quick)
    report.close()


if __name__ == "__main__":
    main()
