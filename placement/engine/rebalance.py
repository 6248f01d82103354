"""Plans of moves that even out a pool, or empty clusters of it. Plans only: nothing here moves anybody.

By load, never by number of tenants. A cluster that is too hot sheds its largest tenants that fit the excess, each to the coolest cluster with room,
until it is within `shed_to` of the mean. Nobody is moved for less than half of what the move costs, a tenant that was moved rests a day, and no
cluster is brought above that line by it. So a plan that was carried out leaves nothing to plan.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from placement.engine import eligibility
from placement.engine.choice import FLOOR
from placement.engine.facts import ClusterFacts, Newcomer, Pool, PoolKey
from placement.engine.ledger import cap
from placement.engine.moves import Balance, Limits, Lodger, Move, Plan, Stay
from placement.engine.ring import Ring

MOVABLE_TO = (
    eligibility.is_active,
    eligibility.is_of_kind,
    eligibility.has_sessions_left,
    eligibility.breaker_is_closed,
    eligibility.was_heard_from,
)
FEW = 32  # of the coolest clusters: where none of them can take a tenant without passing the line, hardly any other can
WORTH = 0.5  # of what a move costs, which is the load of the tenant whose devices all reconnect, it must relieve


class Shelf:
    """The pool while a plan is being made: what each cluster would carry, and who is coolest. Loads count devices."""

    def __init__(self, clusters: Sequence[ClusterFacts], leaving: Collection[str] = ()) -> None:
        self.clusters = {cluster.cluster_id: cluster for cluster in clusters}
        key = PoolKey(clusters[0].region, clusters[0].service_class) if clusters else PoolKey("", "")
        pool = Pool.of(key, Ring.build({}), clusters)
        self.load = {cluster.cluster_id: cluster.utilisation(blind=pool.blind) * cluster.capacity for cluster in clusters}
        self.before = dict(self.load)
        self.promised = {cluster.cluster_id: cluster.committed for cluster in clusters}
        self.tenants = {cluster.cluster_id: cluster.tenants for cluster in clusters}
        somebody = Newcomer("", 0, key.service_class)
        staying = [cluster for cluster in clusters if cluster.cluster_id not in leaving and cluster.state in ("active", "cordoned")]
        self.staying = [cluster.cluster_id for cluster in staying]
        self._open = {cluster.cluster_id for cluster in staying if all(rule(somebody, cluster, pool) for rule in MOVABLE_TO)}
        whole = sum(cluster.capacity for cluster in staying)
        stays = sum(self.load[cluster_id] for cluster_id in self.staying)
        leaves = sum(self.load[cluster_id] for cluster_id in leaving if cluster_id in self.load)
        self.mean = (stays + leaves) / whole if whole else 0.0
        self._heap = sorted((self.used(cluster_id), cluster_id) for cluster_id in self._open)

    def used(self, cluster_id: str) -> float:
        return self.load[cluster_id] / self.clusters[cluster_id].capacity

    def balance(self, *, before: bool = False) -> Balance:
        loads = self.before if before else self.load
        return Balance(self.mean, max((loads[c] / self.clusters[c].capacity for c in self.staying), default=0.0))

    def line(self, cluster_id: str, limits: Limits) -> float:
        """The load that nobody is brought above, and hot clusters are brought down to. Below the floor nothing is worth evening out."""
        return max(limits.shed_to * self.mean, FLOOR) * self.clusters[cluster_id].capacity

    def take(self, lodger: Lodger, fits: Callable[[str], bool], *, tries: int = FEW) -> str:
        """Move it on paper to the coolest cluster that may take it; the name of what stopped it where none may, with a `!` before it."""
        aside: list[str] = []
        found, stopped = "", "!no_cluster_is_open"
        while self._heap and not found and len(aside) < tries:
            used, cluster_id = heapq.heappop(self._heap)
            if not math.isclose(used, self.used(cluster_id), abs_tol=1e-12):
                heapq.heappush(self._heap, (self.used(cluster_id), cluster_id))
                continue
            aside.append(cluster_id)
            if reason := self._objection(lodger, cluster_id):
                stopped = f"!{reason}"
            elif fits(cluster_id):
                found = cluster_id
            else:
                stopped = "!would_be_too_hot"
        if found:
            self._shift(lodger, found)
        for cluster_id in aside:
            heapq.heappush(self._heap, (self.used(cluster_id), cluster_id))
        return found or stopped

    def _objection(self, lodger: Lodger, cluster_id: str) -> str:
        target = self.clusters[cluster_id]
        if cluster_id == lodger.cluster_id:
            return "lives_there"
        if lodger.residency not in ("", target.residency):
            return "keeps_residency"
        if self.promised[cluster_id] + lodger.load > cap(target.capacity, target.kind):
            return "has_room_for"
        if target.max_tenants is not None and self.tenants[cluster_id] >= target.max_tenants:
            return "has_place_for_a_tenant"
        return ""

    def _shift(self, lodger: Lodger, target: str) -> None:
        for cluster_id, sign in ((lodger.cluster_id, -1), (target, 1)):
            self.load[cluster_id] = max(0.0, self.load[cluster_id] + sign * lodger.load)
            self.promised[cluster_id] += sign * lodger.load
            self.tenants[cluster_id] += sign


def plan_rebalance(
    clusters: Sequence[ClusterFacts],
    lodgers: Iterable[Lodger],
    *,
    now: datetime,
    hot_since: Mapping[str, datetime] | None = None,
    limits: Limits = Limits(),  # noqa: B008 - immutable
) -> Plan:
    """Even out one pool. `hot_since`: since when clusters have been above the watermark, as samples showed it."""
    shelf = Shelf(clusters)
    hot = [cluster_id for cluster_id in shelf.staying if _is_hot(shelf, cluster_id, now, hot_since or {}, limits)]
    least = sum(_excess(shelf, cluster_id, limits) for cluster_id in hot)
    residents: dict[str, list[Lodger]] = {cluster_id: [] for cluster_id in hot}
    for lodger in lodgers:
        if (mine := residents.get(lodger.cluster_id)) is not None and lodger.load > 0 and _has_rested(lodger, now, limits):
            mine.append(lodger)
    moves: list[Move] = []
    for cluster_id in sorted(hot, key=lambda known: (-shelf.used(known), known)):
        in_order = sorted(residents[cluster_id], key=lambda one: (-one.load, one.tenant_id))
        _shed(shelf, cluster_id, in_order, limits, moves)
    return Plan("rebalance", tuple(moves), (), shelf.balance(before=True), shelf.balance(), least)


def _is_hot(shelf: Shelf, cluster_id: str, now: datetime, hot_since: Mapping[str, datetime], limits: Limits) -> bool:
    used = shelf.used(cluster_id)
    if limits.at_once:
        return used > max(limits.shed_to * shelf.mean, FLOOR)
    since = hot_since.get(cluster_id)
    return since is not None and now - since >= limits.hot_for and used > min(max(limits.start * shelf.mean, FLOOR), limits.start_anyway)


def _has_rested(lodger: Lodger, now: datetime, limits: Limits) -> bool:
    return lodger.moved_at is None or now - lodger.moved_at >= limits.rest


def _excess(shelf: Shelf, cluster_id: str, limits: Limits) -> int:
    """Whole devices above the line."""
    return max(0, math.ceil(round(shelf.load[cluster_id] - shelf.line(cluster_id, limits), 6)))


def _shed(shelf: Shelf, source: str, residents: list[Lodger], limits: Limits, moves: list[Move]) -> None:
    """Largest first among those that fit the excess; then, if it is worth it, the smallest one that covers the rest."""
    was, excess = shelf.used(source), _excess(shelf, source, limits)

    def fits(lodger: Lodger) -> Callable[[str], bool]:
        def check(cluster_id: str) -> bool:
            load = shelf.load[cluster_id] + lodger.load
            return load <= shelf.line(cluster_id, limits) and load / shelf.clusters[cluster_id].capacity <= was

        return check

    left = []
    for lodger in residents:
        if excess <= 0 or _full(moves, limits):
            return
        if lodger.load > excess:
            left.append(lodger)
        elif not (target := shelf.take(lodger, fits(lodger))).startswith("!"):
            moves.append(Move(lodger.tenant_id, source, target, lodger.load))
            excess -= lodger.load
    for lodger in reversed(left):
        if excess <= 0 or excess < WORTH * lodger.load or _full(moves, limits):
            return
        if not (target := shelf.take(lodger, fits(lodger))).startswith("!"):
            moves.append(Move(lodger.tenant_id, source, target, lodger.load))
            excess -= lodger.load


def _full(moves: list[Move], limits: Limits) -> bool:
    return limits.most_moves is not None and len(moves) >= limits.most_moves


def plan_drain(
    leaving: Collection[str],
    clusters: Sequence[ClusterFacts],
    lodgers: Iterable[Lodger],
    *,
    limits: Limits = Limits(),  # noqa: B008 - immutable
) -> Plan:
    """Empty these clusters of one pool: evenly where that is possible, up to the hard caps where it is not. A rest holds nobody back."""
    shelf = Shelf(clusters, leaving)
    residents = sorted((lodger for lodger in lodgers if lodger.cluster_id in leaving), key=lambda one: (-one.load, one.tenant_id))
    moves: list[Move] = []
    stays: list[Stay] = []
    for lodger in residents:
        if _full(moves, limits):
            stays.append(Stay(lodger.tenant_id, lodger.cluster_id, "most_moves"))
            continue
        target = shelf.take(lodger, lambda cluster_id, one=lodger: shelf.load[cluster_id] + one.load <= shelf.line(cluster_id, limits))  # type: ignore[misc]
        if target.startswith("!"):
            target = shelf.take(lodger, lambda cluster_id: True, tries=len(clusters))  # noqa: ARG005 - its caps alone
        if target.startswith("!"):
            stays.append(Stay(lodger.tenant_id, lodger.cluster_id, target[1:]))
        else:
            moves.append(Move(lodger.tenant_id, lodger.cluster_id, target, lodger.load))
    return Plan("drain", tuple(moves), tuple(stays), shelf.balance(before=True), shelf.balance(), sum(lodger.load for lodger in residents))
