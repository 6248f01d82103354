"""One poll after another: what opens, what closes and when, what is nobody's time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from billing.metering import usage
from billing.models import Coverage, OpenSession, Session
from placement import stays
from placement.models import Device
from tests.billing.metering.world import DAY, at, by_device, device, lives, poll, polls, roll, seconds

pytestmark = pytest.mark.django_db


def spans(tenant) -> list[tuple[str, str, str]]:
    rows = Session.objects.of(tenant).order_by("began").values_list("began", "ended", "reason")
    return [(f"{began:%H:%M:%S}", f"{ended:%H:%M:%S}", reason) for began, ended, reason in rows]


def test_worked_case_three_a_move_within_an_hour_counts_once(fleet_clusters):
    a, b = fleet_clusters(), fleet_clusters()
    tenant, [_] = lives(a)
    polls(a, at("10:00:20"), at("10:29:50"), {1}, every=30)
    moved = device(tenant, b, 7)
    stays.move(tenant, b.cluster_id, at("10:30:00"))
    poll(a, at("10:30:20"), set(), {1: at("10:30:05")})
    polls(b, at("10:31:10"), at("11:00:00"), {7}, every=10)
    poll(b, at("11:00:30"), set(), {7: at("11:00:00")})
    for _ in range(2):  # from the sessions, then from the roll-ups
        told = usage.used(tenant, DAY, DAY + timedelta(days=1))
        assert told.seconds_by_cluster == {a.cluster_id: 1780, b.cluster_id: 1730}
        assert told.device_seconds == 3510
        roll()
    assert by_device(tenant)[moved.pk] == 1730
    assert [(hour.hour.hour, hour.device_seconds) for hour in usage.hourly(tenant, DAY, DAY + timedelta(days=1))] == [
        (10, 1780),
        (10, 1730),
    ]


def test_a_device_is_billed_until_the_server_last_saw_it_and_no_longer_than_the_poll(fleet_cluster):
    tenant, _ = lives(fleet_cluster, devices=4)
    poll(fleet_cluster, at("10:00:00"), {1, 2, 3, 4})
    poll(fleet_cluster, at("10:00:30"), {4}, {1: at("10:00:10"), 2: at("10:00:45"), 3: at("09:00:00")})
    poll(fleet_cluster, at("10:01:00"), set())  # the fourth is not even listed
    assert sorted(spans(tenant)) == [
        ("10:00:00", "10:00:00", "offline"), ("10:00:00", "10:00:10", "offline"), ("10:00:00", "10:00:30", "gone"), ("10:00:00", "10:00:30", "offline"),
    ]  # fmt: skip


def test_what_nobody_watched_is_not_billed(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    poll(fleet_cluster, at("10:00:00"), {1})
    poll(fleet_cluster, at("10:03:00"), {1})  # 180 s: still watched
    assert poll(fleet_cluster, at("10:06:01"), {1}).after_gap
    poll(fleet_cluster, at("10:07:00"), {1})
    assert spans(tenant) == [("10:00:00", "10:03:00", "gap")]
    assert seconds(tenant) == 180 + 59
    assert Coverage.objects.filter(cluster_id=fleet_cluster.cluster_id, since=at("10:06:01"), until=at("10:06:01")).exists()


def test_late_reordered_and_repeated_polls_change_nothing(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    poll(fleet_cluster, at("10:00:00"), {1})
    poll(fleet_cluster, at("10:01:00"), {1})
    for late in ("10:01:00", "10:00:30", "09:00:00"):
        assert poll(fleet_cluster, at(late), set(), {1: at("10:00:10")}) is None
    assert seconds(tenant) == 60
    assert OpenSession.objects.of(tenant).count() == 1


def test_an_open_session_is_billed_to_the_last_poll_and_not_to_now(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    poll(fleet_cluster, at("10:00:00"), {1})
    poll(fleet_cluster, at("10:01:30"), {1})
    assert seconds(tenant) == 90


def test_a_device_that_one_poll_saw_is_active_for_no_second(fleet_cluster):
    tenant, [seen] = lives(fleet_cluster)
    poll(fleet_cluster, at("10:00:00"), {1})
    poll(fleet_cluster, at("10:00:30"), set(), {1: at("09:00:00")})
    assert (usage.used(tenant, DAY, DAY + timedelta(days=1)).active_devices, seconds(tenant)) == (1, 0)
    roll()
    assert by_device(tenant) == {seen.pk: 0}
    assert usage.used(tenant, DAY, DAY + timedelta(days=1)).active_devices == 1


def test_who_left_as_a_period_begins_is_not_active_in_it(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    polls(fleet_cluster, at("10:58:00"), at("11:00:00"), {1})
    poll(fleet_cluster, at("11:00:30"), set(), {1: at("11:00:00")})
    assert spans(tenant) == [("10:58:00", "11:00:00", "offline")]
    polls(fleet_cluster, at("23:58:00"), at("00:00:00", day=1), {1})  # and is still there, as far as anybody knows
    for start in (at("11:00:00"), at("00:00:00", day=1)):
        assert usage.used(tenant, start, start + timedelta(hours=1)).active_devices == 0
        assert usage.used(tenant, start - timedelta(seconds=1), start).active_devices == 1


def test_who_comes_as_its_tenant_leaves_is_not_active(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    poll(fleet_cluster, at("12:00:00"), {1})
    stays.end(tenant, at=at("12:00:00"))
    poll(fleet_cluster, at("12:00:30"), set())
    for _ in range(2):
        assert usage.used(tenant, DAY, DAY + timedelta(days=1)).active_devices == 0
        roll()


def test_sessions_are_split_at_midnight_utc(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    polls(fleet_cluster, at("23:58:00"), at("00:02:00", day=1), {1})
    poll(fleet_cluster, at("00:02:30", day=1), set(), {1: at("00:02:10", day=1)})
    assert spans(tenant) == [("23:58:00", "00:00:00", "offline"), ("00:00:00", "00:02:10", "offline")]
    roll()
    assert [(day.day, day.device_seconds) for day in usage.daily(tenant, DAY, DAY + timedelta(days=2))] == [
        (DAY.date(), 120), ((DAY + timedelta(days=1)).date(), 130),
    ]  # fmt: skip


def test_a_restarted_server_ends_nobodys_time(fleet_cluster):
    tenant, _ = lives(fleet_cluster, devices=3)
    first, second = at("09:00:00"), at("10:00:40")
    poll(fleet_cluster, at("10:00:00"), {1, 2, 3}, server_started=first)
    poll(fleet_cluster, at("10:00:30"), {1, 2, 3}, server_started=first)
    taken = poll(fleet_cluster, at("10:01:00"), {3}, {1: at("10:00:35"), 2: at("09:00:00")}, server_started=second)
    assert (taken.restarted, taken.doubtful, taken.closed) == (True, 2, 0)
    assert seconds(tenant) == 35 + 30 + 60  # what is certain so far
    poll(fleet_cluster, at("10:01:30"), {1, 3}, {2: at("09:00:00")}, server_started=second)
    poll(fleet_cluster, at("10:03:00"), {1, 3}, {2: at("09:00:00")}, server_started=second)
    assert OpenSession.objects.of(tenant).count() == 3
    poll(fleet_cluster, at("10:04:00"), {1, 3}, {2: at("09:00:00")}, server_started=second)
    assert spans(tenant) == [("10:00:00", "10:00:30", "doubt")]
    assert seconds(tenant) == 240 + 240 + 30


def test_everybody_offline_at_once_is_a_restart_too(fleet_cluster):
    tenant, _ = lives(fleet_cluster, devices=2)
    poll(fleet_cluster, at("10:00:00"), {1, 2})
    taken = poll(fleet_cluster, at("10:00:30"), set(), {1: None, 2: None})
    assert (taken.restarted, taken.closed) == (True, 0)
    poll(fleet_cluster, at("10:01:00"), {1, 2})
    assert seconds(tenant) == 120


def test_doubt_does_not_outlive_a_gap(fleet_cluster):
    tenant, _ = lives(fleet_cluster, devices=2)
    poll(fleet_cluster, at("10:00:00"), {1, 2})
    poll(fleet_cluster, at("10:01:00"), set(), {1: None, 2: None})
    poll(fleet_cluster, at("10:30:00"), {1, 2})
    assert spans(tenant) == [("10:00:00", "10:00:00", "doubt")] * 2


@pytest.mark.parametrize("wrong", [{"clock_off": timedelta(seconds=31)}, {"clock_off": timedelta(seconds=-31)}])
def test_a_server_whose_clock_is_off_is_not_believed(fleet_cluster, wrong):
    tenant, _ = lives(fleet_cluster)
    poll(fleet_cluster, at("10:00:00"), {1})
    poll(fleet_cluster, at("10:00:30"), set(), {1: at("10:00:20")}, **wrong)
    assert seconds(tenant) == 0


def test_a_server_that_saw_a_node_in_the_future_is_not_believed(fleet_cluster):
    tenant, _ = lives(fleet_cluster, devices=2)
    poll(fleet_cluster, at("10:00:00"), {1, 2})
    poll(fleet_cluster, at("10:00:30"), {2: at("10:02:00")}, {1: at("10:00:20")})
    assert seconds(tenant) == 30  # the second device's alone


def test_another_device_behind_the_same_node_has_a_session_of_its_own(fleet_cluster):
    tenant, [first] = lives(fleet_cluster)
    poll(fleet_cluster, at("10:00:00"), {1})
    poll(fleet_cluster, at("10:01:00"), {1})
    Device.objects.of(tenant).update(gone_at=at("10:01:10"))
    second = device(tenant, fleet_cluster, 1)
    poll(fleet_cluster, at("10:02:00"), {1})
    poll(fleet_cluster, at("10:03:00"), {1})
    roll()
    assert by_device(tenant) == {first.pk: 60, second.pk: 60}


def test_what_is_said_of_another_device_behind_the_same_node_is_not_said_of_the_one_before(fleet_cluster):
    tenant, [first] = lives(fleet_cluster)
    poll(fleet_cluster, at("10:00:00"), {1})
    poll(fleet_cluster, at("10:01:00"), {1})
    Device.objects.of(tenant).update(gone_at=at("10:01:10"))
    device(tenant, fleet_cluster, 1)
    poll(fleet_cluster, at("10:02:00"), set(), {1: at("10:01:50")})
    assert spans(tenant) == [("10:00:00", "10:01:00", "gone")]
    roll()
    assert by_device(tenant) == {first.pk: 60}


def test_another_device_behind_the_same_node_is_no_sign_that_one_in_doubt_was_there(fleet_cluster):
    tenant, [_first] = lives(fleet_cluster)
    poll(fleet_cluster, at("10:00:00"), {1}, server_started=at("09:00:00"))
    poll(fleet_cluster, at("10:01:00"), {1}, server_started=at("09:00:00"))
    poll(fleet_cluster, at("10:01:30"), set(), {1: None}, server_started=at("10:01:20"))
    Device.objects.of(tenant).update(gone_at=at("10:01:40"))
    device(tenant, fleet_cluster, 1)
    poll(fleet_cluster, at("10:02:00"), {1}, server_started=at("10:01:20"))
    assert spans(tenant) == [("10:00:00", "10:01:00", "gone")]


def test_nodes_of_no_tenant_are_nobodys_time(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    poll(fleet_cluster, at("10:00:00"), {1, 99})
    assert OpenSession.objects.across_tenants().count() == 1
    assert seconds(tenant) == 0


def test_a_poll_is_taken_in_whole_or_not_at_all(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    with transaction.atomic():
        poll(fleet_cluster, at("10:00:00"), {1})
        transaction.set_rollback(True)
    assert poll(fleet_cluster, at("10:00:00"), {1}).opened == 1
    assert OpenSession.objects.of(tenant).count() == 1


def test_of_a_session_longer_than_what_is_kept_the_kept_days_are_written(fleet_cluster, settings):
    settings.METERING_EVIDENCE_MONTHS = 0
    tenant, _ = lives(fleet_cluster, since=at("00:00:00", day=-70))
    poll(fleet_cluster, at("10:00:00"), {1})
    OpenSession.objects.of(tenant).update(began=at("00:00:00", day=-70))
    poll(fleet_cluster, at("10:01:00"), set())
    kept = Session.objects.of(tenant).order_by("began")
    assert kept[0].began == at("00:00:00").replace(day=1)
    assert kept.count() == DAY.day
