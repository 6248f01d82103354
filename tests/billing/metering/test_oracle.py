"""Whatever polls say and in whatever order they come, what is billed is what brute force finds; and the five mistakes that would matter are found."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from billing.metering import corrections, judging, pieces, rolling, taking, usage
from billing.models import Correction, Coverage, DeviceDay, Session, UsageHour
from placement import stays
from placement.models import Cluster
from tests import factories
from tests.billing.metering import oracle
from tests.billing.metering.oracle import Story, moment
from tests.billing.metering.world import DAY, device, poll

pytestmark = pytest.mark.django_db
SEEDS = range(10 * int(os.environ.get("ACS_EXAMPLES", "1")))
PERIOD = (DAY, DAY + timedelta(days=2))


class Told:
    """A story, told to the service."""

    def __init__(self, story: Story, clusters: Any) -> None:
        self.story, self.clusters = story, clusters
        self.tenants = {number: factories.tenant() for number in story.homes}
        for number, homes in story.homes.items():
            stays.begin(self.tenants[number], clusters[homes[0][1]].cluster_id, at=moment(homes[0][0]))
            for since, cluster in homes[1:]:
                stays.move(self.tenants[number], clusters[cluster].cluster_id, moment(since))
        self.corrected: list[Correction] = []
        self.made = made = {
            (cluster, node): device(self.tenants[of], clusters[cluster], node) for (cluster, node), of in story.tenants.items()
        }
        self.devices = {known.pk: named for named, known in made.items()}
        self.deliver()

    def deliver(self) -> int:
        return sum(self._poll(told) is not None for told in self.story.delivered)

    def _poll(self, told: oracle.Told) -> Any:
        nodes: tuple[dict[int, Any], dict[int, Any]] = {}, {}
        for node, (online, last) in told.nodes.items():
            nodes[not online][node] = None if last is None else moment(last)
        facts = {"server_started": moment(told.started), "clock_off": timedelta(seconds=told.clock_off)}
        return poll(self.clusters[told.cluster], moment(told.at), *nodes, **facts)

    def correct(self) -> None:
        told = {"reason": "an outage", "now": timezone.now(), "actor": "system:tests"}
        self.corrected = [
            corrections.exclude(self._of(scope, key), moment(a), moment(b), **told) for scope, key, a, b in self.story.corrections
        ]

    def _of(self, scope: str, key: Any) -> Any:
        if scope == "cluster":
            return Cluster.objects.get(pk=self.clusters[key].cluster_id)
        return self.tenants[key] if scope == "tenant" else self.made[key]

    def take_back(self, chance: random.Random) -> None:
        """Some of the corrections, in any order; the story is what is left."""
        pairs = list(zip(self.corrected, self.story.corrections, strict=True))
        back = chance.sample(pairs, chance.randrange(len(pairs) + 1))
        for made, _ in back:
            corrections.take_back(made, reason="it was another one", now=timezone.now(), actor="system:tests")
        left = [pair for pair in pairs if pair not in back]
        self.corrected = [made for made, _ in left]
        self.story = replace(self.story, corrections=[told for _, told in left])

    def roll(self) -> None:
        rolling.roll(now=timezone.now())


def check(told: Told) -> None:
    """Everything that is asked of metering, against what brute force found."""
    truth = oracle.reckon(told.story)
    for number, tenant in told.tenants.items():
        by_cluster = truth.by(number, lambda of, _: told.clusters[of[0]].cluster_id)
        found = usage.used(tenant, *PERIOD)
        assert (found.seconds_by_cluster, found.active_devices) == (by_cluster, truth.active(number))
        edge = moment(oracle.START + 1000)  # a period may begin anywhere
        after = truth.by(number, lambda _, second: second >= oracle.START + 1000)
        assert usage.used(tenant, edge, PERIOD[1]).device_seconds == after.get(True, 0)
    told.roll()
    for number, tenant in told.tenants.items():
        assert usage.used(tenant, *PERIOD).seconds_by_cluster == truth.by(number, lambda of, _: told.clusters[of[0]].cluster_id)
        hours = {(told_hour.hour, told_hour.cluster_id): told_hour.device_seconds for told_hour in usage.hourly(tenant, *PERIOD)}
        assert hours == truth.by(number, lambda of, second: (moment(second - second % 3600), told.clusters[of[0]].cluster_id))
        days = {(row.day, told.devices[row.device_id]): row.seconds for row in DeviceDay.objects.of(tenant) if row.seconds}
        assert days == truth.by(number, lambda of, second: (moment(second).astimezone(UTC).date(), of))


def invariants(told: Told) -> None:
    """What holds of the rows themselves, whatever is true."""
    watched = [(row.cluster_id, row.since, row.until) for row in Coverage.objects.all()]
    ends: dict[Any, Any] = {}
    for row in Session.objects.across_tenants().order_by("began", "ended"):
        assert ends.get((row.cluster_id, row.device_id), row.began) <= row.began, "sessions of a device are disjoint"
        ends[row.cluster_id, row.device_id] = row.ended
        covered = sum(
            (
                max(timedelta(0), min(until, row.ended) - max(since, row.began))
                for cluster, since, until in watched
                if cluster == row.cluster_id
            ),
            timedelta(0),
        )
        assert covered == row.ended - row.began, "nobody watched that"
    for tenant in told.tenants.values():
        days = Counter()
        for row in DeviceDay.objects.of(tenant):
            days[row.cluster_id] += row.seconds
            day = datetime(row.day.year, row.day.month, row.day.day, tzinfo=UTC)
            shown = usage.sessions_of(tenant, row.device_id, day, day + timedelta(days=1))
            parts = [part for part in shown if part.cluster_id == row.cluster_id]
            assert sum(part.billed for part in parts) == row.seconds, "a day is its sessions"
        hours = Counter()
        for row in UsageHour.objects.of(tenant):
            hours[row.cluster_id] += row.seconds
            assert row.seconds <= 3600 * 3
        assert +days == +hours == Counter(usage.used(tenant, *PERIOD).seconds_by_cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_billed_is_what_brute_force_finds(seed, fleet_clusters):
    told = Told(oracle.story(seed), [fleet_clusters(), fleet_clusters()])
    corrected, told.story = told.story, Story(told.story.tenants, told.story.homes, told.story.delivered)
    check(told)
    told.story = corrected
    told.correct()  # flows into sums that were made
    check(told)
    invariants(told)
    told.take_back(random.Random(seed))
    check(told)
    told.take_back(random.Random(0))
    for made in told.corrected:
        corrections.take_back(made, reason="all of it", now=timezone.now(), actor="system:tests")
    told.story = Story(told.story.tenants, told.story.homes, told.story.delivered)
    check(told)  # as if nobody had ever corrected it
    invariants(told)
    assert told.deliver() == 0, "told again, nothing is new"
    check(told)


def mutants() -> dict[str, dict[tuple[Any, str], Any]]:
    believed = "coalesce(date_trunc('second', s.last_seen), %(last)s)"
    anywhere = (
        "select distinct tenant_id, cluster_id, '-infinity'::timestamptz as since, 'infinity'::timestamptz as until from placement_stay"
    )
    return {
        "no stale check": {(taking, "is_stale"): lambda *_: False},
        "no gap rule": {(taking, "is_gap"): lambda *_: False},
        "no clamp": {(judging, name): getattr(judging, name).replace(judging.CERTAIN, believed) for name in ("JUDGED", "DOUBT")},
        "no placement clip": {
            (pieces, "STAYS"): anywhere,
            (rolling, "REBUILD"): rolling.REBUILD.replace(pieces.STAYS, anywhere),
        },
        "bill to now": {(pieces, "UNTIL"): "now()", (rolling, "REBUILD"): rolling.REBUILD.replace(pieces.UNTIL, "now()")},
    }


@pytest.mark.parametrize("mutant", mutants())
def test_the_mistakes_that_would_matter_are_found(mutant, fleet_clusters, monkeypatch):
    for (module, name), value in mutants()[mutant].items():
        assert getattr(module, name) != value, "the mutant is the product"
        monkeypatch.setattr(module, name, value)
    clusters = [fleet_clusters(), fleet_clusters()]
    with pytest.raises((AssertionError, IntegrityError)):  # the database's own constraints catch some
        check_all(clusters)


def check_all(clusters: Any) -> None:
    for seed in SEEDS:
        with transaction.atomic():
            check(Told(oracle.story(seed), clusters))
            transaction.set_rollback(True)


def interleaved(chance: random.Random, told: list[oracle.Told]) -> list[oracle.Told]:
    """Each cluster's polls in their order, the clusters anyhow among each other, and what was delivered delivered again at any later time."""
    left = {number: [poll for poll in told if poll.cluster == number] for number in (0, 1)}
    delivered: list[oracle.Told] = []
    while any(left.values()):
        delivered.append(left[chance.choice([number for number, polls in left.items() if polls])].pop(0))
        if chance.random() < 0.3:
            delivered.append(chance.choice(delivered))
    return delivered


def test_polls_bill_the_same_in_any_order_of_the_clusters_with_any_repeats(fleet_clusters):
    clusters, bills = [fleet_clusters(), fleet_clusters()], set()
    for seed in range(4):
        story = oracle.story(77, ordered=True)
        if seed:
            story.delivered = interleaved(random.Random(seed), story.delivered)
        with transaction.atomic():
            told = Told(story, clusters)
            told.correct()
            told.roll()
            used = [usage.used(tenant, *PERIOD) for tenant in told.tenants.values()]
            bills.add(tuple((each.active_devices, tuple(each.seconds_by_cluster.items())) for each in used))
            transaction.set_rollback(True)
    [bill] = bills
    assert any(active for active, _ in bill)
