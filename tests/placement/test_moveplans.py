"""Plans of moves and experiments, through their commands and their address: stored, reviewed, exported; and nothing else changes."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from placement import bindings, experiments, moveplans, snapshots
from placement.engine.facts import PoolKey
from placement.engine.moves import Limits, Plan, carried_out
from placement.engine.rebalance import plan_rebalance
from placement.engine.regions import Wish
from placement.models import Binding, Cluster, MovePlan
from tenants.errors import MalformedRequest, WrongState
from tenants.models import AuditEvent
from tests import factories
from tests.api.callers import operator

pytestmark = pytest.mark.django_db
EU = PoolKey("eu", "standard")
ACTED = {"actor": "system:tests"}


def run(*words):
    out = StringIO()
    call_command("placement", *words, stdout=out)
    return out.getvalue()


def settled(count, **plan_fields):
    plan = factories.plan(expected_devices=5, **plan_fields)
    for _ in range(count):
        tenant = factories.tenant()
        tenant.plan = plan
        tenant.save()
        bindings.settle(tenant, wish=Wish(), now=timezone.now())
    return plan


@pytest.fixture
def lopsided(fleet_clusters):
    """One full cluster and two that came later."""
    full = fleet_clusters(capacity=200)
    settled(30)
    return full, fleet_clusters(capacity=200), fleet_clusters(capacity=200)


def everything():
    """Every row of every table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition order by 1"
        )
        tables = [name for (name,) in cursor.fetchall()]
        found = {}
        for table in tables:
            cursor.execute(f"select md5(coalesce(string_agg(t::text, chr(10) order by t::text), '')) from \"{table}\" t")
            found[table] = cursor.fetchone()
        return found


def test_a_rebalance_is_planned_reviewed_exported_and_moves_nobody(lopsided):
    told = run("rebalance", "eu", "--at-once")
    plan = MovePlan.objects.get()
    assert (plan.kind, plan.state, plan.subject) == ("rebalance", "draft", "eu/standard/*")
    assert f"{plan.moves} moves" in told
    assert Binding.objects.across_tenants().filter(cluster_id=lopsided[0].cluster_id).count() == 30
    document = json.loads(run("plan", "export", str(plan.pk)))
    assert document == plan.document
    assert document["after"]["ratio"] <= 1.06
    assert "approved" in run("plan", "approve", str(plan.pk))
    with pytest.raises(CommandError, match="approved"):
        run("plan", "discard", str(plan.pk))
    assert str(plan.pk) in run("plans")
    verbs = AuditEvent.objects.across_tenants().filter(target=f"move_plan:{plan.pk}").order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["move_plan.make", "move_plan.approve"]


def test_planning_again_on_the_result_yields_nothing(lopsided):
    made = moveplans.make_rebalance(EU, at_once=True, now=timezone.now(), **ACTED)
    clusters = list(snapshots.fresh(now=timezone.now()).pool(EU).clusters.values())
    after = carried_out(Plan.from_document(made.document), clusters, moveplans.lodgers(clusters), at=timezone.now())
    assert plan_rebalance(*after, now=timezone.now(), limits=Limits(at_once=True)).moves == ()


def test_without_heat_there_is_nothing_to_plan_and_after_a_quarter_of_an_hour_of_it_there_is(lopsided):
    from datetime import timedelta

    from placement import load

    assert moveplans.make_rebalance(EU, at_once=False, now=timezone.now(), **ACTED).moves == 0
    load.mark_hot(now=timezone.now() - timedelta(minutes=20))
    assert moveplans.make_rebalance(EU, at_once=False, now=timezone.now(), **ACTED).moves > 0


def test_a_drain_names_where_everybody_goes_or_why_not(lopsided):
    full, *_others = lopsided
    Cluster.objects.filter(pk=full.cluster_id).update(state="draining")
    told = run("drain", full.cluster_id)
    assert MovePlan.objects.get().moves == 30
    assert "cannot leave" not in told
    Cluster.objects.exclude(pk=full.cluster_id).update(state="cordoned")
    assert "no other cluster of the pool may take tenants" in run("drain", full.cluster_id)


def test_nonsense_is_refused_by_name(fleet_clusters):
    one, other = fleet_clusters(), fleet_clusters(region="us")
    for words in (["drain", "nowhere"], ["drain", one.cluster_id, other.cluster_id], ["rebalance", "mars"], ["rebalance", "a/b/c/d"]):
        with pytest.raises(CommandError):
            run(*words)
    own = fleet_clusters(kind="dedicated")
    with pytest.raises(MalformedRequest, match="dedicated"):
        moveplans.make_drain([own.cluster_id], now=timezone.now(), **ACTED)
    plan = moveplans.make_drain([one.cluster_id], now=timezone.now(), **ACTED)
    moveplans.discard(plan, now=timezone.now(), **ACTED)
    with pytest.raises(WrongState):
        moveplans.approve(plan, now=timezone.now(), **ACTED)


# ---- experiments -----------------------------------------------------------------------------------------------------


def test_an_experiment_tells_what_would_be_and_writes_nothing(lopsided):
    plan = settled(0, name="team")
    before = everything()
    full = lopsided[0].cluster_id
    changes = ["--add", "fresh:1000", "--tenants", "40:team", "--reweight", f"{full}:400", "--add", "far:100:us", "--lose-region", "us"]
    told = run("simulate", *changes, "--remove", full)
    assert everything() == before
    assert "nothing was changed" in told
    assert "30 tenants would move" in told
    assert plan.pk == "team"
    document = json.loads(run("simulate", "--tenants", "40:team", "--json"))
    assert sum(counts["tenants"] for counts in document["landed"].values()) == 40
    assert document == json.loads(run("simulate", "--tenants", "40:team", "--json"))


def test_an_experiment_asks_for_the_region_where_there_are_several_and_is_bounded_by_whom_it_places(lopsided, fleet_clusters):
    fleet_clusters(region="us")
    with pytest.raises(CommandError, match="name the region too"):
        run("simulate", "--add", "fresh:1000")
    assert "us/standard/*  1 -> 2" in run("simulate", "--add", "fresh:1000:us")
    with pytest.raises(MalformedRequest, match="30 are too many"):
        experiments.run([("lose_region", "eu")], now=timezone.now(), most_tenants=29)
    assert experiments.run([("lose_region", "eu")], now=timezone.now(), most_tenants=30)["homeless"] == 30


def test_an_experiment_reads_in_a_transaction_that_may_not_write(lopsided):
    settled(0, name="team")
    with CaptureQueriesContext(connection) as asked:
        run("simulate", "--tenants", "5:team", "--lose-region", "eu")
    words = [query["sql"].lower() for query in asked if "savepoint" not in query["sql"].lower()]
    assert words[0] == "set transaction read only"
    assert all(word.lstrip().startswith("select") for word in words[1:])


def test_changes_count_in_the_order_in_which_they_are_told(fleet_clusters):
    cluster = fleet_clusters(capacity=20)
    settled(0, name="team")
    grown = json.loads(run("simulate", "--reweight", f"{cluster.cluster_id}:100", "--tenants", "10:team", "--json"))
    late = json.loads(run("simulate", "--tenants", "10:team", "--reweight", f"{cluster.cluster_id}:100", "--json"))
    assert (grown["refused"], late["refused"]) == ({}, {"team": 7})
    assert late["rules"] == {"has_room_for": 7}


@pytest.mark.parametrize(
    "words",
    [
        ["--add", "x"], ["--add", "X!:5"], ["--add", "x:0"], ["--add", "x:5:eu:a:b"], ["--reweight", "nowhere:5"], ["--remove", "nowhere"],
        ["--lose-region", "mars"], ["--tenants", "5:nothing"], ["--tenants", "-1:team"], ["--tenants", "999999999:team"], ["--tenants", "1:team:mars"],
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_is_refused(fleet_clusters, words):
    fleet_clusters()
    settled(0, name="team", regions=["eu"])
    with pytest.raises(CommandError):
        run("simulate", *words)


# ---- operators' programs ---------------------------------------------------------------------------------------------


def test_programs_plan_review_and_try(lopsided):
    chief = operator()
    settled(0, name="team")
    made = chief.post("placement/plans", {"kind": "rebalance", "pool": "eu/standard", "at_once": True})
    assert made.status_code == 201, made.content
    plan = made.json()
    assert plan["document"]["moves"]
    assert chief.get("placement/plans").json()["results"][0]["id"] == plan["id"]
    assert chief.patch(f"placement/plans/{plan['id']}", {"state": "discarded"}).json()["state"] == "discarded"
    assert chief.patch(f"placement/plans/{plan['id']}", {"state": "approved"}).status_code == 409
    drained = chief.post("placement/plans", {"kind": "drain", "cluster_ids": [lopsided[0].cluster_id]})
    assert drained.json()["moves"] == 30
    for wrong in ({"kind": "drain"}, {"kind": "rebalance", "pool": "a/b/c/d"}, {"kind": "rebalance", "pool": "mars"}, {"kind": "other"}):
        assert chief.post("placement/plans", wrong).status_code == 400
    tried = chief.post("placement/simulations", {"changes": [{"verb": "tenants", "words": "10:team"}]})
    assert sum(counts["tenants"] for counts in tried.json()["landed"].values()) == 10
    for words in ("30000:team", "x"):
        assert chief.post("placement/simulations", {"changes": [{"verb": "tenants", "words": words}]}).status_code == 400
