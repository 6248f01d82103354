"""Load, history and ledger as they run for good: beat and workers under the worker's own rights, all of it twice."""

from __future__ import annotations

import itertools
import sys
from contextlib import ExitStack
from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from acs import tasks
from placement import alerts, bindings
from placement.engine.regions import Wish
from placement.models import Alert, Cluster, Heat, LoadSample, TenantHour
from tests import factories
from tests.cluster_servers import serve_cluster
from tests.conftest import url_as
from tests.live import run, wait_for
from tests.servers import run_simulator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]
INTERVAL = 1  # second


def start(stack: ExitStack, folder, number: int) -> None:
    celery, environment = [sys.executable, "-m", "celery", "-A", "acs.celery"], {"ACS_LOAD_SECONDS": str(INTERVAL)}
    beat = ["beat", "--loglevel", "WARNING", "--schedule", str(folder / f"beat-{number}"), "--pidfile="]
    worker = ["worker", "--loglevel", "WARNING", "--concurrency", "2", "-n", f"w{number}"]
    stack.enter_context(run([*celery, *worker], folder / f"worker-{number}.log", role="worker", **environment))
    stack.enter_context(run([*celery, *beat], folder / f"beat-{number}.log", role="worker", **environment))


def samples(cluster_id):
    return list(LoadSample.objects.filter(cluster_id=cluster_id).order_by("id").values_list("at", flat=True))


def is_stale(cluster_id):
    return Alert.objects.filter(kind="samples-stale", subject=cluster_id, closed_at=None).exists()


def test_two_of_everything_sample_once_an_interval_tell_when_a_server_is_gone_and_may_do_what_they_must(tmp_path):
    with ExitStack() as stack:
        with serve_cluster(tmp_path / "c", real=False) as (cluster_id, _):
            for number in (1, 2):
                start(stack, tmp_path, number)
            wait_for(lambda: len(samples(cluster_id)) >= 5, "samples are taken", seconds=40, log=tmp_path / "worker-1.log")
            taken = samples(cluster_id)
            gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(taken)]
            assert all(INTERVAL / 2 <= gap < 5 * INTERVAL for gap in gaps), gaps
            do_the_rest(cluster_id)
        wait_for(lambda: is_stale(cluster_id), "operators hear that it is gone", seconds=40)
        assert Heat.objects.get(pk=cluster_id).failures > 0
        with run_simulator(tmp_path / "c"):
            wait_for(lambda: not is_stale(cluster_id), "and that it is back", seconds=20)
    for number in (1, 2):
        assert "permission denied" not in (tmp_path / f"worker-{number}.log").read_text()


def do_the_rest(cluster_id: str) -> None:
    """Every other task, in the workers: it shows in the rows that each of them writes."""
    tenant, now = factories.tenant(expected_devices=300), timezone.now()
    bindings.settle(tenant, wish=Wish(), now=now)
    LoadSample.objects.create(
        cluster_id=cluster_id, at=now - timedelta(days=8), sessions=0, cpu_seconds=0, memory_bytes=0, queue_depth=0, peer_calculations=0
    )
    TenantHour.objects.across_tenants().create(tenant=tenant, hour=now - timedelta(days=15), peak=1)
    Cluster.objects.filter(pk=cluster_id).update(committed=450)
    alerts.raise_(Alert.Kind.BREAKER, "gone", facts={}, now=now)
    tasks.mark_hot.delay()
    tasks.watch_load.delay()
    tasks.forget_old_rows.delay()
    wait_for(lambda: Heat.objects.get(pk=cluster_id).hot_since, "it is marked hot")
    wait_for(lambda: not Alert.objects.filter(subject="gone", closed_at=None).exists(), "the alert about a cluster that is none is closed")
    wait_for(lambda: not TenantHour.objects.across_tenants().exists(), "the old hour is forgotten")
    tasks.poll_cluster.delay(cluster_id)
    wait_for(lambda: TenantHour.objects.of(tenant).filter(peak=0).exists(), "the poll notes the hour")
    tasks.reassess_all.delay()
    wait_for(lambda: Cluster.objects.get(pk=cluster_id).committed == 300, "the ledger is made right")
    assert not LoadSample.objects.filter(at__lt=now - timedelta(days=7)).exists()


def test_the_web_role_reads_heat_and_writes_none(fleet_cluster):
    Heat.objects.create(cluster_id=fleet_cluster.cluster_id, measured=0.5)
    with psycopg.connect(url_as("acs_web"), autocommit=True) as web:
        assert web.execute("select measured from placement_heat").fetchall() == [(0.5,)]
        for statement in (
            "update placement_heat set measured = 0, breaker_open = false",
            "delete from placement_heat",
            "delete from placement_loadsample",
            "update placement_tenanthour set peak = 0",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                web.execute(statement)
