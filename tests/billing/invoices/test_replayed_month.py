"""A month as it comes: bursts of polls on every day, restarts, gaps, clocks that are off or step, moves back and forth, a suspension, a device that is deleted
and joins again. It bills to the same cent in whatever order the clusters' polls are delivered, and however often."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from billing import concessions, invoicing, subscriptions
from billing.closing import close
from billing.metering import rolling, usage
from billing.models import Invoice, Session
from billing.rating.cycles import month_of, months_after
from placement import stays
from placement.models import Device
from tenants import lifecycle
from tenants.models import Tenant
from tests.billing import sold
from tests.billing.metering import world

pytestmark = pytest.mark.django_db
MONTH = month_of(months_after(timezone.now(), -1))
SEEDS = range(2 * int(os.environ.get("ACS_EXAMPLES", "1")))
NODES = {0: (1, 2, 3), 1: (11, 12, 13)}  # of the two tenants, on either cluster
AGAIN = 100  # what is added to the id of a node that joins again
BURST = 8  # polls
WAYS = ("one cluster after the other", "each twice", "interleaved, with copies of what was told before")
Item = Any


@dataclass(frozen=True)
class Look:
    """A poll as it was answered."""

    at: datetime
    online: frozenset[int]
    offline: tuple[tuple[int, datetime | None], ...]
    facts: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Rejoined:
    """A device was deleted, and joined again as another node: between two polls of its cluster."""

    node: int
    at: datetime


@dataclass
class Story:
    """What each cluster's polls said, in the order in which they were made; when the first tenant moved; when the second one was suspended."""

    items: tuple[list[Item], list[Item]]
    moves: list[datetime]
    suspended: tuple[datetime, datetime]
    polls: int = field(init=False)

    def __post_init__(self) -> None:
        self.polls = sum(isinstance(item, Look) for items in self.items for item in items)


def story(seed: int) -> Story:
    chance = random.Random(seed)
    days = (MONTH.end - MONTH.start).days
    moves = sorted(
        MONTH.start + timedelta(seconds=chance.randrange(86400, (days - 1) * 86400), microseconds=chance.choice([0, 7])) for _ in range(4)
    )
    began = MONTH.start + timedelta(days=chance.randrange(5, 15), seconds=chance.randrange(86400))
    suspended = began, began + timedelta(days=4, seconds=chance.randrange(86400))
    return Story((list(_cluster(chance, suspended)), list(_cluster(chance, suspended))), moves, suspended)


def _cluster(chance: random.Random, suspended: tuple[datetime, datetime]) -> Iterator[Item]:
    """A burst or two on each day, some of them over midnight."""
    nodes = [node for of in NODES.values() for node in of]
    online: set[int] = set(nodes[::2])
    started, rejoins = MONTH.start - timedelta(days=1), MONTH.start + timedelta(days=chance.randrange(3, 25))
    for day in range((MONTH.end - MONTH.start).days):
        for second in sorted(chance.sample([chance.randrange(80_000), 86_400 - chance.randrange(60, 500)], chance.choice([1, 1, 2]))):
            moment = MONTH.start + timedelta(days=day, seconds=second)
            for place in range(BURST):
                if moment >= MONTH.end:
                    return
                if rejoins is not None and moment > rejoins and place and online:
                    old = chance.choice(sorted(online))
                    nodes.remove(old)
                    online.discard(old)
                    nodes.append(old + AGAIN)
                    yield Rejoined(old, moment)
                    rejoins = None
                if chance.random() < 0.03:
                    started = moment - timedelta(seconds=5)
                    shown: set[int] = set()  # the server has forgotten them
                else:
                    online = {node for node in nodes if (node in online) != (chance.random() < 0.12)}
                    shown = {node for node in online if node % AGAIN not in NODES[1] or not suspended[0] <= moment < suspended[1]}
                yield _look(chance, moment, shown, nodes, started)
                moment += timedelta(seconds=chance.choice([30, 30, 60, 60, 90, 170, 180, 181, 400]))


def _look(chance: random.Random, moment: datetime, shown: set[int], nodes: list[int], started: datetime) -> Look:
    """With a host's clock that is now and then minutes off, there and back."""
    step = timedelta(seconds=chance.choice([-700, 500, 1000]) if chance.random() < 0.03 else 0)
    seen = moment - timedelta(seconds=chance.randrange(1, 200))
    offline = tuple((node, chance.choice([seen, None])) for node in nodes if node not in shown)
    facts = (("server_started", started), ("clock_off", timedelta(seconds=chance.choice([0, 0, 1, 45]))))
    return Look(moment + step, frozenset(shown), offline, facts)


def delivered(told: Story, way: str, chance: random.Random) -> Iterator[tuple[int, Item]]:
    """Each cluster's items in their order; of polls also copies, of any that were told before."""
    left = [list(items) for items in told.items]
    past: list[tuple[int, Item]] = []
    while any(left):
        number = 0 if left[0] and way != WAYS[2] else chance.choice([number for number in (0, 1) if left[number]])
        item = left[number].pop(0)
        yield number, item
        if isinstance(item, Look):
            past.append((number, item))
            if way == WAYS[1]:
                yield number, item
            if way == WAYS[2]:
                yield from chance.sample(past, min(len(past), chance.choice([0, 0, 1, 1, 2])))


class Replay:
    """One telling of the story: tenants and clusters of its own."""

    def __init__(self, told: Story, clusters: Any, way: str, seed: int) -> None:
        self.told, self.clusters, self.way, self.chance = told, clusters, way, random.Random(seed)
        self.tenants = [self._tenant() for _ in NODES]
        lifecycle.suspend(self.tenants[1], reason="unpaid", now=told.suspended[0], actor="system:tests")
        lifecycle.resume(self.tenants[1], now=told.suspended[1], actor="system:tests")
        for number, tenant in enumerate(self.tenants):
            stays.begin(tenant, clusters[number].cluster_id, at=MONTH.start)
            for node in NODES[number]:
                for cluster in clusters:
                    world.device(tenant, cluster, node, since=MONTH.start)

    def _tenant(self) -> Tenant:
        made = sold.subscriber(now=MONTH.start)
        for key, price in (("devices", None), ("hours", Decimal(36))):  # each second is a cent
            told = {"included": 0, "unit_price": price, "until": None, "now": MONTH.start, "actor": "system:tests"}
            concessions.override(made, component=key, **told)
        return made

    def tell(self) -> None:
        moves = list(enumerate(self.told.moves, start=1))
        told_at = [0] * len(moves) if self.way == WAYS[0] else sorted(self.chance.randrange(self.told.polls) for _ in moves)
        for number, (cluster, item) in enumerate(delivered(self.told, self.way, self.chance)):
            while moves and told_at[0] <= number:
                where, at = moves.pop(0)
                told_at.pop(0)
                stays.move(self.tenants[0], self.clusters[where % 2].cluster_id, at)
            if isinstance(item, Look):
                world.poll(self.clusters[cluster], item.at, set(item.online), dict(item.offline), **dict(item.facts))
            else:
                self._rejoin(self.clusters[cluster], item)
            if self.way == WAYS[2] and number % 150 == 0:
                rolling.roll(now=timezone.now())

    def _rejoin(self, cluster: Any, item: Rejoined) -> None:
        old = Device.objects.across_tenants().get(cluster_id=cluster.cluster_id, node_id=item.node)
        Device.objects.of(old.tenant_id).filter(pk=old.pk).update(gone_at=item.at)
        world.device(old.tenant, cluster, item.node + AGAIN, since=item.at)

    def bill(self) -> list[Any]:
        """Of each tenant the lines of its invoice and what they were made of, without names."""
        live = [invoicing.preview(tenant, MONTH, timezone.now()) for tenant in self.tenants]
        rolling.roll(now=timezone.now())
        close(MONTH, now=timezone.now(), actor="system:tests")
        found = []
        for tenant, paper in zip(self.tenants, live, strict=True):
            made = Invoice.objects.of(tenant).get()
            assert paper is not None
            assert paper.invoice.gross == made.gross, "sums by day are what the sessions are"
            used = usage.used(tenant, MONTH.start, MONTH.end)
            days = usage.days_of(tenant, MONTH.start, MONTH.end)
            assert sum(day.device_seconds for day in days) == used.device_seconds
            by_cluster = [used.seconds_by_cluster.get(cluster.cluster_id, 0) for cluster in self.clusters]
            amounts = [line.amount for line in made.lines.order_by("position")]
            found.append((amounts, made.gross, used.active_devices, by_cluster, [(day.day, day.device_seconds) for day in days]))
            subscriptions.end(tenant, now=timezone.now(), actor="system:tests")
        return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_month_bills_to_the_same_cent_in_any_order_of_delivery(fleet_clusters, seed):
    told, bills = story(seed), []
    assert told.polls > 400
    for way in WAYS:
        replay = Replay(told, (fleet_clusters(), fleet_clusters()), way, seed)
        replay.tell()
        bills.append(replay.bill())
    assert bills[0] == bills[1] == bills[2]
    moved, suspended = bills[0]
    assert min(moved[3]) > 3600, "it lived on both"
    days = {day for day, seconds in suspended[4] if seconds}
    began, ended = (moment.date() for moment in told.suspended)
    assert not {day for day in days if began < day < ended}
    assert len(days) > 15
    assert {"gap", "doubt", "offline"} <= set(Session.objects.across_tenants().values_list("reason", flat=True))
