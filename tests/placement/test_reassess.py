"""The ledger follows what tenants have: the plan's figure for a day, then their own p95, and its sums are always those of its bindings."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.db.models import Sum
from django.utils import timezone

from placement import bindings, history, reassess
from placement.engine.regions import Wish
from placement.models import Binding, Cluster, Device, TenantHour
from tests import factories
from tests.live import race_here

pytestmark = pytest.mark.django_db


def settled(**plan_fields):
    tenant = factories.tenant(**({"expected_devices": 10} | plan_fields))
    return tenant, bindings.settle(tenant, wish=Wish(), now=timezone.now())


def lived(tenant, hours, peak):
    """The tenant has had so many devices for so many hours, and has lived here longer."""
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    rows = [TenantHour(tenant=tenant, hour=now - timedelta(hours=number), peak=peak) for number in range(hours)]
    TenantHour.objects.across_tenants().bulk_create(rows)
    Binding.objects.of(tenant).update(created_at=now - timedelta(hours=hours + 1))


def joined(tenant, cluster_id, number, **fields):
    now = timezone.now()
    seen = {"machine_key": "m", "node_key": "n", "name": f"d{number}", "joined_at": now, "seen_at": now, **fields}
    Device.objects.create(tenant=tenant, cluster_id=cluster_id, node_id=number, **seen)


def load_of(tenant):
    return Binding.objects.of(tenant).get().expected_load


def sums_are_right():
    for cluster in Cluster.objects.all():
        rows = Binding.objects.across_tenants().filter(cluster=cluster)
        assert (cluster.committed, cluster.tenants) == (rows.aggregate(all=Sum("expected_load"))["all"] or 0, rows.count())


def test_for_a_day_a_tenant_counts_what_its_plan_says_and_then_what_it_has(fleet_cluster):
    tenant, _ = settled()
    lived(tenant, 23, 3)
    reassess.reassess(fleet_cluster.cluster_id, now=timezone.now())
    assert load_of(tenant) == 10
    lived_longer, _ = settled()
    lived(lived_longer, 30, 3)
    assert reassess.reassess(fleet_cluster.cluster_id, now=timezone.now()) == 1
    assert load_of(lived_longer) == 3
    sums_are_right()


def test_a_change_of_plan_counts_at_the_next_look(fleet_cluster):
    tenant, _ = settled()
    tenant.plan.expected_devices = 40
    tenant.plan.save()
    reassess.reassess(fleet_cluster.cluster_id, now=timezone.now())
    assert load_of(tenant) == 40
    sums_are_right()


def test_rules_of_its_own_make_a_tenant_count_for_more(fleet_cluster):
    tenant, _ = settled()
    Binding.objects.of(tenant).update(rules=3)
    reassess.reassess(fleet_cluster.cluster_id, now=timezone.now())
    assert load_of(tenant) == 20


def test_a_ledger_that_drifted_is_set_right(fleet_cluster):
    settled(), settled()
    Cluster.objects.filter(pk=fleet_cluster.cluster_id).update(committed=7, tenants=9)
    reassess.reassess(fleet_cluster.cluster_id, now=timezone.now())
    sums_are_right()


def test_an_hours_peak_is_the_most_that_was_seen(fleet_cluster):
    tenant, _ = settled()
    at = timezone.now().replace(minute=10)
    for count, minute in ((3, 10), (5, 20), (2, 30)):
        Device.objects.of(tenant).delete()
        for number in range(count):
            joined(tenant, fleet_cluster.cluster_id, number)
        history.note(fleet_cluster.cluster_id, at=at.replace(minute=minute))
    assert TenantHour.objects.of(tenant).get().peak == 5
    assert history.forget(now=at + timedelta(days=15)) == 1


def test_a_tenant_whose_devices_all_left_counts_for_one_a_week_later_and_not_for_its_plan_again(fleet_cluster):
    tenant, _ = settled()
    now = timezone.now()
    Binding.objects.of(tenant).update(created_at=now - timedelta(days=30))
    lived_before = [TenantHour(tenant=tenant, hour=now - timedelta(days=8, hours=number), peak=5) for number in range(48)]
    TenantHour.objects.across_tenants().bulk_create(lived_before)
    for number in range(7 * 24):
        history.note(fleet_cluster.cluster_id, at=now - timedelta(hours=number))
    reassess.reassess(fleet_cluster.cluster_id, now=now)
    assert load_of(tenant) == 1
    sums_are_right()


def test_hours_count_what_lives_on_the_tenants_cluster_and_is_not_gone(fleet_clusters):
    clusters, at = [fleet_clusters(), fleet_clusters()], timezone.now()
    tenant, binding = settled()
    [elsewhere] = [cluster.cluster_id for cluster in clusters if cluster.cluster_id != binding.cluster_id]
    joined(tenant, binding.cluster_id, 1)
    joined(tenant, binding.cluster_id, 2)
    joined(tenant, binding.cluster_id, 3, gone_at=at)
    joined(tenant, elsewhere, 4)
    for cluster in clusters:
        history.note(cluster.cluster_id, at=at)
    assert TenantHour.objects.of(tenant).get().peak == 2


@pytest.mark.django_db(transaction=True)
def test_the_sums_stay_right_while_tenants_are_being_placed(fleet_clusters):
    pool = [fleet_clusters() for _ in range(2)]
    rng = random.Random(7)

    def act(number):
        if number % 3 == 0:
            return reassess.reassess(rng.choice(pool).cluster_id, now=timezone.now())
        return settled()

    race_here(24, act)
    sums_are_right()
