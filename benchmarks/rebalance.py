"""Plans of moves for a full pool: how much they move beyond what any plan must, how even the pool is afterwards, and how long planning takes.

Simulated tenants of 1 to 20 devices (Pareto, exponent 1.3, seeded) on clusters that are within five percent of each other; then clusters are added,
one is drained, or five grow hot. Next to each: evening out by number of tenants, as Citus does by default.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from benchmarks.report import Report, arguments
from placement.engine.facts import ClusterFacts
from placement.engine.moves import Limits, Lodger, Plan, carried_out
from placement.engine.rebalance import plan_drain, plan_rebalance

NOW = datetime(2026, 11, 24, tzinfo=UTC)
AT_ONCE = Limits(at_once=True)
LARGEST = 20  # devices: below five percent of the smallest cluster here; larger tenants live on larger clusters
LEAVING = frozenset({"c0"})
Pool = tuple[list[ClusterFacts], list[Lodger]]
Planner = Callable[[Pool], Plan]


def settled(tenants: int, clusters: int, *, seed: int = 1) -> Pool:
    """Each tenant to the coolest of four, in no particular order: about as even as the engine leaves a pool."""
    rng = random.Random(seed)
    sizes = [min(LARGEST, int(rng.paretovariate(1.3))) for _ in range(tenants)]
    load, homes = [0] * clusters, []
    for size in sizes:
        home = min(rng.sample(range(clusters), 4), key=load.__getitem__)
        load[home] += size
        homes.append(home)
    capacity = int(sum(sizes) / clusters / 0.6)
    lodgers = [Lodger(f"{number:08x}", f"c{home}", size) for number, (home, size) in enumerate(zip(homes, sizes, strict=True))]
    return facts(load, capacity), lodgers


def evened_out(pool: Pool) -> Pool:
    """As a pool looks some time after its last rebalance."""
    clusters, lodgers = carried_out(plan_rebalance(*pool, now=NOW, limits=AT_ONCE), *pool, at=NOW)
    return clusters, [lodger._replace(moved_at=None) for lodger in lodgers]


def facts(load: list[int], capacity: int) -> list[ClusterFacts]:
    return [ClusterFacts(f"c{number}", capacity=capacity, committed=promised) for number, promised in enumerate(load)]


def adding(pool: Pool) -> tuple[Pool, Planner]:
    clusters, lodgers = pool
    fresh = [ClusterFacts(f"new{number}", capacity=clusters[0].capacity) for number in range(max(1, len(clusters) // 10))]
    return (clusters + fresh, lodgers), lambda now: plan_rebalance(*now, now=NOW, limits=AT_ONCE)


def draining(pool: Pool) -> tuple[Pool, Planner]:
    return pool, lambda now: plan_drain(LEAVING, *now, now=NOW)


def five_hot(pool: Pool) -> tuple[Pool, Planner]:
    """The tenants of five clusters have grown by a third, a quarter of an hour ago."""
    clusters, lodgers = pool
    hot = {f"c{number}": NOW - Limits().hot_for for number in range(5)}
    grown = [one._replace(load=one.load + one.load // 3 + (one.load % 3 > 0)) if one.cluster_id in hot else one for one in lodgers]
    load = loads(clusters, grown)
    return (facts(list(load.values()), clusters[0].capacity), grown), lambda now: plan_rebalance(*now, now=NOW, hot_since=hot)


def loads(clusters: list[ClusterFacts], lodgers: list[Lodger]) -> dict[str, int]:
    """Devices by cluster, counted anew: figures do not rest on what a plan says of itself."""
    load = {cluster.cluster_id: 0 for cluster in clusters}
    for one in lodgers:
        load[one.cluster_id] += one.load
    return load


def ratio(load: dict[str, int], leaving: Collection[str]) -> float:
    """max/mean; all clusters are of one size."""
    staying = [devices for name, devices in load.items() if name not in leaving]
    return max(staying) / (sum(load.values()) / len(staying))


def least(load: dict[str, int], leaving: Collection[str]) -> int:
    """What any plan has to move: all that leaves, or all that is above the line."""
    line = 1.05 * sum(load.values()) / len(load)
    return sum(load[name] for name in leaving) if leaving else sum(max(0, math.ceil(devices - line)) for devices in load.values())


def worse(before: dict[str, int], after: dict[str, int], leaving: Collection[str]) -> int:
    """Clusters that the plan heated past the line that it evens out to."""
    line = 1.05 * sum(before.values()) / (len(before) - len(leaving))
    return sum(after[name] > max(line, devices) for name, devices in before.items())


def by_count(pool: Pool, leaving: Collection[str]) -> list[Lodger]:
    """Where the tenants live when they are counted and not weighed: until no cluster has two more than another."""
    clusters, lodgers = pool
    inside: dict[str, list[Lodger]] = {cluster.cluster_id: [] for cluster in clusters}
    for lodger in lodgers:
        inside[lodger.cluster_id].append(lodger)
    spare = [lodger for name in leaving for lodger in inside.pop(name)]
    share, over = divmod(len(lodgers), len(inside))
    for number, mine in enumerate(sorted(inside.values(), key=len, reverse=True)):
        most = share + (number < over)
        spare += mine[most:]
        del mine[most:]
    for number, (name, mine) in enumerate(sorted(inside.items(), key=lambda item: len(item[1]), reverse=True)):
        while len(mine) < share + (number < over):
            mine.append(spare.pop()._replace(cluster_id=name))
    return [lodger for mine in inside.values() for lodger in mine]


HUNDRED = ("10^5 x 100", 10**5, 100, 1.0)  # name, tenants, clusters, seconds that planning may take
TEN_THOUSAND = ("10^6 x 10^4", 10**6, 10**4, 5.0)
TWO_THOUSAND = ("2*10^5 x 2000 (for 10^6 x 10^4)", 2 * 10**5, 2000, 5.0)


def rows(report: Report, worlds: list[tuple[str, int, int, float]]) -> None:
    for name, tenants, clusters, seconds in worlds:
        pool = evened_out(settled(tenants, clusters))
        for scenario in (adding, draining, five_hot):
            figures(report, scenario, pool, name, seconds)


def figures(report: Report, scenario: Callable[[Pool], tuple[Pool, Planner]], pool: Pool, name: str, seconds: float) -> None:
    changed, planner = scenario(pool)
    leaving = LEAVING if scenario is draining else frozenset()
    begun = time.perf_counter()
    plan = planner(changed)
    taken = time.perf_counter() - begun
    what = f"{scenario.__name__.replace('_', ' ')}, {name}"
    after = carried_out(plan, *changed, at=NOW)
    was, now = loads(*changed), loads(*after)
    must = max(1, least(was, leaving))
    report.add(f"load moved / least, {what}", plan.load / must, "ratio", at_most=1.05)
    report.add(f"max/mean after, {what}", ratio(now, leaving), "ratio", at_most=1.05)
    report.add(f"clusters made worse, {what}", worse(was, now, leaving), "clusters", at_most=0)
    report.add(f"tenants left behind, {what}", len(plan.stays), "tenants", at_most=0)
    report.add(f"moves when planned again, {what}", len(planner(after).moves), "moves", at_most=0)
    report.add(f"planning, {what}", taken, "s", at_most=seconds)
    homes = {lodger.tenant_id: lodger.cluster_id for lodger in changed[1]}
    counted = by_count(changed, leaving)
    moved = sum(lodger.load for lodger in counted if homes[lodger.tenant_id] != lodger.cluster_id)
    report.add(f"by count: load moved / least, {what}", moved / must, "ratio")
    report.add(f"by count: max/mean after, {what}", ratio(loads(changed[0], counted), leaving), "ratio")


def main() -> None:
    given = arguments(__doc__ or "")
    report = Report(given.json)
    rows(report, [HUNDRED, TWO_THOUSAND] if given.quick else [HUNDRED, TEN_THOUSAND])
    report.close()


if __name__ == "__main__":
    main()
