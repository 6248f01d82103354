"""A month of random polls (restarts, gaps, a move, clock skew, duplicates, latecomers) bills to the same cent however its polls are delivered."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.utils import timezone

from billing import concessions, invoicing, subscriptions
from billing.closing import close
from billing.metering import rolling, usage
from billing.models import Invoice
from billing.rating.cycles import month_of, months_after
from placement import stays
from tests.billing import sold
from tests.billing.metering import world

pytestmark = pytest.mark.django_db
MONTH = month_of(months_after(timezone.now(), -1))
DEVICES, POLLS = 4, 60  # bursts of a minute's polls, a few a day


def polls_of_a_month(seed: int):
    """(moment, online, offline, facts) for two clusters in turn; every device lives on the one that its tenant is on."""
    chance = random.Random(seed)
    moment, online, started = MONTH.start + timedelta(minutes=1), {1, 2}, MONTH.start - timedelta(days=1)
    for _ in range(POLLS):
        moment += timedelta(seconds=chance.choice([30, 60, 60, 120, 170]) if chance.random() < 0.8 else chance.randrange(181, 200_000))
        if chance.random() < 0.03:
            started = moment - timedelta(seconds=5)  # the server restarted; it shows nobody for a poll
        else:
            online = {node for node in range(1, DEVICES + 1) if (node in online) != (chance.random() < 0.15)}
        seen = moment - timedelta(seconds=chance.randrange(1, 200))
        offline = {node: chance.choice([seen, None]) for node in range(1, DEVICES + 1) if node not in online}
        skew = timedelta(seconds=chance.choice([0, 0, 1, 45]))
        if moment < MONTH.end:
            yield moment, set(online), offline, {"server_started": started, "clock_off": skew}


def delivered(polls: list, way: str, chance: random.Random):
    """In order; each twice; or in order with earlier ones again in between, late and shuffled."""
    for number, poll in enumerate(polls):
        yield poll
        if way == "twice":
            yield poll
        if way == "late":
            yield from chance.sample(polls[: number + 1], min(2, number + 1))


def bill(first, second, seed: int, way: str) -> tuple[list[int], int]:
    tenant = sold.subscriber(now=MONTH.start)
    for key in ("devices", "hours"):
        concessions.override(tenant, component=key, included=0, until=None, now=MONTH.start, actor="system:tests")
    stays.begin(tenant, first.cluster_id, at=MONTH.start)
    stays.move(tenant, second.cluster_id, MONTH.start + timedelta(days=2, hours=1, seconds=7))
    for node in range(1, DEVICES + 1):
        for cluster in (first, second):
            world.device(tenant, cluster, node, since=MONTH.start)
    for number, (moment, online, offline, facts) in enumerate(delivered(list(polls_of_a_month(seed)), way, random.Random(seed))):
        for cluster in (first, second):
            world.poll(cluster, moment, online, offline, **facts)
        if way == "late" and number % 40 == 0:
            rolling.roll(now=timezone.now())
    live = invoicing.preview(tenant, MONTH, timezone.now())
    rolling.roll(now=timezone.now())
    close(MONTH, now=timezone.now(), actor="system:tests")
    made = Invoice.objects.of(tenant).get()
    assert live.invoice.gross == made.gross, "sums by day are what the sessions are"
    found = usage.used(tenant, MONTH.start, MONTH.end)
    subscriptions.end(tenant, now=timezone.now(), actor="system:tests")
    return [line.amount for line in made.lines.order_by("position")] + [made.gross], found.device_seconds


@pytest.mark.parametrize("seed", [1, 2])
def test_a_month_bills_to_the_same_cent_in_any_order_of_delivery(fleet_clusters, seed):
    told = [bill(fleet_clusters(), fleet_clusters(), seed, way) for way in ("in order", "twice", "late")]
    assert told[0] == told[1] == told[2]
    assert told[0][1] > 3600
