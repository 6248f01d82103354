"""Sums: rebuilt from sessions whatever touches a day, corrections, moves that are told late, months that come and go."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.utils import timezone

from billing.metering import corrections, coverage, partitions, rolling, usage
from billing.metering.errors import EvidenceGone, NoReason, WrongRange
from billing.models import Correction, DeviceDay, DirtyDay, UsageHour
from placement import stays
from placement.models import Cluster, Stay
from tenants.models import AuditEvent
from tests.billing.metering.world import DAY, at, by_device, lives, poll, polls, roll, seconds

pytestmark = pytest.mark.django_db
TOMORROW = DAY + timedelta(days=1)


def exclude(cluster, since: str, until: str, **fields) -> Correction:
    told = {"reason": "the uplink was down", "now": timezone.now(), "actor": "system:tests", **fields}
    return corrections.exclude(Cluster.objects.get(pk=cluster.cluster_id), at(since), at(until), **told)


def test_only_days_that_were_touched_are_rebuilt(fleet_cluster):
    lives(fleet_cluster)
    polls(fleet_cluster, at("10:00:00"), at("10:05:00"), {1})
    assert rolling.roll(now=timezone.now()) == 1
    assert rolling.roll(now=timezone.now()) == 0
    poll(fleet_cluster, at("10:06:00"), {1})
    assert rolling.roll(now=timezone.now()) == 1


def test_a_poll_during_a_rebuild_leaves_the_day_marked(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    polls(fleet_cluster, at("10:00:00"), at("10:05:00"), {1})
    roll()
    poll(fleet_cluster, at("10:06:00"), {1})
    seen = DirtyDay.objects.get(cluster_id=fleet_cluster.cluster_id, day=DAY.date())
    DirtyDay.objects.filter(pk=seen.pk).update(marks=seen.marks + 1)
    assert DirtyDay.objects.filter(cluster_id=fleet_cluster.cluster_id).count() == 1
    roll()
    assert not DirtyDay.objects.exists()
    assert seconds(tenant) == 360


def test_a_correction_flows_into_every_sum_and_stays(fleet_cluster):
    tenant, [one] = lives(fleet_cluster)
    polls(fleet_cluster, at("10:00:00"), at("11:30:00"), {1})
    roll()
    assert seconds(tenant) == 5400
    made = exclude(fleet_cluster, "10:50:00", "11:10:00")
    for _ in range(2):
        assert seconds(tenant) == 4200
        roll()
    exclude(fleet_cluster, "11:00:00", "11:20:00")  # what two of them say counts once
    roll()
    assert by_device(tenant) == {one.pk: 3600}
    assert list(UsageHour.objects.of(tenant).order_by("hour").values_list("seconds", flat=True)) == [3000, 600]
    assert AuditEvent.objects.across_tenants().filter(verb="metering.correct", target=f"correction:{made.pk}").exists()
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        made.delete()


def test_a_wholly_excluded_day_has_no_active_device_and_no_row(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    polls(fleet_cluster, at("10:00:00"), at("10:05:00"), {1})
    roll()
    exclude(fleet_cluster, "09:00:00", "11:00:00")
    roll()
    assert usage.used(tenant, DAY, TOMORROW).active_devices == 0
    assert not DeviceDay.objects.of(tenant).exists()
    assert not UsageHour.objects.of(tenant).exists()


def test_a_correction_says_why_and_of_when(fleet_cluster):
    with pytest.raises(NoReason):
        exclude(fleet_cluster, "10:00:00", "11:00:00", reason=" ")
    with pytest.raises(WrongRange):
        exclude(fleet_cluster, "11:00:00", "11:00:00")
    with pytest.raises(WrongRange):
        exclude(fleet_cluster, "10:00:00", "11:00:00", now=at("10:30:00"))
    with pytest.raises(EvidenceGone):
        exclude(fleet_cluster, "10:00:00", "11:00:00", now=timezone.now() + timedelta(days=500))


def test_a_move_that_is_told_late_moves_what_was_counted(fleet_clusters):
    a, b = fleet_clusters(), fleet_clusters()
    tenant, _ = lives(a)
    polls(a, at("10:00:00"), at("11:00:00"), {1})
    roll()
    stays.move(tenant, b.cluster_id, at("10:40:00"))
    for _ in range(2):
        assert usage.used(tenant, DAY, TOMORROW).seconds_by_cluster == {a.cluster_id: 2400}
        roll()


def test_a_tenant_lives_on_one_cluster_at_a_time(fleet_clusters):
    a, b = fleet_clusters(), fleet_clusters()
    tenant, _ = lives(a)
    assert stays.move(tenant, a.cluster_id, at("10:00:00")).since == DAY  # it is there already
    stays.move(tenant, b.cluster_id, at("10:00:00"))
    assert stays.move(tenant, b.cluster_id, at("10:00:00")).since == at("10:00:00")
    with pytest.raises(IntegrityError, match="tenant_lives_on_one_cluster_at_a_time"), transaction.atomic():
        Stay.objects.create(tenant=tenant, cluster_id=a.cluster_id, since=at("09:00:00"), until=at("09:00:01"), changed_at=DAY)
    assert stays.end(tenant, at=at("11:00:00"))
    assert not stays.end(tenant, at=at("11:00:00"))
    assert stays.begin(tenant, a.cluster_id, at=at("10:30:00")).since == at("11:00:00")  # a clock that is behind


def test_a_cluster_to_itself_is_told_with_its_true_ends(fleet_clusters):
    alone = fleet_clusters(kind="dedicated")
    tenant, _ = lives(alone)
    assert usage.used(tenant, at("05:00:00"), at("06:00:00")).dedicated == ((alone.cluster_id, DAY, None),)
    stays.end(tenant, at=at("04:00:00"))
    assert usage.used(tenant, at("05:00:00"), at("06:00:00")).dedicated == ()


def test_coverage_tells_when_a_cluster_was_not_watched(fleet_cluster):
    polls(fleet_cluster, at("10:00:00"), at("10:10:00"), set())
    polls(fleet_cluster, at("10:20:00"), at("10:30:00"), set())
    [watched] = coverage.watched(DAY, TOMORROW)
    assert (watched.seconds, watched.polls) == (1200, 22)
    assert coverage.gaps(fleet_cluster.cluster_id, DAY, TOMORROW) == [(at("10:10:00"), at("10:20:00"))]


def months() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("select relname from pg_class where relname like 'billing_session_2%' and relkind = 'r'")
        return {name for (name,) in cursor.fetchall()}


def test_months_are_made_ahead_and_dropped_when_they_are_old(settings):
    now = timezone.now()
    partitions.make_ahead(now=now)
    partitions.make(now - timedelta(days=200), now - timedelta(days=200))
    old = f"billing_session_{now - timedelta(days=200):%Y_%m}"
    assert {old, f"billing_session_{now:%Y_%m}", f"billing_session_{now + timedelta(days=40):%Y_%m}"} <= months()
    assert partitions.make_ahead(now=now) == 0
    settings.METERING_EVIDENCE_MONTHS = 3
    assert partitions.drop_old(now=now) >= 2
    assert old not in months()
    with pytest.raises(ProgrammingError, match="are not dropped"), transaction.atomic():
        partitions.drop_old(now=now + timedelta(days=200))


def test_sums_outlive_their_evidence(fleet_cluster, settings):
    tenant, _ = lives(fleet_cluster)
    polls(fleet_cluster, at("10:00:00"), at("10:05:00"), {1})
    roll()
    later = timezone.now() + timedelta(days=500)
    rolling.again(fleet_cluster.cluster_id, DAY.date(), DAY.date())
    assert rolling.rebuild(fleet_cluster.cluster_id, DAY.date(), now=later) is False
    assert seconds(tenant) == 300
    with pytest.raises(EvidenceGone):
        usage.used(tenant, timezone.now() - timedelta(days=800, hours=1), timezone.now() - timedelta(days=799))
