"""From a line down to its evidence: whatever changed in mid-day, days, devices and sessions sum up to what the line was rated on, in whole seconds."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from billing import catalogue, drilling, subscriptions
from billing.closing import close
from billing.errors import EvidenceLost
from billing.metering import corrections, partitions, rolling
from billing.models import DirtyDay, Invoice, InvoiceLine, Session
from billing.rating.cycles import month_of, months_after
from placement import pollruns
from placement.models import Cluster
from tenants.errors import MalformedRequest
from tests import factories
from tests.billing import sold
from tests.billing.invoices.used import lives

pytestmark = pytest.mark.django_db
MONTH = month_of(months_after(timezone.now(), -1))
DAY = timedelta(days=1)
SEEDS = range(6 * int(os.environ.get("ACS_EXAMPLES", "1")))


def version(number: int):
    """Everything is charged from the first unit on; each costs more than the one before."""
    made = catalogue.draft(factories.plan(name=f"drilled-{next(sold.serial)}"), valid_from=sold.BEGIN, **sold.TOLD)
    for key, kind in (("devices", "active_device"), ("hours", "device_hours")):
        catalogue.price(made, currency="EUR", key=key, kind=kind, charged="arrears", unit_price=Decimal(number + 1), **sold.TOLD)
    catalogue.price(made, currency="EUR", key="base", kind="flat", charged="advance", unit_price=Decimal(10 * (number + 1)), **sold.TOLD)
    return catalogue.publish(made, **sold.TOLD)


def online(tenant, cluster, device: UUID, began: datetime, seconds: int) -> None:
    """A session, stored as metering does: a row for each of its days, one of no length where it has none."""
    ended, day = began + timedelta(seconds=seconds), began.replace(hour=0, minute=0, second=0)
    partitions.make(began, ended)
    facts = {"cluster_id": cluster.cluster_id, "tenant": tenant, "device_id": device, "node_id": 1, "reason": "offline", "told_at": ended}
    while day < ended or day <= began:
        lower, upper = max(began, day), min(ended, day + DAY)
        if lower < upper or began == ended:
            Session.objects.create(began=lower, ended=upper, **facts)
        day += DAY


class RandomMonth:
    """One tenant that moves once, some devices, and a plan that changes in the middle of days; some days wait to be rolled up."""

    def __init__(self, seed: int, clusters) -> None:
        chance = self.chance = random.Random(seed)
        self.tenant = sold.subscriber(version(0), now=MONTH.start)
        move = self.moment()
        lives(self.tenant, clusters[0], since=MONTH.start, until=move)
        lives(self.tenant, clusters[1], since=move)
        for _ in range(chance.randrange(2, 6)):
            self.device(clusters)
        if chance.random() < 0.5:
            since = self.moment().replace(microsecond=0)
            told = {"reason": "an outage", "now": timezone.now(), "actor": "system:tests"}
            row = Cluster.objects.get(pk=clusters[0].cluster_id)
            corrections.exclude(row, since, since + timedelta(hours=chance.randrange(1, 60)), **told)
        for number, moment in enumerate(sorted(self.moment() for _ in range(chance.randrange(1, 4)))):
            subscriptions.change_plan(self.tenant, version(number + 1), when="now", **sold.told(moment))
        for cluster in clusters:
            rolling.again(cluster.cluster_id, MONTH.start.date(), MONTH.end.date())
        days = list(DirtyDay.objects.values_list("cluster_id", "day"))
        for cluster_id, day in chance.sample(days, len(days) * 3 // 4):
            rolling.rebuild(cluster_id, day, now=timezone.now())

    def moment(self) -> datetime:
        return MONTH.start + timedelta(seconds=self.chance.randrange(3600, 27 * 86400), microseconds=self.chance.choice([0, 1, 500_000]))

    def device(self, clusters) -> None:
        for cluster in clusters:
            device, began = uuid4(), MONTH.start + timedelta(seconds=self.chance.randrange(86400))
            while began < MONTH.end - 3 * DAY:
                length = self.chance.choice([0, 1, 59, 3600, 86400, 200_000, self.chance.randrange(90_000)])
                online(self.tenant, cluster, device, began, length)
                began += timedelta(seconds=length + self.chance.choice([1, 60, 40_000, 300_000]))

    def bill(self) -> list[InvoiceLine]:
        close(MONTH, now=timezone.now(), actor="system:tests")
        return list(Invoice.objects.of(self.tenant).get().lines.filter(component__in=["devices", "hours"]))


def descend(line: InvoiceLine) -> tuple[int, int, int, int]:
    """Seconds by days, by devices, by sessions; and how many devices there were at all."""
    days, seconds, parts, seen = drilling.days(line), 0, 0, set()
    for day in days:
        devices = drilling.devices(line, day.day)
        assert (len(devices), sum(each.device_seconds for each in devices)) == (day.active_devices, day.device_seconds)
        for each in devices:
            shown = drilling.sessions(line, day.day, each.device_id)
            assert shown
            assert sum(part.billed for part in shown) == each.device_seconds
            parts += sum(part.billed for part in shown)
        seconds += day.device_seconds
        seen |= {each.device_id for each in devices}
    return sum(day.device_seconds for day in days), seconds, parts, len(seen)


@pytest.mark.parametrize("seed", SEEDS)
def test_days_devices_and_sessions_sum_up_to_what_a_line_was_rated_on(fleet_clusters, seed):
    lines = RandomMonth(seed, [fleet_clusters(), fleet_clusters()]).bill()
    assert len({(line.start, line.end) for line in lines}) > 1, "the plan changed in mid-day"
    for line in lines:
        by_days, by_devices, by_sessions, devices = descend(line)
        if line.component == "devices":
            assert line.quantity == devices
            continue
        rated = sum(share["seconds"] for share in line.clusters)
        assert by_days == by_devices == by_sessions == rated
        assert round(line.quantity * 3600) == rated
    assert sum(line.quantity for line in lines) > 0


@pytest.fixture
def split_day(fleet_cluster):
    """One device online from 08:00 to 14:00 of the third day, the plan changed at 10:00:00.5 of it; the two lines of hours, and the device."""
    tenant, device, day = sold.subscriber(version(0), now=MONTH.start), uuid4(), MONTH.start + 2 * DAY
    lives(tenant, fleet_cluster, since=MONTH.start)
    online(tenant, fleet_cluster, device, day + timedelta(hours=8), 6 * 3600)
    rolling.again(fleet_cluster.cluster_id, day.date(), day.date())
    rolling.roll(now=timezone.now())
    subscriptions.change_plan(tenant, version(1), when="now", **sold.told(day + timedelta(hours=10, microseconds=500_000)))
    close(MONTH, now=timezone.now(), actor="system:tests")
    lines = Invoice.objects.of(tenant).get().lines.filter(component="hours").order_by("start")
    return list(lines), device, day.date()


def test_of_a_day_with_two_lines_each_shows_its_part(split_day):
    lines, device, day = split_day
    for line, seconds in zip(lines, (7200, 14400), strict=True):
        assert [(row.day, row.device_seconds) for row in drilling.days(line)] == [(day, seconds)]
        assert [(row.device_id, row.device_seconds) for row in drilling.devices(line, day)] == [(device, seconds)]
        (part,) = drilling.sessions(line, day, device)
        assert (part.ended - part.began, part.billed) == (timedelta(hours=6), seconds)


def test_what_is_not_kept_any_more_is_said_to_be_gone(split_day, settings):
    (line, *_), device, day = split_day
    settings.METERING_EVIDENCE_MONTHS = 0
    with pytest.raises(EvidenceLost):
        drilling.devices(line, day)
    with pytest.raises(EvidenceLost):
        drilling.sessions(line, day, uuid4())
    assert drilling.sessions(line, day, device), "it is there for as long as its month is"


def test_polls_behind_a_session_are_those_of_its_part_and_the_one_that_told_its_end(fleet_cluster):
    tenant, device, day = sold.subscriber(version(0), now=MONTH.start), uuid4(), MONTH.start + 2 * DAY
    lives(tenant, fleet_cluster, since=MONTH.start)
    online(tenant, fleet_cluster, device, day + timedelta(hours=8), 5 * 86400)
    for hours in range(0, 24 * 7, 8):
        pollruns.write(fleet_cluster.cluster_id, started_at=day + timedelta(hours=hours, milliseconds=300), seconds=0.1, outcome="ok")
    rolling.again(fleet_cluster.cluster_id, day.date(), (day + 6 * DAY).date())
    rolling.roll(now=timezone.now())
    close(MONTH, now=timezone.now(), actor="system:tests")
    line = Invoice.objects.of(tenant).get().lines.get(component="hours")

    def seen(number: int, began: datetime) -> list[int]:
        told = drilling.polls(line, (day + number * DAY).date(), device, began)
        return [int((run.started_at - day).total_seconds()) // 3600 for run in told]

    assert seen(0, day + timedelta(hours=8)) == [8, 16, 24, 5 * 24 + 8]
    assert seen(5, day + 5 * DAY) == [120, 128]
    with pytest.raises(MalformedRequest):
        drilling.polls(line, day.date(), device, datetime(2020, 1, 1, tzinfo=UTC))
