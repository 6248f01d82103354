"""Plans of moves that even out a pool, or empty clusters of it. Plans only: nothing here moves anybody.

By load, never by number of tenants. A cluster that is too hot sheds its largest tenants that fit both the excess and a target's room, each to one of
the coolest clusters, until it is within `shed_to` of the mean; no cluster is brought above that line by it. A move costs as many devices as
reconnect, which is the tenant's load, and relieves its cluster of what it carries too much: nobody is moved where that is less than half. A tenant
that was moved rests a day. A plan goes on until nothing can be added to it, so one that was carried out leaves nothing to plan; the limits on the
number of moves are the exception, they cut it short.

Emptying a cluster goes before evenness and before rest: where the line leaves no room a tenant goes up to a hard cap, by the ledger and by what is
measured. What that brought above the line is shed again as far as it can be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter

from placement.engine.choice import FLOOR
from placement.engine.facts import ClusterFacts
from placement.engine.moves import Limits, Lodger, Move, Plan, Stay
from placement.engine.shelf import FULLY, Shelf

WORTH = 0.5  # of what a move costs it must relieve

Residents = dict[str, list[Lodger]]  # by cluster, largest first


def plan_rebalance(
    clusters: Sequence[ClusterFacts],
    lodgers: Iterable[Lodger],
    *,
    now: datetime,
    hot_since: Mapping[str, datetime] | None = None,
    limits: Limits = Limits(),  # noqa: B008 - immutable
) -> Plan:
    """Even out one pool. `hot_since`: since when clusters have been above the watermark, as samples showed it."""
    shelf = Shelf(clusters, limits)
    draft = Draft(shelf, limits)
    hot = _hot(shelf, shelf.staying, now, hot_since or {}, limits)
    least = sum(map(shelf.excess, hot))
    residents = _residents(lodgers, hot, now, limits)
    made = -1
    while made < len(draft.moves):
        made = len(draft.moves)
        for name in hot:
            residents[name] = draft.shed(residents[name], shelf.excess(name))
        hot = _hot(shelf, hot, now, hot_since or {}, limits)  # one that shed later may have room for those before it
    return Plan("rebalance", tuple(draft.moves), (), shelf.balance(before=True), shelf.balance(), least)


def plan_drain(
    leaving: Collection[str],
    clusters: Sequence[ClusterFacts],
    lodgers: Iterable[Lodger],
    *,
    now: datetime,
    limits: Limits = Limits(),  # noqa: B008 - immutable
) -> Plan:
    """Empty these clusters of one pool, or say of each tenant that cannot go what stops it."""
    everybody = list(lodgers)
    residents = [lodger for lodger in everybody if lodger.cluster_id in leaving]
    _sort(residents)
    least = sum(lodger.load for lodger in residents)
    shelf = Shelf(clusters, limits, leaving, least)
    draft = Draft(shelf, limits)
    left, made = residents, -1
    while made < len(draft.moves):
        made = len(draft.moves)
        left = [lodger for lodger in left if not draft.leave(lodger)]
        heated = sorted({move.target for move in draft.moves if shelf.excess(move.target, shelf.before[move.target])})
        gone = {move.tenant_id for move in draft.moves}
        staying = (lodger for lodger in everybody if lodger.tenant_id not in gone)
        for name, theirs in _residents(staying, heated, now, limits).items():
            draft.shed(theirs, shelf.excess(name, shelf.before[name]), "makes_room")
    stays = [Stay(one.tenant_id, one.cluster_id, "most_moves" if draft.is_full(one.cluster_id) else shelf.objection(one)) for one in left]
    return Plan("drain", tuple(draft.moves), tuple(stays), shelf.balance(before=True), shelf.balance(), least)


class Draft:
    """The moves so far, and what may still be added."""

    def __init__(self, shelf: Shelf, limits: Limits) -> None:
        self.moves: list[Move] = []
        self._shelf = shelf
        self._limits = limits
        self._left: Counter[str] = Counter()

    def shed(self, residents: list[Lodger], excess: int, reason: str = "") -> list[Lodger]:
        """The largest that fit the excess; then, if it is worth it, the smallest one that covers the rest. Who stays, largest first."""
        kept: list[Lodger] = []
        room = self._shelf.room()
        for number, lodger in enumerate(residents):
            if excess <= 0 or room <= 0:
                kept += residents[number:]
                break
            if lodger.load <= min(excess, room) and self._move(lodger, reason or "fits_the_excess"):
                excess -= lodger.load
                room = self._shelf.room()
            else:
                kept.append(lodger)
        for lodger in kept[::-1]:
            if lodger.load > room or excess <= 0 or excess < WORTH * lodger.load:
                break
            if self._move(lodger, reason or "covers_the_rest"):
                excess -= lodger.load
                kept.remove(lodger)
        return kept

    def leave(self, lodger: Lodger) -> bool:
        """Evenly where that is possible, up to the hard caps where it is not."""
        return self._move(lodger, "leaves_evenly") or self._move(lodger, "leaves_within_caps", FULLY)

    def is_full(self, source: str) -> bool:
        """As many moves as there may be, in all or from there."""
        most, most_from = self._limits.most_moves, self._limits.most_from
        return (most is not None and len(self.moves) >= most) or (most_from is not None and self._left[source] >= most_from)

    def _move(self, lodger: Lodger, reason: str, *upto: int) -> bool:
        if self.is_full(lodger.cluster_id) or not (target := self._shelf.take(lodger, *upto)):
            return False
        self.moves.append(Move(lodger.tenant_id, lodger.cluster_id, target, lodger.load, reason))
        self._left[lodger.cluster_id] += 1
        return True


def _hot(shelf: Shelf, names: Iterable[str], now: datetime, since: Mapping[str, datetime], limits: Limits) -> list[str]:
    """Of these clusters those that should shed, hottest first."""
    start = max((limits.shed_to if limits.at_once else limits.start) * shelf.mean, FLOOR)
    if not limits.at_once:
        start = min(start, limits.start_anyway)
    long = (name for name in names if limits.at_once or (name in since and now - since[name] >= limits.hot_for))
    return sorted((name for name in long if shelf.used(name) > start and shelf.excess(name)), key=lambda name: (-shelf.used(name), name))


def _residents(lodgers: Iterable[Lodger], clusters: Collection[str], now: datetime, limits: Limits) -> Residents:
    """Who lives on these clusters and may be moved for evenness: has devices, and has rested."""
    living: Residents = {name: [] for name in clusters}
    for lodger in lodgers:
        there = living.get(lodger.cluster_id)
        if there is not None and lodger.load > 0 and (lodger.moved_at is None or now - lodger.moved_at >= limits.rest):
            there.append(lodger)
    for there in living.values():
        _sort(there)
    return living


def _sort(lodgers: list[Lodger]) -> None:
    """Largest first, equals by name. In two steps, so that no pair is made for each of a million tenants."""
    lodgers.sort(key=attrgetter("tenant_id"))
    lodgers.sort(key=attrgetter("load"), reverse=True)
