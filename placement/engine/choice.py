"""Which cluster should take this tenant: bounded load among the first clusters that the ring offers.

Pure: the facts of a pool in, a decision with its reasons out. After Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016),
with utilisation in place of counts. It looks at as many clusters as it needs to find the first few that may, never at the whole pool.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from placement.engine.eligibility import objection
from placement.engine.facts import ANY, ClusterFacts, Decision, Newcomer, Pool, PoolKey
from placement.engine.ring import Ring, point_of

EPSILON = 0.02  # how far above the pool's mean the ring's own choice may come
FLOOR = 0.10  # an almost empty pool has no mean worth the name
FEWEST, MOST = 4, 8  # clusters that are weighed
TOLD = 50  # refused clusters that a decision names

NOBODY = Ring.build({})
projected = attrgetter("projected")


def choose(newcomer: Newcomer, pool: Pool) -> Decision:
    """For a tenant that shares a cluster. The same facts give the same answer in every process."""
    eligible, refused, refusals = _sift(newcomer, _offered(newcomer, pool), pool, reach(len(pool.ring)))
    limit = bound(pool.mean)
    if not eligible:
        return Decision((), _nobody(refusals), pool.key, (), refused, refusals, limit, pool.mean, pool.blind, pool.ring.digest)

    weighed = [cluster.weigh(newcomer.load, pool.blind) for cluster in eligible]
    first = weighed[0]
    ranked = sorted(weighed, key=projected)  # stable: of equals the ring's order decides
    if first.projected <= limit:
        ranked.remove(first)
        ranked.insert(0, first)
        reason = "the ring's own choice"
    elif ranked[0] is first:
        reason = f"{first.cluster_id} passes {limit:.2f} and is still the coolest of {len(ranked)}"
    else:
        reason = f"{first.cluster_id} would pass {limit:.2f}: the coolest of {len(ranked)}"
    order = tuple([cluster.cluster_id for cluster in ranked])
    return Decision(order, reason, pool.key, tuple(weighed), refused, refusals, limit, pool.mean, pool.blind, pool.ring.digest)


def choose_dedicated(newcomer: Newcomer, clusters: Iterable[ClusterFacts]) -> Decision:
    """For a tenant that has a cluster to itself: the smallest that fits, before all others one that is kept for it. `clusters` of one region."""
    known = sorted(clusters, key=lambda cluster: (cluster.reserved_for != newcomer.tenant_id, cluster.capacity, cluster.cluster_id))
    regions = {cluster.region for cluster in known}
    key = PoolKey(regions.pop() if len(regions) == 1 else ANY, newcomer.service_class, newcomer.residency or ANY)
    pool = Pool.of(key, NOBODY, known, kind="dedicated")
    eligible, refused, refusals = _sift(newcomer, known, pool, MOST)
    weighed = tuple(cluster.weigh(newcomer.load, pool.blind) for cluster in eligible)
    if not eligible:
        reason = _nobody(refusals)
    elif eligible[0].reserved_for:
        reason = "kept for this tenant"
    else:
        reason = "the smallest that fits"
    ranked = tuple(cluster.cluster_id for cluster in weighed)
    return Decision(ranked, reason, key, weighed, refused, refusals, mean=pool.mean, blind=pool.blind, ring=NOBODY.digest)


def bound(mean: float) -> float:
    """The utilisation that the ring's own choice must not pass."""
    return max((1 + EPSILON) * mean, FLOOR)


def reach(clusters: int) -> int:
    """How many eligible clusters are weighed in a pool of so many: log2, rounded up, from 4 to 8."""
    return min(max(FEWEST, (clusters - 1).bit_length()), MOST)


def _offered(newcomer: Newcomer, pool: Pool) -> Iterable[ClusterFacts]:
    """In the ring's order. One that entered the ring a moment before its facts were read is passed over."""
    return filter(None, map(pool.clusters.get, pool.ring.walk(point_of(newcomer.tenant_id))))


def _sift(
    newcomer: Newcomer, offered: Iterable[ClusterFacts], pool: Pool, wanted: int
) -> tuple[list[ClusterFacts], dict[str, str], dict[str, int]]:
    """The first few that may, and by which rules those before them may not."""
    eligible: list[ClusterFacts] = []
    refused: dict[str, str] = {}
    refusals: dict[str, int] = {}
    for cluster in offered:
        rule = objection(newcomer, cluster, pool)
        if not rule:
            eligible.append(cluster)
            if len(eligible) == wanted:
                break
            continue
        refusals[rule] = refusals.get(rule, 0) + 1
        if len(refused) < TOLD:
            refused[cluster.cluster_id] = rule
    return eligible, refused, refusals


def _nobody(refusals: dict[str, int]) -> str:
    if not refusals:
        return "the pool is empty"
    rule, count = min(refusals.items(), key=lambda item: (-item[1], item[0]))
    return f"none of {sum(refusals.values())} may take it: {rule} refused {count}"
