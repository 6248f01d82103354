"""A pool while a plan of moves is being made: what each cluster would carry by then, who may take how much more, who is coolest. Loads count devices.

Open clusters stand in groups of one residency and one capacity, which decide what tenants may come at all. A group keeps its clusters in heaps, the coolest
first and the roomiest first; a change adds entries and outdates the old ones. So nobody is searched for in vain: whether a tenant can go anywhere is
known at once, in a pool of ten clusters as in one of ten thousand.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from placement.engine import eligibility
from placement.engine.choice import FLOOR, NOBODY
from placement.engine.facts import ANY, INELIGIBLE_AFTER, ClusterFacts, Newcomer, Pool, PoolKey
from placement.engine.ledger import cap
from placement.engine.moves import Balance, Limits, Lodger

MOVABLE_TO = (eligibility.is_active, eligibility.has_sessions_left, eligibility.breaker_is_closed)
SOMEBODY = Newcomer("", 0)  # those rules look at the cluster alone
MATTERS_TO = (eligibility.keeps_residency, eligibility.is_large_enough)  # these also at what the tenant is
FEW = 16  # of the coolest clusters are asked; then the roomiest takes the tenant
CLOSED = -1  # room of a cluster that takes nobody, not even a tenant without devices
GRAIN = 1e-6  # of a device: by so much sums of fractions may be off
EVENLY, FULLY = 0, 1  # up to the line that the pool is evened out to, or up to the hard cap


Heap = list[tuple[float, str, int]]  # how cool, or how roomy; the cluster; its stamp: an entry counts while it is the cluster's latest


@dataclass(slots=True)
class Group:
    """Open clusters of one residency and one capacity. `roomy`: EVENLY and FULLY."""

    residency: str
    capacity: int
    cool: Heap = field(default_factory=list)
    roomy: tuple[Heap, Heap] = field(default_factory=lambda: ([], []))


class Shelf:
    """`leaving` are to be emptied and bring `coming` devices to the others. Of those that stay, cordoned ones take nobody."""

    def __init__(self, clusters: Iterable[ClusterFacts], limits: Limits, leaving: Collection[str] = (), coming: int = 0) -> None:
        known = sorted(clusters, key=lambda cluster: cluster.cluster_id)
        self._pool = Pool.of(PoolKey(ANY, ANY), NOBODY, known)
        self._most_to = limits.most_to
        self.staying = {
            cluster.cluster_id: cluster
            for cluster in known
            if cluster.kind == "shared"
            and cluster.capacity
            and cluster.state in ("active", "cordoned")
            and cluster.cluster_id not in leaving
        }
        self.load = {name: heat(cluster, self._pool.blind) * cluster.capacity for name, cluster in self.staying.items()}
        self.before = dict(self.load)
        self._whole = sum(cluster.capacity for cluster in self.staying.values())
        self.mean = (math.fsum(self.load.values()) + coming) / self._whole if self._whole else 0.0
        self._bound = max(limits.shed_to * self.mean, FLOOR)  # below the floor nothing is worth evening out
        self._promised = {name: cluster.committed for name, cluster in self.staying.items()}
        self._tenants = {name: cluster.tenants for name, cluster in self.staying.items()}
        self._arrived = dict.fromkeys(self.staying, 0)
        self._rooms: dict[str, tuple[int, int]] = {}  # of open clusters
        self._stamps: dict[str, int] = {}
        self._largest: dict[str, int] = {}  # capacity by residency; of all for tenants that may live anywhere
        for cluster in self.staying.values():
            for residency in ("", cluster.residency) if cluster.state == "active" else ():
                self._largest[residency] = max(self._largest.get(residency, 0), cluster.capacity)
        self._groups = self._grouped()
        self._choices: dict[tuple[str, int], Sequence[Group]] = {}

    def _grouped(self) -> dict[tuple[str, int], Group]:
        groups: dict[tuple[str, int], Group] = {}
        for name, cluster in self.staying.items():
            if all(rule(SOMEBODY, cluster, self._pool) for rule in MOVABLE_TO) and (self._pool.blind or not cluster.is_stale):
                key = cluster.residency, cluster.capacity
                self._stamp(name, groups.setdefault(key, Group(*key)))
        return groups

    # ---- how it stands ---------------------------------------------------------------------------------------------------

    def used(self, name: str) -> float:
        return self.load[name] / self.staying[name].capacity

    def line(self, name: str) -> float:
        """The load that hot clusters are brought down to, and others not above."""
        return self._bound * self.staying[name].capacity

    def excess(self, name: str, above: float = 0.0) -> int:
        """Whole devices above the line, or above what was there before if that is more."""
        return max(0, math.ceil(self.load[name] - max(self.line(name), above) - GRAIN))

    def balance(self, *, before: bool = False) -> Balance:
        loads = self.before if before else self.load
        highest = max((loads[name] / cluster.capacity for name, cluster in self.staying.items()), default=0.0)
        return Balance(math.fsum(loads.values()) / self._whole if self._whole else 0.0, highest)

    # ---- who may take whom -----------------------------------------------------------------------------------------------

    def room(self) -> float:
        """More than so many devices no cluster can take without passing the line."""
        return max((self._roomiest(group, EVENLY)[0] for group in self._groups.values()), default=CLOSED)

    def take(self, lodger: Lodger, upto: int = EVENLY) -> str:
        """Move it, on paper, to a cluster with room, one of the coolest. An empty text where there is none."""
        able = [group for group in self._choice(lodger) if self._roomiest(group, upto)[0] >= lodger.load]
        target = self._coolest(able, lodger.load, upto) if able else ""
        if target:
            self._shift(lodger, target)
        return target

    def objection(self, lodger: Lodger) -> str:
        """What stops a tenant that nobody can take: the name of the rule, as it is at the cluster with the most room."""
        if not self._groups:
            return "no_cluster_is_open"
        if not any(lodger.residency in ("", group.residency) for group in self._groups.values()):
            return "keeps_residency"
        if not (choice := self._choice(lodger)):
            return "is_large_enough"
        _, name = max((self._roomiest(group, FULLY) for group in choice), key=lambda found: found[0])
        cluster = self.staying[name]
        if self._promised[name] + lodger.load > cap(cluster.capacity, cluster.kind):
            return "has_room_for"
        if self._is_full(name):
            return "has_place_for_a_tenant"
        return "most_moves" if self._is_sated(name) else "would_be_too_hot"

    def _choice(self, lodger: Lodger) -> Sequence[Group]:
        """Where it may go at all, as `keeps_residency` and `is_large_enough` would have it."""
        key = lodger.residency, lodger.load
        if (known := self._choices.get(key)) is None:
            pool = replace(self._pool, largest=self._largest.get(lodger.residency, 0))
            newcomer = Newcomer("", lodger.load, residency=lodger.residency)
            likes = ((group, ClusterFacts("", residency=group.residency, capacity=group.capacity)) for group in self._groups.values())
            known = [group for group, like in likes if all(rule(newcomer, like, pool) for rule in MATTERS_TO)]
            self._choices[key] = known
        return known

    def _coolest(self, groups: Sequence[Group], load: int, upto: int) -> str:
        aside: list[tuple[Group, tuple[float, str, int]]] = []
        found = ""
        heads = [(group.cool[0], number) for number, group in enumerate(groups) if self._is_current(group.cool)]
        heapq.heapify(heads)
        while heads and not found and len(aside) < FEW:
            entry, number = heapq.heappop(heads)
            heapq.heappop(groups[number].cool)
            aside.append((groups[number], entry))
            if self._rooms[entry[1]][upto] >= load:
                found = entry[1]
            elif self._is_current(groups[number].cool):
                heapq.heappush(heads, (groups[number].cool[0], number))
        for group, entry in aside:
            heapq.heappush(group.cool, entry)
        return found or max((self._roomiest(group, upto) for group in groups), key=lambda roomy: roomy[0])[1]

    def _roomiest(self, group: Group, upto: int) -> tuple[float, str]:
        heap = group.roomy[upto]
        self._is_current(heap)
        return -heap[0][0], heap[0][1]

    def _is_current(self, heap: Heap) -> bool:
        """Whether there is a first entry, after the outdated ones before it are gone."""
        while heap and heap[0][2] != self._stamps[heap[0][1]]:
            heapq.heappop(heap)
        return bool(heap)

    # ---- what changes ----------------------------------------------------------------------------------------------------

    def _shift(self, lodger: Lodger, target: str) -> None:
        self._arrived[target] += 1
        for name, sign in ((lodger.cluster_id, -1), (target, 1)):
            if name in self.staying:
                self.load[name] = max(0.0, self.load[name] + sign * lodger.load)
                self._promised[name] += sign * lodger.load
                self._tenants[name] += sign
                if name in self._stamps:
                    cluster = self.staying[name]
                    self._stamp(name, self._groups[cluster.residency, cluster.capacity])

    def _stamp(self, name: str, group: Group) -> None:
        self._stamps[name] = stamp = self._stamps.get(name, 0) + 1
        self._rooms[name] = rooms = self._rooms_of(name)
        heapq.heappush(group.cool, (self.used(name), name, stamp))
        for heap, room in zip(group.roomy, rooms, strict=True):
            heapq.heappush(heap, (-room, name, stamp))

    def _rooms_of(self, name: str) -> tuple[int, int]:
        if self._is_full(name) or self._is_sated(name):
            return CLOSED, CLOSED
        cluster = self.staying[name]
        most = cap(cluster.capacity, cluster.kind)
        fully = min(most - self._promised[name], math.floor(most - self.load[name] + GRAIN))
        return min(fully, math.floor(self.line(name) - self.load[name] + GRAIN)), fully

    def _is_full(self, name: str) -> bool:
        most = self.staying[name].max_tenants
        return most is not None and self._tenants[name] >= most

    def _is_sated(self, name: str) -> bool:
        return self._most_to is not None and self._arrived[name] >= self._most_to


def heat(cluster: ClusterFacts, blind: bool) -> float:
    """U. Silence is no heat: an old sample counts for what it said, and once nobody heeds it any more the ledger counts alone."""
    if not cluster.is_stale:
        return cluster.utilisation(blind=blind)
    return replace(cluster, age=0.0).utilisation(blind=blind or (cluster.age or 0.0) > INELIGIBLE_AFTER)
