"""Samples of running servers: taken one at a time, believed in order, missed without harm."""

from __future__ import annotations

import math
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from acs import tasks
from acs.poll import poll
from placement import alerts, clusters, facts, load, retention
from placement.headscale.metrics import LoadReading
from placement.models import Alert, Cluster, Heat, LoadSample
from tests.cluster_servers import serve_cluster
from tests.fakes.headscale_http import KEY, METRICS, FakeHeadscale
from tests.fakes.wire import answering, dribbling, hanging, saying
from tests.live import race_here
from tests.servers import run_headscale, run_simulator

pytestmark = pytest.mark.django_db


def counters(cpu=0.0, queue=0, calculations=0):
    return LoadReading(cpu, 50_000_000, queue, calculations, None, ((0.1, calculations), (math.inf, calculations)), 0)


def take(cluster, seconds, *, cpu=0.0, sessions=0, queue=0):
    return load.take(cluster.row, counters(cpu, queue), sessions=sessions, at=BEGIN + timedelta(seconds=seconds))


BEGIN = timezone.now() - timedelta(hours=1)


def heat(cluster):
    return Heat.objects.get(pk=cluster.cluster_id)


def test_samples_become_rates_and_the_sample_is_kept(fleet_cluster):
    assert take(fleet_cluster, 0)
    assert take(fleet_cluster, 100, cpu=70, sessions=100)
    assert 0.69 < heat(fleet_cluster).cpu <= 0.7  # of one core
    assert 0.9 < heat(fleet_cluster).measured <= 1.0
    assert LoadSample.objects.filter(cluster_id=fleet_cluster.cluster_id).count() == 2


def test_a_late_or_repeated_sample_is_no_sample(fleet_cluster):
    take(fleet_cluster, 10, sessions=7)
    assert not take(fleet_cluster, 10, sessions=99)
    assert not take(fleet_cluster, 5, sessions=99)
    assert heat(fleet_cluster).sessions == 7
    assert LoadSample.objects.count() == 1


def test_what_is_promised_after_the_sample_is_not_measured_yet(fleet_cluster):
    Cluster.objects.filter(pk=fleet_cluster.cluster_id).update(committed=30)
    take(fleet_cluster, 0)
    Cluster.objects.filter(pk=fleet_cluster.cluster_id).update(committed=50)
    [known] = facts.load(now=timezone.now(), only=[fleet_cluster.cluster_id])
    assert known.promised_since == 20


def test_the_breaker_opens_with_an_alert_and_closes_with_it(fleet_cluster):
    for number in range(3):
        take(fleet_cluster, 10 * number, sessions=1000)
    assert heat(fleet_cluster).breaker_open
    alert = Alert.objects.get(kind="breaker", subject=fleet_cluster.cluster_id, closed_at=None)
    assert alert.facts["sessions"] == 1000
    for number in range(3, 120):
        take(fleet_cluster, 10 * number)
    assert not heat(fleet_cluster).breaker_open
    assert not Alert.objects.filter(closed_at=None).exists()


def at_address(cluster, url, **fields):
    Cluster.objects.filter(pk=cluster.cluster_id).update(
        metrics_url=f"{url}/metrics", admin_url=url, admin_key_sealed=clusters.seal_key(cluster.cluster_id, KEY), **fields
    )


@pytest.fixture
def hasty(settings):
    """Half a second is all that a sample may take."""
    settings.LOAD_SECONDS = 1


@pytest.mark.parametrize(
    "reply",
    [hanging(30), dribbling(METRICS.encode(), every=0.1), saying(500, "no"), saying(200, "x 1\n"), saying(200, METRICS, "text/plain")],
    ids=["silent", "slow", "broken", "not headscale", "without nodes"],
)
def test_a_server_that_does_not_tell_changes_nothing_but_the_count_of_failures(fleet_cluster, reply, hasty):
    take(fleet_cluster, 0, sessions=5)
    begun = time.monotonic()
    with answering(reply) as server:
        at_address(fleet_cluster, server.url)
        assert not load.pull(fleet_cluster.cluster_id, now=timezone.now())
    assert time.monotonic() - begun < 1
    kept = heat(fleet_cluster)
    assert (kept.sessions, kept.failures) == (5, 1)
    assert LoadSample.objects.count() == 1
    assert Alert.objects.get(closed_at=None).kind == "samples-stale"  # the last one is an hour old


def test_a_server_that_is_gone_or_whose_key_cannot_be_opened_is_a_failure_like_any_other(fleet_cluster):
    now = timezone.now()
    with FakeHeadscale().running() as server:
        at_address(fleet_cluster, server.url)
        assert load.pull(fleet_cluster.cluster_id, now=now)
        Cluster.objects.update(admin_key_sealed="t1:AAAA")
        assert not load.pull(fleet_cluster.cluster_id, now=now + timedelta(seconds=10))
    assert not load.pull(fleet_cluster.cluster_id, now=now + timedelta(seconds=20))
    assert (heat(fleet_cluster).failures, heat(fleet_cluster).at) == (2, now)
    assert not Alert.objects.exists(), "20 seconds are no reason to call anybody"


def test_a_cluster_that_fails_is_asked_less_often_and_at_once_again_when_it_is_back(fleet_cluster):
    now, attempts = timezone.now(), []
    at_address(fleet_cluster, "http://127.0.0.1:9")
    for number in range(12):
        load.pull(fleet_cluster.cluster_id, now=now + timedelta(seconds=10 * number))
        attempts.append(heat(fleet_cluster).failures)
    assert attempts == [1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]
    load.take(fleet_cluster.row, counters(), sessions=0, at=now + timedelta(seconds=115))  # the poll reached it
    with FakeHeadscale().running() as server:
        at_address(fleet_cluster, server.url)
        assert load.pull(fleet_cluster.cluster_id, now=now + timedelta(seconds=120))


def test_turns_are_spread_over_the_interval_and_stay_what_they_are(settings):
    turns = [load.turn(f"cluster{number}") for number in range(1000)]
    assert max(turns) < 0.8 * settings.LOAD_SECONDS
    assert max(Counter(int(turn) for turn in turns).values()) < 1.4 * 1000 / 8
    assert turns == [load.turn(f"cluster{number}") for number in range(1000)]


def test_a_cluster_that_nobody_samples_is_told_to_operators_until_somebody_does(fleet_clusters):
    silent, heard, new = fleet_clusters(), fleet_clusters(), fleet_clusters(registered_at=timezone.now())
    for cluster in (silent, heard, new):
        at_address(cluster, "http://127.0.0.1:9")
    load.take(heard.row, counters(), sessions=0, at=timezone.now())
    assert load.watch(now=timezone.now()) == 1
    assert load.watch(now=timezone.now()) == 1
    [alert] = Alert.objects.filter(closed_at=None)
    assert (alert.kind, alert.subject, alert.times) == ("samples-stale", silent.cluster_id, 1)
    load.take(silent.row, counters(), sessions=0, at=timezone.now())
    assert not Alert.objects.filter(closed_at=None).exists()


@pytest.mark.parametrize("fields", [{"state": "offline"}, {"metrics_url": ""}], ids=["offline", "without metrics"])
def test_a_cluster_that_is_not_sampled_any_more_alarms_nobody(fleet_cluster, fields):
    at_address(fleet_cluster, "http://127.0.0.1:9")
    for number in range(3):
        take(fleet_cluster, 10 * number, sessions=1000)
    assert load.watch(now=timezone.now()) == 1
    assert {alert.kind for alert in Alert.objects.filter(closed_at=None)} == {"breaker", "samples-stale"}
    Cluster.objects.filter(pk=fleet_cluster.cluster_id).update(**fields)
    assert load.watch(now=timezone.now()) == 0
    assert not Alert.objects.filter(closed_at=None).exists()
    assert not load.pull(fleet_cluster.cluster_id, now=timezone.now())
    if "metrics_url" in fields:
        [known] = facts.load(now=timezone.now(), only=[fleet_cluster.cluster_id])
        assert (known.measured, known.age, known.breaker_open) == (None, None, False)


def test_without_metrics_there_is_nothing_to_sample(fleet_cluster):
    assert not load.pull(fleet_cluster.cluster_id, now=timezone.now())
    assert not Heat.objects.exists()


def test_hot_clusters_are_marked_since_when_and_cool_ones_no_more(fleet_clusters):
    hot = fleet_clusters(committed=400)
    for _ in range(3):
        fleet_clusters(committed=50)
    now = timezone.now()
    assert load.mark_hot(now=now) == 1
    assert load.mark_hot(now=now + timedelta(minutes=5)) == 1
    assert heat(hot).hot_since == now
    Cluster.objects.filter(pk=hot.cluster_id).update(committed=50)
    assert load.mark_hot(now=now + timedelta(minutes=6)) == 0
    assert heat(hot).hot_since is None


def test_a_cluster_that_is_silent_or_offline_is_not_hot_for_it(fleet_clusters):
    silent, offline, calm = fleet_clusters(committed=50), fleet_clusters(committed=400, state="offline"), fleet_clusters(committed=50)
    for cluster in (silent, offline, calm):
        at_address(cluster, "http://127.0.0.1:9")
        load.take(cluster.row, counters(), sessions=40, at=timezone.now() - timedelta(seconds=0 if cluster is calm else 90))
    assert load.mark_hot(now=timezone.now()) == 0


def test_a_cluster_that_missed_a_few_samples_stays_hot(fleet_clusters):
    hot, calm = fleet_clusters(), fleet_clusters()
    now, later = timezone.now(), timezone.now() + timedelta(seconds=45)
    for cluster, sessions, at in ((hot, 450, now), (calm, 10, now), (calm, 10, later)):
        at_address(cluster, "http://127.0.0.1:9")
        load.take(cluster.row, counters(), sessions=sessions, at=at)
        load.mark_hot(now=at)
    assert heat(hot).hot_since == now
    assert heat(calm).hot_since is None


@pytest.mark.django_db(transaction=True)
class TestRunningServers:
    @pytest.mark.parametrize("real", [pytest.param(True, marks=pytest.mark.headscale), False], ids=["headscale", "simulator"])
    def test_a_sample_an_overlapping_one_and_a_restart(self, real, tmp_path):
        with serve_cluster(tmp_path / "c", real=real) as (cluster_id, _server):
            assert load.pull(cluster_id, now=timezone.now())
            assert sorted(race_here(6, lambda _: load.pull(cluster_id, now=timezone.now()))) == [False] * 6  # one interval, one sample
            first = Heat.objects.get(pk=cluster_id)
            assert first.memory > 1_000_000
            later = timezone.now() + timedelta(seconds=60)
            assert race_here(6, lambda _: load.pull(cluster_id, now=later)).count(True) == 1
        with (run_headscale if real else run_simulator)(tmp_path / "c"):
            assert load.pull(cluster_id, now=later + timedelta(seconds=60))
            again = Heat.objects.get(pk=cluster_id)
            assert 0 <= again.cpu < 1
            assert poll(cluster_id, now=later + timedelta(seconds=120)).outcome == "ok"
            assert Heat.objects.get(pk=cluster_id).at == later + timedelta(seconds=120)
            assert LoadSample.objects.filter(cluster_id=cluster_id).count() == 4

    def test_the_tasks_do_what_they_are_called(self, fleet_cluster):
        tasks.pull_load(fleet_cluster.cluster_id)
        tasks.watch_load()
        tasks.mark_hot()
        tasks.reassess_cluster(fleet_cluster.cluster_id)
        tasks.forget_old_rows()
        tasks.serve_waiting()

    def test_trouble_that_sixteen_see_at_once_is_one_alert(self):
        now = timezone.now()
        race_here(16, lambda number: alerts.raise_(Alert.Kind.BREAKER, "eu1", facts={"n": number}, now=now + 2 * number * alerts.OFTEN))
        [alert] = Alert.objects.all()
        assert alert.closed_at is None
        assert 1 <= alert.times <= 16  # whoever is late by the alert's clock has nothing new to say
        assert race_here(4, lambda _: alerts.over(Alert.Kind.BREAKER, "eu1", now=now)).count(True) == 1
        alerts.raise_(Alert.Kind.BREAKER, "eu1", facts={}, now=now)
        assert Alert.objects.count() == 2

    def test_samples_of_one_moment_race_and_one_is_kept(self, fleet_cluster):
        moments = [BEGIN + timedelta(seconds=2 * (number % 4)) for number in range(16)]
        took = race_here(16, lambda number: load.take(fleet_cluster.row, counters(), sessions=moments[number].second, at=moments[number]))
        kept = list(LoadSample.objects.order_by("id").values_list("at", flat=True))
        assert took.count(True) == len(kept)
        assert kept == sorted(set(kept)), "each a later one"
        assert heat(fleet_cluster).at == moments[3]


def test_old_samples_go_a_slice_at_a_time_and_young_ones_stay(fleet_cluster):
    for number in range(25):
        take(fleet_cluster, 10 * number)
    edge = BEGIN + timedelta(seconds=170)
    assert retention.drop(LoadSample.objects.all(), "at", before=edge, at_once=5) == 17
    assert LoadSample.objects.earliest("at").at == edge
    assert retention.drop(LoadSample.objects.all(), "at", before=edge, at_once=5) == 0
    assert retention.drop(LoadSample.objects.all(), "at", before=timezone.now(), at_once=5) == 8
    assert retention.drop(LoadSample.objects.all(), "at", before=timezone.now()) == 0
