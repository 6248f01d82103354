"""Plans of moves for a full pool: how much they move beyond what any plan must, how even the pool is afterwards, and how long planning takes.

Simulated tenants of 1 to 20 devices (Pareto, exponent 1.3, seeded) on clusters that are within five percent of each other; then clusters are added,
one is drained, or five grow hot. Next to each: evening out by number of tenants, as Citus does by default.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks.report import Report, arguments
from placement.engine.facts import ClusterFacts
from placement.engine.moves import Limits, Lodger, Plan, carried_out
from placement.engine.rebalance import plan_drain, plan_rebalance

NOW = datetime(2026, 11, 24, tzinfo=UTC)
AT_ONCE = Limits(at_once=True)
LARGEST = 20  # devices: below five percent of the smallest cluster here; larger tenants live on larger clusters
Pool = tuple[list[ClusterFacts], list[Lodger]]


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


def adding(pool: Pool) -> tuple[Pool, Callable[[Pool], Plan]]:
    clusters, lodgers = pool
    fresh = [ClusterFacts(f"new{number}", capacity=clusters[0].capacity) for number in range(max(1, len(clusters) // 10))]
    return (clusters + fresh, lodgers), lambda now: plan_rebalance(*now, now=NOW, limits=AT_ONCE)


def draining(pool: Pool) -> tuple[Pool, Callable[[Pool], Plan]]:
    return pool, lambda now: plan_drain({"c0"}, *now)


def five_hot(pool: Pool) -> tuple[Pool, Callable[[Pool], Plan]]:
    """The tenants of five clusters have grown by a third."""
    clusters, lodgers = pool
    hot = {f"c{number}" for number in range(5)}
    grown = [one._replace(load=one.load + one.load // 3 + (one.load % 3 > 0)) if one.cluster_id in hot else one for one in lodgers]
    load = {cluster.cluster_id: 0 for cluster in clusters}
    for one in grown:
        load[one.cluster_id] += one.load
    return (facts(list(load.values()), clusters[0].capacity), grown), lambda now: plan_rebalance(*now, now=NOW, limits=AT_ONCE)


def by_count(pool: Pool) -> tuple[int, float]:
    """Load moved, and max/mean afterwards, when tenants are counted and not weighed."""
    clusters, lodgers = pool
    inside: dict[str, list[Lodger]] = {cluster.cluster_id: [] for cluster in clusters}
    for lodger in lodgers:
        inside[lodger.cluster_id].append(lodger)
    share, moved, spare = len(lodgers) // len(clusters), 0, []
    for mine in inside.values():
        while len(mine) > share + 1:
            spare.append(mine.pop())
    for mine in inside.values():
        while len(mine) < share and spare:
            mine.append(spare.pop())
            moved += mine[-1].load
    loads = [sum(lodger.load for lodger in mine) for mine in inside.values()]
    return moved, max(loads) / (sum(loads) / len(loads))


def worse(before: list[ClusterFacts], after: list[ClusterFacts], plan: Plan) -> int:
    """Clusters that the plan heated past the line that it evens out to."""
    line = 1.05 * plan.before.mean + 1e-9
    return sum(now.committed > was.committed and now.utilisation() > line for was, now in zip(before, after, strict=True))


HUNDRED = ("10^5 x 100", 10**5, 100, 1.0)  # name, tenants, clusters, seconds that planning may take
TEN_THOUSAND = ("10^6 x 10^4", 10**6, 10**4, 5.0)
TWO_THOUSAND = ("2*10^5 x 2000 (for 10^6 x 10^4)", 2 * 10**5, 2000, 5.0)


def rows(report: Report, worlds: list[tuple[str, int, int, float]]) -> None:
    for name, tenants, clusters, seconds in worlds:
        pool = evened_out(settled(tenants, clusters))
        for scenario in (adding, draining, five_hot):
            changed, planner = scenario(pool)
            begun = time.perf_counter()
            plan = planner(changed)
            taken = time.perf_counter() - begun
            what = f"{scenario.__name__.replace('_', ' ')}, {name}"
            after = carried_out(plan, *changed, at=NOW)
            report.add(f"load moved / least, {what}", plan.load / max(1, plan.least), "ratio", at_most=1.05)
            report.add(f"max/mean after, {what}", plan.after.ratio, "ratio", at_most=1.05)
            report.add(f"clusters made worse, {what}", worse(changed[0], after[0], plan), "clusters", at_most=0)
            again = plan_drain({"c0"}, *after) if scenario is draining else planner(after)
            report.add(f"moves when planned again, {what}", len(again.moves), "moves", at_most=0)
            report.add(f"planning, {what}", taken, "s", at_most=seconds)
            moved, ratio = by_count(changed)
            report.add(f"by count: load moved / least, {what}", moved / max(1, plan.least), "ratio")
            report.add(f"by count: max/mean after, {what}", ratio, "ratio")


def main() -> None:
    given = arguments(__doc__ or "")
    report = Report(given.json)
    rows(report, [HUNDRED, TWO_THOUSAND] if given.quick else [HUNDRED, TEN_THOUSAND])
    report.close()


if __name__ == "__main__":
    main()
