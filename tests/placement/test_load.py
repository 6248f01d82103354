"""Samples of running servers: taken one at a time, believed in order, missed without harm."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from django.utils import timezone

from acs import tasks
from acs.poll import poll
from placement import load
from placement.headscale.metrics import LoadReading
from placement.models import Alert, Cluster, Heat, LoadSample
from tests.cluster_servers import serve_cluster
from tests.fakes.wire import answering, hanging, saying
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
    from placement import facts

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


@pytest.mark.parametrize("reply", [hanging(30), saying(500, "no"), saying(200, "x 1\n")], ids=["silent", "broken", "not headscale"])
def test_a_server_that_does_not_tell_changes_nothing_but_the_count_of_failures(fleet_cluster, reply, monkeypatch):
    monkeypatch.setattr(load, "TIMEOUT", 0.3)
    take(fleet_cluster, 0, sessions=5)
    with answering(reply) as server:
        Cluster.objects.filter(pk=fleet_cluster.cluster_id).update(metrics_url=f"{server.url}/metrics")
        assert not load.pull(fleet_cluster.cluster_id, now=timezone.now())
    kept = heat(fleet_cluster)
    assert (kept.sessions, kept.failures) == (5, 1)
    assert Alert.objects.get(closed_at=None).kind == "samples-stale"  # the last one is an hour old


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
        tasks.mark_hot()
        tasks.reassess_cluster(fleet_cluster.cluster_id)
        tasks.forget_old_polls()
        tasks.serve_waiting()
