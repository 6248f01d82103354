"""A tenant's first contact: regions, residency, dedicated clusters, the queue, and what is kept of the decision."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from acs import queue
from placement import bindings, decisions, nearness
from placement.clusters import seal_key
from placement.engine.regions import Wish
from placement.errors import ClusterUnreachable, NoClusterAvailable, RegionNotInPlan
from placement.models import Alert, Binding, Cluster, Decision, Waiting
from tenants import lifecycle
from tests import factories

pytestmark = pytest.mark.django_db
ACTED = {"actor": "system:tests"}


def settle(tenant, *, later: float = 0, **wish):
    return bindings.settle(tenant, wish=Wish(**wish), now=timezone.now() + timedelta(seconds=later))


def refused(tenant, **wish):
    with pytest.raises(NoClusterAvailable):
        settle(tenant, **wish)


def a_tenant(**fields):
    return factories.tenant(expected_devices=fields.pop("expected_devices", 5), **fields)


# ---- regions and residency -------------------------------------------------------------------------------------------


def test_the_nearest_measured_region_takes_a_tenant(fleet_clusters):
    fleet_clusters(region="eu"), fleet_clusters(region="us")
    assert settle(a_tenant(), latencies={"eu": 120.0, "us": 20.0}).cluster.region == "us"


def test_an_operators_table_tells_which_region_is_near(fleet_clusters):
    fleet_clusters(region="eu"), fleet_clusters(region="us")
    now = timezone.now()
    nearness.learn("198.51.0.0/16", "eu", now=now, **ACTED)
    nearness.learn("198.51.100.0/24", "us", now=now, **ACTED)
    nearness.learn("DE", "eu", now=now, **ACTED)
    assert nearness.near("198.51.100.7", "DE") == "us"
    assert nearness.near("198.51.7.7", "") == "eu"
    assert nearness.near("2001:db8::1", "DE") == "eu"
    assert nearness.near("2001:db8::1", "FR") == ""
    assert settle(a_tenant(), near="us").cluster.region == "us"


def test_a_full_region_is_left_for_a_neighbour_unless_the_device_wished_it(fleet_clusters):
    fleet_clusters(region="eu", capacity=4), fleet_clusters(region="us"), fleet_clusters(region="ap")
    nearness.describe("eu", title="Europe", neighbours=["ap"], now=timezone.now(), **ACTED)
    assert settle(a_tenant(default_region="eu")).cluster.region == "ap"
    refused(a_tenant(default_region="eu"), want_region="eu")


def test_a_tenant_never_leaves_its_residency_for_room(fleet_clusters):
    fleet_clusters(region="eu", residency="de", capacity=4), fleet_clusters(region="eu"), fleet_clusters(region="us")
    nearness.describe("eu", title="", neighbours=["us"], now=timezone.now(), **ACTED)
    bound = a_tenant(default_region="eu")
    bound.residency = "de"
    bound.save()
    refused(bound)
    home = fleet_clusters(region="us", residency="de")
    assert settle(bound).cluster_id == home.cluster_id


def test_a_wish_for_a_region_without_the_residency_is_refused_for_good(fleet_clusters):
    fleet_clusters(region="us")
    tenant = a_tenant()
    tenant.residency = "de"
    with pytest.raises(RegionNotInPlan, match="residency"):
        settle(tenant, want_region="us")


def test_a_service_class_has_clusters_of_its_own(fleet_clusters):
    fleet_clusters()
    premium = fleet_clusters(service_class="premium")
    assert settle(a_tenant(service_class="premium")).cluster_id == premium.cluster_id
    assert settle(a_tenant()).cluster_id != premium.cluster_id


def test_a_tenant_without_any_hint_goes_to_the_emptier_region(fleet_clusters):
    fleet_clusters(region="ap", committed=100), fleet_clusters(region="us")
    assert settle(a_tenant()).cluster.region == "us"


# ---- states ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["cordoned", "draining", "offline"])
def test_only_active_clusters_take_tenants(fleet_clusters, state):
    fleet_clusters(state=state)
    refused(a_tenant())


def test_a_cluster_that_was_cordoned_since_the_last_look_is_not_chosen(fleet_clusters):
    gone, home = fleet_clusters(), fleet_clusters()
    settle(a_tenant())
    Cluster.objects.filter(pk=gone.cluster_id).update(state="cordoned")
    for _ in range(5):
        assert settle(a_tenant()).cluster_id == home.cluster_id


def test_the_ledger_counts_devices_and_tenants_and_stops_at_the_cap(fleet_clusters):
    cluster = fleet_clusters(capacity=20)
    settle(a_tenant()), settle(a_tenant()), settle(a_tenant())
    assert (cluster.row.committed, cluster.row.tenants) == (15, 3)
    refused(a_tenant())  # 20 would pass 85 % of 20
    assert (cluster.row.committed, cluster.row.tenants) == (15, 3)


def test_a_cluster_takes_no_more_tenants_than_its_operator_said(fleet_clusters):
    fleet_clusters(max_tenants=1)
    settle(a_tenant())
    refused(a_tenant())


# ---- the decision ----------------------------------------------------------------------------------------------------


def test_every_decision_is_kept_and_can_be_made_again_on_paper(fleet_clusters):
    for _ in range(5):
        fleet_clusters(capacity=100)
    for _ in range(12):
        tenant = a_tenant()
        binding = settle(tenant)
        stored = Decision.objects.of(tenant).get()
        assert (stored.outcome, stored.cluster_id, stored.load) == ("placed", binding.cluster_id, 5)
        assert stored.engine
        assert stored.ring
        newcomer = decisions.newcomer_of(stored)
        for look in decisions.looks_of(stored):
            assert decisions.again(newcomer, look) == look.decision
        assert decisions.looks_of(stored)[-1].decision.chosen == binding.cluster_id


def test_a_device_that_asks_every_minute_leaves_one_refusal(fleet_clusters):
    fleet_clusters(capacity=4)
    tenant = a_tenant()
    for _ in range(3):
        refused(tenant)
    stored = Decision.objects.of(tenant).get()
    assert (stored.outcome, stored.cluster_id) == ("refused", None)
    assert stored.document["looks"][0]["refusals"] == {"has_room_for": 1}


# ---- the queue -------------------------------------------------------------------------------------------------------


def test_who_cannot_be_placed_keeps_a_place_and_operators_are_told_what_to_add(fleet_clusters):
    fleet_clusters(capacity=4)
    tenant = a_tenant(default_region="eu")
    refused(tenant)
    first = Waiting.objects.of(tenant).get()
    refused(tenant, later=2)
    again = Waiting.objects.of(tenant).get()
    assert (again.since, again.asked, again.regions) == (first.since, 2, ["eu"])
    alert = Alert.objects.get(kind="no-room", closed_at=None)
    assert alert.times == 2
    assert "room for 5 devices" in alert.facts["provision"]


def test_a_device_whose_sibling_took_the_last_room_meanwhile_lives_there_too(fleet_clusters, monkeypatch):
    cluster = fleet_clusters(capacity=6)
    tenant, prefer = a_tenant(), bindings.prefer

    def meanwhile(*given, **named):
        monkeypatch.setattr(bindings, "prefer", prefer)
        settle(tenant)
        return prefer(*given, **named)

    monkeypatch.setattr(bindings, "prefer", meanwhile)
    assert settle(tenant).cluster_id == cluster.cluster_id
    assert not Waiting.objects.of(tenant).exists()


def test_whoever_waited_longest_is_placed_first_when_room_appears(fleet_clusters):
    cluster = fleet_clusters(capacity=4)
    earlier, later = a_tenant(), a_tenant()
    refused(earlier), refused(later)
    Cluster.objects.filter(pk=cluster.cluster_id).update(capacity=6)  # room for one of the two
    refused(later)
    assert Binding.objects.of(earlier).get().cluster_id == cluster.cluster_id
    assert not Waiting.objects.of(earlier).exists()


def test_a_large_tenant_that_fits_nowhere_holds_nobody_up(fleet_clusters):
    fleet_clusters(capacity=10)
    refused(a_tenant(expected_devices=50))
    assert settle(a_tenant())


def test_the_queue_is_worked_off_without_its_devices(fleet_clusters):
    cluster = fleet_clusters(capacity=4)
    tenant = a_tenant(default_region="eu")
    refused(tenant)
    Cluster.objects.filter(pk=cluster.cluster_id).update(capacity=100)
    assert queue.serve_all(now=timezone.now()) == 1
    assert settle(tenant).cluster_id == cluster.cluster_id
    assert not Alert.objects.filter(closed_at=None).exists()
    assert queue.serve_all(now=timezone.now()) == 0


def test_places_nobody_asks_for_and_those_of_closed_tenants_are_forgotten(fleet_clusters):
    fleet_clusters(capacity=4)
    quiet, closed = a_tenant(), a_tenant()
    refused(quiet), refused(closed)
    lifecycle.close(closed, now=timezone.now(), **ACTED)
    queue.serve_all(now=timezone.now())
    assert not Waiting.objects.of(closed).exists()
    assert Waiting.objects.of(quiet).exists()
    queue.serve_all(now=timezone.now() + timedelta(days=8))
    assert not Waiting.objects.of(quiet).exists()


# ---- servers that have to be asked -----------------------------------------------------------------------------------


def outside(fleet_clusters, **fields):
    """A cluster outside of every fleet, whose server is not there."""
    cluster = fleet_clusters(fleet_id=None, admin_url="http://127.0.0.1:9", **fields)
    Cluster.objects.filter(pk=cluster.cluster_id).update(admin_key_sealed=seal_key(cluster.cluster_id, "key"))
    return cluster


def test_a_server_that_is_down_leaves_its_tenants_to_the_next_cluster(fleet_clusters):
    outside(fleet_clusters)
    home = fleet_clusters()
    for _ in range(4):
        assert settle(a_tenant()).cluster_id == home.cluster_id


def test_when_every_server_that_may_is_down_the_device_hears_of_that(fleet_clusters):
    outside(fleet_clusters)
    with pytest.raises(ClusterUnreachable):
        settle(a_tenant())


def test_the_trouble_of_whoever_waited_longer_is_not_the_newcomers(fleet_clusters):
    full = fleet_clusters(capacity=4)
    earlier = a_tenant(default_region="eu", expected_devices=90)  # more than there will be room for here
    refused(earlier)
    Waiting.objects.of(earlier).update(regions=["eu", "us"])
    outside(fleet_clusters, region="us")
    Cluster.objects.filter(pk=full.cluster_id).update(capacity=100)
    assert settle(a_tenant(default_region="eu")).cluster_id == full.cluster_id


# ---- dedicated -------------------------------------------------------------------------------------------------------


def test_a_dedicated_cluster_takes_one_tenant(fleet_clusters):
    fleet_clusters()
    own = fleet_clusters(kind="dedicated")
    tenant = a_tenant(strategy="dedicated")
    assert settle(tenant).cluster_id == own.cluster_id
    assert own.row.reserved_for == tenant
    refused(a_tenant(strategy="dedicated"))
    assert Alert.objects.get(closed_at=None).kind == "no-dedicated"


def test_a_tenant_that_buys_a_dedicated_cluster_stays_waits_and_gets_the_next_free_one(fleet_clusters):
    shared = fleet_clusters()
    tenant = a_tenant()
    settle(tenant)
    lifecycle.change_plan(tenant, factories.plan(strategy="dedicated"), now=timezone.now(), **ACTED)
    queue.serve_all(now=timezone.now())
    waiting = Waiting.objects.of(tenant).get()
    assert (waiting.want, Binding.objects.of(tenant).get().cluster_id) == ("dedicated", shared.cluster_id)
    assert Alert.objects.filter(kind="no-dedicated", closed_at=None).exists()
    own = fleet_clusters(kind="dedicated")
    queue.serve_all(now=timezone.now())
    assert own.row.reserved_for == tenant
    assert own.cluster_id in Waiting.objects.of(tenant).get().why
    assert Binding.objects.of(tenant).get().cluster_id == shared.cluster_id
    assert not Alert.objects.filter(closed_at=None).exists()
    refused(a_tenant(strategy="dedicated"))  # it is kept for the one who waited


def test_a_tenant_that_leaves_the_dedicated_plan_gives_its_reservation_back(fleet_clusters):
    fleet_clusters()
    tenant = a_tenant()
    settle(tenant)
    dedicated, shared = factories.plan(strategy="dedicated"), tenant.plan
    lifecycle.change_plan(tenant, dedicated, now=timezone.now(), **ACTED)
    own = fleet_clusters(kind="dedicated")
    queue.serve_all(now=timezone.now())
    lifecycle.change_plan(tenant, shared, now=timezone.now(), **ACTED)
    queue.serve_all(now=timezone.now())
    assert own.row.reserved_for is None
    assert not Waiting.objects.of(tenant).exists()


def test_a_cluster_for_more_devices_than_there_are_takes_tenants(fleet_clusters):
    """Its cap is worked out in numbers that are large enough."""
    fleet_clusters(capacity=2_000_000_000)
    bindings.settle(factories.tenant(), wish=Wish(), now=timezone.now())
    assert Binding.objects.across_tenants().count() == 1
