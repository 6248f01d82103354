"""First contacts in numbers, against eight web processes: caps hold, one tenant gets one home, and trouble herds nobody."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta

import pytest
from django.db.models import Sum
from django.utils import timezone

from placement import clusters
from placement.engine.ledger import cap
from placement.models import Binding, Decision, Heat, Waiting
from tests import factories
from tests.live import race, run_web

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]
PROCESSES = 8


def customers(count, **plan_fields):
    return [factories.customer(max_devices=100, plan_fields={"expected_devices": 5, **plan_fields}) for _ in range(count)]


def homes(tenants):
    bound = Binding.objects.across_tenants().filter(tenant__in=[customer.tenant for customer in tenants])
    return Counter(bound.values_list("cluster_id", flat=True))


def sample(cluster, *, age, measured=0.0, **fields):
    """As the load task would have left it, so many intervals ago."""
    Heat.objects.create(cluster_id=cluster.cluster_id, at=timezone.now() - timedelta(seconds=10 * age), measured=measured, **fields)


def test_caps_hold_and_the_ledger_is_exact_whatever_eight_processes_try_at_once(fleet_clusters, tmp_path):
    rng = random.Random(20261124)
    pool = [fleet_clusters(capacity=rng.randint(20, 60), max_tenants=rng.choice([None, 4])) for _ in range(4)]
    tenants = [customer for load in (2, 5, 9) for customer in customers(16, expected_devices=load)]
    rng.shuffle(tenants)
    with run_web(tmp_path, workers=PROCESSES, threads=2) as service:
        answers = race(len(tenants), lambda n: service.bootstrap(tenants[n].secret).status)
    assert set(answers) == {200, 503}
    for cluster in pool:
        row = cluster.row
        bound = Binding.objects.across_tenants().filter(cluster_id=cluster.cluster_id)
        assert row.committed == (bound.aggregate(all=Sum("expected_load"))["all"] or 0) <= cap(row.capacity, "shared")
        assert row.tenants == bound.count() <= (row.max_tenants or row.tenants)
    assert sum(homes(tenants).values()) == answers.count(200) == Decision.objects.across_tenants().filter(outcome="placed").count()
    assert Waiting.objects.across_tenants().count() == answers.count(503)


def test_the_same_tenants_first_contacts_in_eight_processes_make_one_binding(fleet_clusters, tmp_path):
    for _ in range(3):
        fleet_clusters()
    tenants = customers(4)
    with run_web(tmp_path, workers=PROCESSES, threads=2) as service:
        answers = race(64, lambda n: service.bootstrap(tenants[n % 4].secret))
    assert {answer.status for answer in answers} == {200}
    for number, customer in enumerate(tenants):
        assert len({answer.body["cluster_id"] for answer in answers[number::4]}) == 1
        assert Decision.objects.of(customer.tenant).count() == 1


def test_with_half_of_the_samples_stale_the_ledger_decides_and_nobody_herds(fleet_clusters, tmp_path):
    pool = [fleet_clusters(capacity=200, metrics_url="http://127.0.0.1:9/metrics") for _ in range(6)]
    for cluster in pool[:4]:
        sample(cluster, age=30, measured=0.7)
    for cluster in pool[4:]:
        sample(cluster, age=0, measured=0.01)  # the only ones that look cold
    tenants = customers(60)
    with run_web(tmp_path, workers=4, threads=2) as service:
        answers = race(60, lambda n: service.bootstrap(tenants[n].secret).status)
    assert answers == [200] * 60
    assert max(homes(tenants).values()) <= 20  # ten each would be even; the two that look cold would have had thirty each


def test_a_stale_cluster_among_fresh_ones_gets_nobody(fleet_clusters, tmp_path):
    pool = [fleet_clusters(metrics_url="http://127.0.0.1:9/metrics") for _ in range(5)]
    sample(pool[0], age=30)
    for cluster in pool[1:]:
        sample(cluster, age=0, measured=0.2)
    tenants = customers(30)
    with run_web(tmp_path, workers=2) as service:
        assert race(30, lambda n: service.bootstrap(tenants[n].secret).status) == [200] * 30
    assert pool[0].cluster_id not in homes(tenants)


def test_an_open_breaker_keeps_newcomers_away(fleet_clusters, tmp_path):
    hot, calm = fleet_clusters(metrics_url="http://127.0.0.1:9/metrics"), fleet_clusters(metrics_url="http://127.0.0.1:9/metrics")
    sample(hot, age=0, measured=0.5, breaker_open=True)
    sample(calm, age=0, measured=0.5)
    tenants = customers(10)
    with run_web(tmp_path, workers=1) as service:
        assert race(10, lambda n: service.bootstrap(tenants[n].secret).status) == [200] * 10
    assert set(homes(tenants)) == {calm.cluster_id}


def test_a_flapping_cluster_disturbs_no_placement(fleet_clusters, tmp_path):
    flapping, *_steady = [fleet_clusters() for _ in range(3)]
    tenants = customers(40)
    told = {"actor": "system:tests", "now": timezone.now()}

    def knock(number):
        if number % 5 == 0:
            verb = clusters.cordon if number % 10 == 0 else clusters.uncordon
            row = flapping.row
            if (row.state == "active") == (verb is clusters.cordon):
                verb(row, **told)
        return service.bootstrap(tenants[number].secret).status

    with run_web(tmp_path, workers=2) as service:
        assert [knock(number) for number in range(40)] == [200] * 40
    for customer in tenants:
        decision = Decision.objects.of(customer.tenant).get()
        states = {facts["cluster_id"]: facts["state"] for look in decision.document["looks"] for facts in look["clusters"]}
        assert states[decision.cluster_id] == "active"


def test_placements_go_on_while_valkey_is_down(fleet_clusters, tmp_path):
    for _ in range(2):
        fleet_clusters()
    tenants = customers(12)
    with run_web(tmp_path, workers=2, REDIS_URL="redis://127.0.0.1:9/0") as service:
        assert race(12, lambda n: service.bootstrap(tenants[n].secret).status) == [200] * 12


def test_when_every_cluster_is_full_devices_are_told_so_and_the_queue_is_served_in_order(fleet_clusters, tmp_path):
    full = fleet_clusters(capacity=10, committed=8)
    first, second = customers(2)
    with run_web(tmp_path, workers=2) as service:
        for customer in (first, second):
            answer = service.bootstrap(customer.secret)
            assert (answer.status, answer.code, int(answer.headers["retry-after"]) > 0) == (503, "no-cluster-available", True)
        type(full.row).objects.filter(pk=full.cluster_id).update(capacity=16)  # 13 of it may be promised: room for one
        assert service.bootstrap(second.secret).status == 503
        assert service.bootstrap(first.secret).status == 200
