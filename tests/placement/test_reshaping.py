"""What a cluster is, as an operator sets it: limits follow at once, promises to tenants are kept, and the command says what was done."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from placement import bindings, ledger, residency
from placement.engine.regions import Wish
from placement.models import Binding
from placement.reshaping import reshape
from tenants.errors import WrongState
from tenants.models import AuditEvent
from tests import factories
from tests.conftest import manage

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(capsys: Any) -> Any:
    def call(*words: str) -> str:
        call_command(*words)
        return capsys.readouterr().out

    return call


def settled(**plan_fields):
    """A tenant that lives somewhere."""
    residency = plan_fields.pop("residency", "")
    tenant = factories.tenant(expected_devices=5, **plan_fields)
    tenant.residency = residency
    tenant.save()
    bindings.settle(tenant, wish=Wish(), now=timezone.now())
    return tenant


def test_limits_follow_at_once_and_are_in_the_audit(fleet_cluster, run):
    words = ["--capacity", "1000", "--max-tenants", "40", "--max-sessions", "900", "--cores", "3.5", "--max-queue", "50"]
    told = run("cluster", "set", fleet_cluster.cluster_id, *words, "--max-peer-seconds", "0.5", "--max-memory", "2000000000")
    assert "capacity: 500 -> 1000" in told
    assert "max_tenants: none -> 40" in told
    row = fleet_cluster.row
    assert (row.capacity, row.max_tenants, row.max_sessions, row.cores, row.max_queue) == (1000, 40, 900, 3.5, 50)
    assert (row.max_peer_seconds, row.max_memory) == (0.5, 2_000_000_000)
    event = AuditEvent.objects.across_tenants().get(verb="cluster.reshape")
    assert (event.target, event.detail["capacity"]) == (fleet_cluster.cluster_id, [500, 1000])
    assert "max_sessions: 900 -> none" in run("cluster", "set", fleet_cluster.cluster_id, "--max-sessions", "none")
    assert fleet_cluster.row.max_sessions is None
    assert run("cluster", "set", fleet_cluster.cluster_id, "--capacity", "1000") == "nothing changes\n"
    assert AuditEvent.objects.across_tenants().filter(verb="cluster.reshape").count() == 2


def test_a_capacity_below_what_is_promised_is_set_and_said(fleet_cluster, run):
    settled(), settled()
    assert "10 devices are promised already" in run("cluster", "set", fleet_cluster.cluster_id, "--capacity", "8")
    assert "2 tenants live on it already" in run("cluster", "set", fleet_cluster.cluster_id, "--max-tenants", "1")
    assert (fleet_cluster.row.capacity, fleet_cluster.row.committed) == (8, 10)


def test_an_empty_cluster_becomes_whatever_is_wished(fleet_cluster, run):
    run(
        "cluster",
        "set",
        fleet_cluster.cluster_id,
        "--region",
        "us",
        "--service-class",
        "premium",
        "--residency",
        "us",
        "--kind",
        "dedicated",
    )
    row = fleet_cluster.row
    assert (row.region, row.service_class, row.residency, row.kind, row.reserved_for) == ("us", "premium", "us", "dedicated", None)
    assert "residency: us -> none" in run("cluster", "set", fleet_cluster.cluster_id, "--residency", "")
    shown = run("cluster", "show", fleet_cluster.cluster_id)
    assert "premium" in shown
    assert "dedicated" in shown


@pytest.mark.parametrize(
    ("promised", "wish", "why"),
    [
        ({"residency": "de"}, {"residency": "us"}, "must stay under the residency"),
        ({"residency": "de"}, {"residency": ""}, "must stay under the residency"),
        ({"regions": ["eu"]}, {"region": "us"}, "does not include that region"),
        ({}, {"service_class": "premium"}, "another service class"),
        ({}, {"kind": "dedicated"}, "another kind"),
    ],
)
def test_what_a_tenant_was_promised_is_not_changed_under_it(fleet_clusters, promised, wish, why):
    cluster = fleet_clusters(residency="de")
    tenant = settled(**promised)
    before = cluster.row
    with pytest.raises(WrongState, match=why) as refusal:
        reshape(cluster.row, actor="system:tests", now=timezone.now(), **wish)
    assert tenant.account in str(refusal.value)
    assert all(getattr(cluster.row, name) == getattr(before, name) for name in wish)
    assert not AuditEvent.objects.across_tenants().filter(verb="cluster.reshape").exists()


def test_a_tenant_that_bought_a_cluster_gets_the_one_it_lives_on_alone(fleet_cluster):
    tenant = settled()
    tenant.plan.strategy = "dedicated"
    tenant.plan.save()
    reshape(fleet_cluster.row, actor="system:tests", now=timezone.now(), kind="dedicated")
    assert fleet_cluster.row.reserved_for == tenant
    with pytest.raises(WrongState, match="another kind"):
        reshape(fleet_cluster.row, actor="system:tests", now=timezone.now(), kind="shared")


def test_a_cluster_that_two_tenants_share_is_nobodys_own(fleet_cluster):
    for tenant in (settled(), settled()):
        tenant.plan.strategy = "dedicated"
        tenant.plan.save()
    with pytest.raises(WrongState, match="more than one tenant"):
        reshape(fleet_cluster.row, actor="system:tests", now=timezone.now(), kind="dedicated")


@pytest.mark.parametrize(
    "words",
    [
        ("--capacity", "0"),
        ("--capacity", "3000000000"),
        ("--max-tenants", "0"),
        ("--cores", "0"),
        ("--cores", "nan"),
        ("--max-peer-seconds", "inf"),
        ("--max-queue", "-1"),
        ("--region", "a/b"),
        ("--region", ""),
        ("--service-class", ""),
        ("--residency", "d e"),
        ("--max-memory", "some"),
        (),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(fleet_cluster, words):
    with pytest.raises(CommandError):
        call_command("cluster", "set", fleet_cluster.cluster_id, *words)
    assert not AuditEvent.objects.across_tenants().filter(verb="cluster.reshape").exists()


@pytest.mark.parametrize("wish", [{"residency": "us"}, {"service_class": "premium"}, {"kind": "dedicated"}])
def test_a_cluster_that_became_another_one_since_the_decision_takes_nobody(fleet_clusters, wish):
    cluster, tenant = fleet_clusters(residency="de"), factories.tenant(expected_devices=5)
    tenant.residency = "de"
    newcomer = bindings.newcomer_of(tenant)
    reshape(cluster.row, actor="system:tests", now=timezone.now(), **wish)
    assert not ledger.promise(cluster.row, newcomer)
    assert (cluster.row.committed, cluster.row.tenants) == (0, 0)


# ---- a tenant's residency --------------------------------------------------------------------------------------------


def test_a_tenants_residency_is_changed_to_what_its_cluster_keeps_and_to_nothing_else(fleet_clusters):
    fleet_clusters(residency="de")
    tenant = settled()
    acted = {"actor": "system:tests", "now": timezone.now()}
    with pytest.raises(WrongState, match="keeps the residency de"):
        residency.change(tenant, "us", **acted)
    assert residency.change(tenant, "de", **acted).residency == "de"
    assert residency.change(tenant, "", **acted).residency == ""
    told = AuditEvent.objects.of(tenant).filter(verb="tenant.change_residency").order_by("id").values_list("detail", flat=True)
    assert list(told) == [{"before": "", "after": "de"}, {"before": "de", "after": ""}]


def test_a_tenant_on_a_cluster_that_keeps_none_has_to_move_first(fleet_cluster):
    tenant = settled()
    with pytest.raises(WrongState, match="keeps no residency"):
        residency.change(tenant, "de", actor="system:tests", now=timezone.now())


def test_a_tenant_that_lives_nowhere_yet_may_have_any_residency():
    tenant = factories.tenant()
    assert residency.change(tenant, "de", actor="system:tests", now=timezone.now()).residency == "de"
    assert not Binding.objects.of(tenant).exists()


@pytest.mark.django_db(transaction=True)
def test_adding_a_registered_cluster_again_keeps_what_was_set_and_refuses_another_shape(fleet_cluster, tmp_path):
    where = ["--listen", "127.0.0.1:18121", "--metrics-listen", "127.0.0.1:18122", "--client-url", "http://c.test", "--out", str(tmp_path)]
    reshape(fleet_cluster.row, actor="system:tests", now=timezone.now(), capacity=900)
    manage("fleet", "add-cluster", fleet_cluster.cluster_id, "--region", "eu", *where)
    assert (fleet_cluster.row.capacity, fleet_cluster.row.client_url) == (900, "http://c.test")
    for words in (["--region", "us"], ["--region", "eu", "--capacity", "5"], ["--region", "eu", "--residency", "de"], ["--region", "e/u"]):
        refused = manage("fleet", "add-cluster", fleet_cluster.cluster_id, *words, *where, check=False)
        assert refused.returncode == 1
        assert "cluster set" in refused.stderr or "region: letters" in refused.stderr
    assert fleet_cluster.row.region == "eu"
