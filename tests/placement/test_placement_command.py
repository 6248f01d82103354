"""`manage.py placement`: what the engine did in words, what it knows in tables, and what would be, on paper."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from acs import queue
from placement import bindings
from placement.engine.regions import Wish
from placement.errors import NoClusterAvailable
from placement.models import Cluster, Decision, Heat
from tenants import lifecycle
from tenants.models import AuditEvent
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(capsys: Any) -> Any:
    def call(*words: str) -> str:
        call_command("placement", *words)
        return capsys.readouterr().out

    return call


def settled(account="", *, wish=None, **plan_fields):
    tenant = factories.tenant(account, **{"expected_devices": 5, **plan_fields})
    bindings.settle(tenant, wish=wish or Wish(), now=timezone.now())
    return tenant


def refused(account="", **plan_fields):
    with pytest.raises(NoClusterAvailable):
        settled(account, **plan_fields)


# ---- explain ---------------------------------------------------------------------------------------------------------


def test_explain_tells_who_was_weighed_who_was_refused_and_why(fleet_clusters, run):
    home, hot, shut = fleet_clusters(), fleet_clusters(), fleet_clusters(state="cordoned")
    Heat.objects.create(cluster_id=hot.cluster_id, at=timezone.now(), measured=1.1, breaker_open=True)
    settled("acme-inc", wish=Wish(latencies={"eu": 21.5}))
    told = run("explain", "acme-inc")
    assert f"acme-inc lives on {home.cluster_id} (eu) since " in told
    assert f"placed on {home.cluster_id}" in told
    assert "newcomer: 5 devices, class standard, shared" in told
    assert "regions: eu (21.5 ms away, the nearest that the device measured)" in told
    assert "eu/standard/*: ring " in told
    assert "the ring's own choice" in told
    assert f"1. {home.cluster_id}  0.0 % -> 1.0 %  <- chosen" in told
    assert f"not {hot.cluster_id}: its breaker is open" in told
    assert f"not {shut.cluster_id}: it is not active" in told
    assert "another one" not in told


def test_explain_tells_what_a_waiting_tenant_needs(fleet_clusters, run):
    fleet_clusters(capacity=4)
    refused("acme-inc", default_region="eu")
    told = run("explain", "acme-inc")
    assert "acme-inc waits for room on a cluster since " in told
    assert "to provision: a shared cluster of the service class standard in eu with room for 5 devices" in told
    assert "regions: eu (the plan's default)" in told
    assert "its only cluster may not: it has not enough room" in told
    Cluster.objects.update(capacity=400)
    bindings.settle(Decision.objects.across_tenants().get().tenant, wish=Wish(), now=timezone.now())
    told = run("explain", "acme-inc")
    assert "lives on" in told
    assert "waits" not in told
    assert told.count("regions:") == 1, "the refusal is history"


def test_explain_gives_the_stored_documents(fleet_cluster, run):
    tenant = settled("acme-inc")
    document = json.loads(run("explain", "acme-inc", "--json"))
    stored = Decision.objects.of(tenant).get()
    assert document["binding"]["cluster"] == fleet_cluster.cluster_id
    assert document["decisions"][0]["document"] == stored.document
    assert document["waiting"] is None


def test_a_tenant_that_nobody_asked_for_yet_and_one_that_is_not_there(run):
    factories.tenant("acme-inc")
    assert "its first device places it" in run("explain", "acme-inc")
    with pytest.raises(CommandError, match="No tenant has the account"):
        call_command("placement", "explain", "nobody")


# ---- pools, queue, alerts --------------------------------------------------------------------------------------------


def test_pools_show_means_room_breakers_and_blindness(fleet_clusters, run):
    a, b = fleet_clusters(capacity=100, committed=60), fleet_clusters(capacity=100, committed=20, residency="de")
    fleet_clusters(region="us", metrics_url="http://127.0.0.1:9/metrics")  # never sampled since it was registered
    fleet_clusters(kind="dedicated"), fleet_clusters(kind="dedicated", tenants=1)
    Heat.objects.create(cluster_id=b.cluster_id, at=timezone.now(), measured=0.2, breaker_open=True)
    told = run("pools").splitlines()
    assert told[1].split() == ["eu/standard/*", "2", "2", "0", "40.0", "%", "60.0", "%", a.cluster_id, "40.8", "%", "25", "1"]
    assert told[2].startswith("eu/standard/de")
    assert f"eu/standard/* has open breakers: {b.cluster_id}" in told
    assert "us/standard/* is blind: more than half of its samples are old, promises alone decide" in told
    assert "dedicated in eu: 2 clusters, 1 free" in told


def test_an_empty_fleet_is_said(run):
    assert run("pools") == "no pool: no shared cluster is registered\n"
    assert run("queue") == "nobody waits\n"
    assert run("alerts") == "no alert is open\n"
    assert run("regions") == "no region yet\n"


def test_queue_and_alerts_say_what_to_provision(fleet_clusters, run):
    fleet_clusters(capacity=4)
    refused("acme-inc", default_region="eu")
    tenant = settled("big-corp", expected_devices=1)
    lifecycle.change_plan(tenant, factories.plan(strategy="dedicated", expected_devices=50), now=timezone.now(), actor="system:tests")
    queue.serve_all(now=timezone.now())
    told = run("queue")
    assert "acme-inc  room on a cluster" in told
    assert "a dedicated cluster in eu with room for 50 devices" in told
    assert "no dedicated cluster is free" in told
    alerts = run("alerts")
    assert "no cluster has room" in alerts
    assert "a dedicated cluster is needed" in alerts
    assert "room for 50 devices" in alerts


# ---- regions, residency, the ledger ----------------------------------------------------------------------------------


def test_regions_are_described_and_networks_told_apart(fleet_cluster, run):
    assert "eu: Europe, neighbours us, ap" in run("region", "eu", "--title", "Europe", "--neighbours", "us, ap")
    run("near", "203.0.113.0/24", "eu")
    run("near", "DE", "eu")
    told = run("regions")
    assert told.splitlines()[1].split("  ")[-1].strip() == "203.0.113.0/24, DE"
    run("unnear", "DE")
    assert "DE" not in run("regions")
    with pytest.raises(CommandError, match="nothing was told"):
        call_command("placement", "unnear", "DE")
    with pytest.raises(CommandError, match=r"a network such as 203\.0\.113\.0/24"):
        call_command("placement", "near", "Germany", "eu")
    verbs = AuditEvent.objects.across_tenants().filter(verb__startswith="region.").order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["region.describe", "region.learn", "region.learn", "region.unlearn"]


def test_a_tenants_residency_on_the_command_line(fleet_clusters, run):
    fleet_clusters(residency="de")
    settled("acme-inc")
    assert run("residency", "acme-inc", "de") == "acme-inc stays under de\n"
    assert run("residency", "acme-inc", "") == "acme-inc may live anywhere\n"
    with pytest.raises(CommandError, match="has to move to another cluster first"):
        call_command("placement", "residency", "acme-inc", "us")


def test_the_ledger_is_compared_with_the_bindings(fleet_clusters, run):
    one, _other = fleet_clusters(), fleet_clusters()
    settled(), settled()
    assert run("ledger", "check") == "2 ledgers agree with their bindings\n"
    Cluster.objects.filter(pk=one.cluster_id).update(committed=77)
    with pytest.raises(CommandError, match="1 of 2 ledgers are off") as off:
        call_command("placement", "ledger", "check")
    assert off.value.returncode == 1
