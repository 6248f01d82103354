"""The placement engine through /api/v1: what operators' programs read of it, and what they may try."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from placement import bindings, nearness
from placement.engine.regions import Wish
from placement.errors import NoClusterAvailable
from placement.models import Alert, Decision, Heat
from tests import factories
from tests.api.callers import operator, program_of, said

pytestmark = pytest.mark.django_db


def settled(account="", *, wish=None, **plan_fields):
    tenant = factories.tenant(account, **{"expected_devices": 5, **plan_fields})
    bindings.settle(tenant, wish=wish or Wish(), now=timezone.now())
    return tenant


def refused(account="", **plan_fields):
    with pytest.raises(NoClusterAvailable):
        settled(account, **plan_fields)


def test_pools_as_they_stand(fleet_clusters):
    a, b = fleet_clusters(capacity=100, committed=60), fleet_clusters(capacity=100, committed=20, residency="de", state="cordoned")
    fleet_clusters(kind="dedicated", region="us")
    Heat.objects.create(cluster_id=b.cluster_id, at=timezone.now(), measured=0.2, breaker_open=True)
    standing = operator().get("placement/pools").json()
    first, second = standing["pools"]
    assert (first["pool"], first["region"], first["service_class"], first["residency"]) == ("eu/standard/*", "eu", "standard", "*")
    assert (first["clusters"], first["active"], first["mean"], first["room"]) == (2, 1, 0.6, 25)
    assert first["highest"] == {"cluster_id": a.cluster_id, "utilisation": 0.6}
    assert (first["open_breakers"], first["stale"], first["blind"]) == ([b.cluster_id], [], False)
    assert (second["pool"], second["highest"], second["mean"]) == ("eu/standard/de", None, 0.0)
    assert standing["dedicated"] == [{"region": "us", "clusters": 1, "free": 1}]


def test_decisions_are_listed_by_account_and_read_with_all_that_was_seen(fleet_cluster):
    tenant, other = settled("acme-inc"), settled("big-corp")
    chief = operator()
    listed = chief.get("placement/decisions").json()["results"]
    assert [row["account"] for row in listed] == ["big-corp", "acme-inc"]
    (row,) = chief.get("placement/decisions?account=acme-inc").json()["results"]
    assert (row["outcome"], row["cluster_id"], row["pool"], row["load"]) == ("placed", fleet_cluster.cluster_id, "eu/standard/*", 5)
    assert "document" not in row
    whole = chief.get(f"placement/decisions/{row['id']}").json()
    assert whole["document"] == Decision.objects.of(tenant).get().document
    assert chief.get("placement/decisions?outcome=refused").json()["results"] == []
    assert Decision.objects.of(other).count() == 1


def test_the_queue_says_what_to_provision_and_alerts_say_it_too(fleet_clusters):
    fleet_clusters(capacity=4)
    refused("acme-inc", default_region="eu")
    chief = operator()
    (waits,) = chief.get("placement/waiting").json()["results"]
    assert (waits["account"], waits["want"], waits["regions"], waits["load"], waits["asked"]) == ("acme-inc", "room", ["eu"], 5, 1)
    assert waits["provision"] == "a shared cluster of the service class standard in eu with room for 5 devices"
    assert "not enough room" in waits["why"]
    (alert,) = chief.get("placement/alerts?open=true&kind=no-room").json()["results"]
    assert (alert["kind"], alert["closed_at"]) == ("no-room", None)
    Alert.objects.update(closed_at=timezone.now())
    assert chief.get("placement/alerts?open=true").json()["results"] == []
    assert len(chief.get("placement/alerts?open=false").json()["results"]) == 1


def test_regions_with_their_neighbours_and_who_is_near(fleet_clusters):
    fleet_clusters(region="eu"), fleet_clusters(region="eu"), fleet_clusters(region="us")
    now = timezone.now()
    nearness.describe("eu", title="Europe", neighbours=["us"], now=now, actor="system:tests")
    nearness.learn("DE", "eu", now=now, actor="system:tests")
    assert operator().get("placement/regions").json()["regions"] == [
        {"name": "eu", "title": "Europe", "clusters": 2, "neighbours": ["us"], "near": ["DE"]},
        {"name": "us", "title": "", "clusters": 1, "neighbours": [], "near": []},
    ]


def test_lists_cost_the_same_for_many_rows(fleet_clusters):
    fleet_clusters(capacity=4)
    chief = operator()

    def queries(path):
        with CaptureQueriesContext(connection) as asked:
            assert chief.get(path).json()["results"]
        return len(asked)

    paths = ("placement/waiting", "placement/decisions")
    for _ in range(2):
        refused(default_region="eu")
    few = [queries(path) for path in paths] and [queries(path) for path in paths]  # the first ones also note the token's use
    for _ in range(6):
        refused(default_region="eu")
    assert [queries(path) for path in paths] == few


@pytest.mark.parametrize(
    "path",
    [
        "placement/pools?region=eu",
        "placement/decisions?outcome=maybe",
        "placement/decisions?tenant=x",
        "placement/alerts?open=perhaps",
        "placement/alerts?kind=fire",
        "placement/waiting?limit=0",
        "placement/regions?x=1",
    ],
)
def test_parameters_that_nobody_reads_are_refused(path):
    assert said(operator().get(path)) == (400, "malformed-request")


def test_a_tenants_shape_and_its_residency(fleet_clusters):
    fleet_clusters(residency="de")
    plan = factories.plan(service_class="premium")
    chief = operator()
    made = chief.post("tenants", {"account": "acme-inc", "plan": plan.name, "residency": "de"})
    assert (made.status_code, made.json()["residency"]) == (201, "de")
    assert said(chief.post("tenants", {"account": "big-corp", "plan": plan.name, "residency": "d e"})) == (400, "malformed-request")
    settled("small-one")
    answer = chief.patch("tenants/small-one", {"residency": "us"})
    assert said(answer) == (409, "wrong-state")
    assert "has to move" in answer.json()["detail"]
    assert chief.patch("tenants/small-one", {"residency": "de"}).json()["residency"] == "de"
    assert next(row for row in chief.get("plans").json()["results"] if row["name"] == plan.name)["service_class"] == "premium"
    (cluster,) = chief.get("clusters").json()["results"]
    assert (cluster["service_class"], cluster["residency"], cluster["tenants"]) == ("standard", "de", 1)


def test_a_reader_of_clusters_reads_and_another_scope_does_not(fleet_cluster):
    assert operator("clusters:read").get("placement/pools").status_code == 200
    assert said(operator("tenants").get("placement/pools")) == (403, "missing-scope")
    assert said(program_of(factories.tenant()).get("placement/pools")) == (404, "not-found")
