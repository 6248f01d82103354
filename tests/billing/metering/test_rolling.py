"""Sums: rebuilt from sessions whatever touches a day, corrections, moves that are told late, months that come and go."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.utils import timezone

from billing.metering import corrections, coverage, partitions, rolling, usage
from billing.metering.errors import EvidenceGone, NoReason, TakenBack, WrongRange
from billing.models import Correction, DeviceDay, DirtyDay, UsageHour
from placement import stays
from placement.models import Cluster, Stay
from tenants.models import AuditEvent
from tests.billing.metering.world import DAY, at, by_device, device, lives, poll, polls, roll, seconds

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


def test_a_doubt_that_ends_after_midnight_makes_the_day_before_again(fleet_cluster):
    tenant, [one] = lives(fleet_cluster)
    before, after = {"server_started": at("09:00:00")}, {"server_started": at("23:59:10")}
    poll(fleet_cluster, at("23:58:00"), {1}, **before)
    poll(fleet_cluster, at("23:59:00"), {1}, **before)
    poll(fleet_cluster, at("23:59:30"), set(), {1: None}, **after)
    poll(fleet_cluster, at("00:00:30", day=1), set(), {1: None}, **after)
    roll()
    assert by_device(tenant) == {one.pk: 60}
    poll(fleet_cluster, at("00:01:30", day=1), {1}, **after)
    roll()
    assert by_device(tenant) == {one.pk: 210} == {one.pk: seconds(tenant)}


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


def made_of(of, since: str, until: str, **fields) -> Correction:
    told = {"reason": "the till was cloned", "now": timezone.now(), "actor": "system:tests", **fields}
    return corrections.exclude(of, at(since), at(until), **told)


def test_a_correction_of_a_tenant_or_a_device_leaves_all_others_as_they_are(fleet_clusters):
    a, b = fleet_clusters(), fleet_clusters()
    tenant, [one, two] = lives(a, devices=2)
    other, [third] = lives(a)
    polls(a, at("10:00:00"), at("11:00:00"), {1, 2, 3})
    stays.move(tenant, b.cluster_id, at("10:40:00"))
    roll()
    made_of(one, "10:10:00", "10:20:00")
    for _ in range(2):
        assert (seconds(tenant), seconds(other)) == (2 * 2400 - 600, 3600)
        roll()
    assert by_device(tenant) == {one.pk: 1800, two.pk: 2400}
    made_of(tenant, "10:15:00", "10:30:00")  # five minutes of it were said already
    exclude(a, "10:29:00", "10:31:00")
    roll()
    assert by_device(tenant) == {one.pk: 2400 - 600 - 600 - 60, two.pk: 2400 - 900 - 60}
    assert by_device(other) == {third.pk: 3600 - 120}
    event = AuditEvent.objects.of(tenant).filter(verb="metering.correct").first()
    assert event is not None


def test_a_correction_that_was_taken_back_was_never_made(fleet_cluster):
    tenant, [one, two] = lives(fleet_cluster, devices=2)
    polls(fleet_cluster, at("10:00:00"), at("11:00:00"), {1, 2})
    roll()

    def sums() -> tuple[object, ...]:
        days, hours = DeviceDay.objects.of(tenant), UsageHour.objects.of(tenant)
        return seconds(tenant), sorted(days.values_list("device_id", "seconds")), sorted(hours.values_list("hour", "seconds"))

    before = sums()
    both = made_of(tenant, "09:00:00", "12:00:00"), made_of(one, "10:30:00", "10:40:00")
    roll()
    assert sums() == (0, [], [])
    assert usage.used(tenant, DAY, TOMORROW).active_devices == 0
    told = {"reason": "it was another one", "now": timezone.now(), "actor": "system:tests"}
    corrections.take_back(both[0], **told)
    assert seconds(tenant) == 7200 - 600, "at once, before the sums are made again"
    roll()
    assert by_device(tenant) == {one.pk: 3000, two.pk: 3600}
    corrections.take_back(both[1], **told)
    roll()
    assert sums() == before
    assert AuditEvent.objects.of(tenant).filter(verb="metering.take_back").count() == 2


def test_a_correction_is_taken_back_once_with_a_reason_and_while_its_evidence_is_kept(fleet_cluster):
    made = exclude(fleet_cluster, "10:00:00", "11:00:00")
    told = {"now": timezone.now(), "actor": "system:tests"}
    with pytest.raises(NoReason):
        corrections.take_back(made, reason=" ", **told)
    with pytest.raises(EvidenceGone):
        corrections.take_back(made, reason="late", now=timezone.now() + timedelta(days=500), actor="system:tests")
    back = corrections.take_back(made, reason="it was another one", **told)
    with pytest.raises(TakenBack):
        corrections.take_back(made, reason="again", **told)
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        back.delete()


def test_a_correction_is_of_a_cluster_or_of_a_tenant(fleet_cluster):
    tenant, [one] = lives(fleet_cluster)
    told = {"since": at("10:00:00"), "until": at("11:00:00"), "reason": "x", "made_by": "x", "made_at": DAY}
    for wrong in ({}, {"cluster_id": fleet_cluster.cluster_id, "tenant": tenant}, {"device_id": one.pk}):
        with pytest.raises(IntegrityError, match="correction_is_of_a_cluster_or_of_a_tenant"), transaction.atomic():
            Correction.objects.create(**told, **wrong)


def test_a_move_that_is_told_late_moves_what_was_counted(fleet_clusters):
    a, b = fleet_clusters(), fleet_clusters()
    tenant, _ = lives(a)
    polls(a, at("10:00:00"), at("11:00:00"), {1})
    roll()
    stays.move(tenant, b.cluster_id, at("10:40:00"))
    for _ in range(2):
        assert usage.used(tenant, DAY, TOMORROW).seconds_by_cluster == {a.cluster_id: 2400}
        roll()


def test_two_moves_that_are_told_late_between_two_looks_move_what_was_counted(fleet_clusters):
    a, b = fleet_clusters(), fleet_clusters()
    tenant, _ = lives(a)
    device(tenant, b, 7)
    for cluster, node in ((a, 1), (b, 7)):
        polls(cluster, at("10:00:00"), at("11:00:00"), {node})
    roll()
    stays.move(tenant, b.cluster_id, at("10:40:00"))
    stays.move(tenant, a.cluster_id, at("09:00:00", day=1))
    roll()
    sums = UsageHour.objects.of(tenant).order_by("hour").values_list("cluster_id", "seconds")
    assert dict(sums) == usage.used(tenant, DAY, TOMORROW).seconds_by_cluster == {a.cluster_id: 2400, b.cluster_id: 1200}


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(days=900)])
def test_sums_are_made_and_made_again_by_a_host_whose_clock_is_ahead(fleet_clusters, ahead):
    a, b = fleet_clusters(), fleet_clusters()
    tenant, _ = lives(a)
    polls(a, at("10:00:00"), at("11:00:00"), {1})
    rolling.roll(now=timezone.now() + ahead)
    assert seconds(tenant) == 3600
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
    settings.METERING_EVIDENCE_MONTHS = 13
    partitions.make(now - timedelta(days=200), now - timedelta(days=200))
    partitions.drop_old(now=now + timedelta(days=300))  # a host whose clock is ahead
    assert old in months()
    with pytest.raises(ProgrammingError, match="are not dropped"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select billing_drop_months('billing_session', current_date)")


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
