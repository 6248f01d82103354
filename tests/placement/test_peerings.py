"""Peerings where tenants live: one cluster for both, who could move, and what the cluster's document says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.diagnosis import gather
from placement.errors import PeeringAcrossClusters
from placement.models import Binding, Cluster, ClusterPolicy, Device, Route
from placement.policies import peerings
from tenants import lifecycle
from tenants.models import Peering, Tenant
from tests.peered import BY_OPERATOR, OFFICE, accepted, compiled, device, offered, put_policy, settled, statements

pytestmark = pytest.mark.django_db


def refused(peering: Peering, by: Tenant | None = None) -> str:
    """Why it cannot be accepted; and nothing came of the attempt."""
    wanted = dict(ClusterPolicy.objects.values_list("cluster_id", "wanted"))
    with pytest.raises(PeeringAcrossClusters) as refusal:
        peerings.accept(peering, ["*"], by=by, now=timezone.now(), **BY_OPERATOR)
    assert Peering.objects.of(peering.host_id).get(pk=peering.pk).state == "offered"
    assert dict(ClusterPolicy.objects.values_list("cluster_id", "wanted")) == wanted
    return str(refusal.value)


def seen(peering: Peering) -> Peering:
    return peerings.of(None).get(pk=peering.pk)


@pytest.fixture
def apart(fleet_clusters) -> Any:
    """acme on one cluster, globex on another, and both clusters."""
    one, two = fleet_clusters(), fleet_clusters()
    return settled("acme", one), settled("globex", two), one, two


def test_a_tenant_is_told_who_could_move_and_of_no_cluster_but_its_own(apart):
    acme, globex, one, two = apart
    made = offered(acme, globex)
    told = refused(made, by=globex)
    assert "live on different clusters" in told
    assert f"move acme to {two.cluster_id}." in told
    assert "move globex to the cluster of acme." in told
    assert one.cluster_id not in told
    assert {f"move acme to {two.cluster_id}.", f"move globex to {one.cluster_id}."} <= set(re.findall(r"move \S+ to \S+", refused(made)))


@pytest.mark.parametrize(
    ("hinders", "why"),
    [
        ({"residency": "de"}, "residency"),
        ({"plan": {"service_class": "premium"}}, "another class"),
        ({"plan": {"regions": ["us"]}}, "its region"),
        ({"plan": {"strategy": "dedicated"}}, "another kind"),
        ({"cluster": {"state": "cordoned"}}, "not active"),
        ({"cluster": {"committed": 499}}, "not enough room"),
        ({"cluster": {"max_tenants": 0}}, "as many tenants"),
    ],
)
def test_who_could_not_live_there_is_not_offered_to_move(apart, hinders, why):
    acme, globex, _, two = apart
    type(acme.plan).objects.filter(pk=acme.plan_id).update(**hinders.get("plan", {}))
    Tenant.objects.filter(pk=acme.pk).update(residency=hinders.get("residency", ""))
    Cluster.objects.filter(pk=two.cluster_id).update(**hinders.get("cluster", {}))
    made = seen(offered(acme, globex))
    assert "move acme" not in refused(made)
    assert "move globex" in refused(made)
    Cluster.objects.filter(pk=apart[2].cluster_id).update(state="offline")
    told = refused(made)
    assert "Neither can move" in told
    assert why in told
    assert why not in refused(made, by=globex), "what hinders the other one is its own business"


def test_who_lives_nowhere_yet_is_told_so(fleet_cluster):
    acme, globex, third = settled("acme", fleet_cluster), settled("globex"), settled("third")
    assert "globex lives on no cluster yet" in refused(offered(acme, globex))
    assert "acme" not in refused(offered(globex, third))
    assert "Neither globex nor third" in refused(offered(globex, third))


def test_an_offer_across_clusters_carries_a_note_and_so_does_what_a_move_has_parted(apart, fleet_cluster):
    acme, globex, one, two = apart
    made = seen(offered(acme, globex))
    assert "can be accepted once both live on one cluster" in peerings.note(made)
    Binding.objects.of(globex).update(cluster=one.row)
    assert peerings.note(seen(made)) == ""
    peerings.accept(made, ["*"], now=timezone.now(), **BY_OPERATOR)
    assert [statement.peering for statement in statements(one)] == [str(made.pk)]
    Binding.objects.of(globex).update(cluster=two.row)
    assert "holds again once" in peerings.note(seen(made))
    assert statements(one) == statements(two) == []
    peerings.end(made, by=globex, now=timezone.now(), actor="x")
    assert peerings.note(seen(made)) == ""
    assert {one.cluster_id, two.cluster_id} == set(ClusterPolicy.objects.filter(wanted__gt=0).values_list("cluster_id", flat=True))


def test_the_document_joins_the_two_while_the_peering_lasts(fleet_cluster):
    acme, globex = settled("acme", fleet_cluster, policy=OFFICE), settled("globex", fleet_cluster)
    till, database = device(acme, "till-1"), device(acme, "db-1", tags=("tag:db",))
    shop = device(globex, "shop-1")
    before = compiled(fleet_cluster).text
    made = accepted(acme, globex, "tag:db", src=("shop-1",), services=("tcp:5432", "icmp:*"))
    document = json.loads(compiled(fleet_cluster).text.partition("\n")[2])
    joining = [grant for grant in document["grants"] if shop.ipv4 in grant["src"]]
    assert joining == [{"src": [shop.ipv4, shop.ipv6], "dst": ["tag:acme--db"], "ip": ["icmp:*", "tcp:5432"]}]
    [statement] = statements(fleet_cluster)
    assert (statement.src.devices, statement.dst.devices) == ({str(shop.pk)}, {str(database.pk)})
    assert str(till.pk) not in statement.dst.devices
    peerings.end(made, by=acme, now=timezone.now(), actor="x")
    assert compiled(fleet_cluster).text == before


def test_everything_that_is_shared_is_devices_and_never_a_route_or_an_exit_node(fleet_cluster):
    acme, globex = settled("acme", fleet_cluster), settled("globex", fleet_cluster)
    router = device(acme, "router-1")
    device(acme, "till-1")
    device(globex, "shop-1")
    for prefix in ("10.7.0.0/16", "0.0.0.0/0", "::/0"):
        Route.objects.create(
            tenant=acme, device=router, cluster=fleet_cluster.row, prefix=prefix, state="approved", decided_at=timezone.now(),
            created_at=timezone.now(),
        )  # fmt: skip
    accepted(acme, globex, "*")
    [statement] = statements(fleet_cluster)
    assert not statement.dst.networks
    assert not statement.dst.exits
    assert str(router.pk) not in statement.dst.devices, "whoever sees an exit node could use it"
    assert len(statement.dst.devices) == 1


def test_a_closed_tenant_shares_nothing_and_a_reopened_one_does_again(fleet_cluster):
    acme, globex = settled("acme", fleet_cluster), settled("globex", fleet_cluster)
    device(acme, "till-1")
    device(globex, "shop-1")
    accepted(acme, globex)
    lifecycle.close(acme, now=timezone.now(), actor="x")
    assert statements(fleet_cluster) == []
    lifecycle.reopen(acme, now=timezone.now(), actor="x")
    assert len(statements(fleet_cluster)) == 1


def test_peers_that_a_device_should_see_are_its_own_tenants_whatever_is_shared(fleet_cluster):
    acme, globex = settled("acme", fleet_cluster), settled("globex", fleet_cluster)
    tills = [device(acme, f"till-{number}") for number in range(3)]
    for number in range(4):
        device(globex, f"shop-{number}")
    accepted(acme, globex)
    accepted(globex, acme)
    assert [gather.diagnose_device(till, now=timezone.now()).known.devices[0].peers for till in tills] == [2, 2, 2]


# ---- any offers and acceptances --------------------------------------------------------------------------------------

WORDS = st.lists(st.sampled_from(["*", "autogroup:member", "autogroup:tagged", "tag:db", "group:desk", "group:none", "till-1"]), min_size=1)
SERVICES = st.lists(st.sampled_from(["*", "443", "tcp:80-90", "icmp:*", "udp:53"]), min_size=1)
DEEDS = st.lists(st.tuples(st.permutations(range(4)), WORDS, SERVICES, WORDS, st.sampled_from(["offer", "accept", "end"])), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=DEEDS, emptied=st.sets(st.integers(0, 3)), shy=st.sets(st.integers(0, 3)))
def test_there_is_one_statement_for_each_accepted_peering_with_both_sides_present_and_none_else(worlds, deeds, emptied, shy):
    cluster, tenants = worlds
    Peering.objects.across_tenants().delete()
    for tenant in tenants:
        put_policy(tenant, OFFICE)
    made = []
    for (host, guest, *_rest), dst, services, src, deed in deeds:
        peering = offered(tenants[host], tenants[guest], *dst, services=tuple(services))
        if deed != "offer":
            peerings.accept(peering, src, now=timezone.now(), **BY_OPERATOR)
            made += [peering] if deed == "accept" else []
        if deed == "end":
            peerings.end(peering, by=None, now=timezone.now(), **BY_OPERATOR)
    for number in emptied:  # its groups and tags are gone
        put_policy(tenants[number], "{}")
    for number in shy:
        put_policy(tenants[number], OFFICE.replace('["till-1"]', '["till-9"]'))

    def present(tenant: Tenant, words: list[str]) -> bool:
        number = next(index for index, one in enumerate(tenants) if one.pk == tenant.pk)
        named = {"*", "autogroup:member", "autogroup:tagged", "tag:db", "till-1"} | (
            {"group:desk"} if number not in emptied | shy else set()
        )
        return bool(named & set(words))

    expected = {
        str(row.pk)
        for row in Peering.objects.across_tenants().filter(pk__in=[peering.pk for peering in made]).select_related("host", "guest")
        if present(row.host, row.dst) and present(row.guest, row.src)
    }
    found = statements(cluster)
    assert sorted(statement.peering for statement in found) == sorted(expected)
    between = [pair for pair in joined(compiled(cluster).text) if len(set(pair)) > 1]
    assert sorted(between) == sorted((statement.account, statement.host) for statement in found)


def joined(text: str) -> list[tuple[str, str]]:
    """Whose devices may reach whose, for each grant of a document."""
    owner = {
        address: row.tenant.account for row in Device.objects.across_tenants().select_related("tenant") for address in (row.ipv4, row.ipv6)
    }

    def account(tokens: list[str]) -> str:
        [found] = {owner.get(token) or token.removeprefix("tag:").partition("--")[0].removesuffix("@") for token in tokens}
        return found

    return [(account(grant["src"]), account(grant["dst"])) for grant in json.loads(text.partition("\n")[2]).get("grants", ())]


@pytest.fixture
def worlds(fleet_cluster) -> Any:
    """Four tenants on one cluster, each with an untagged and a tagged device."""
    tenants = [settled(f"world-{number}", fleet_cluster) for number in range(4)]
    for tenant in tenants:
        device(tenant, "till-1")
        device(tenant, "db-1", tags=("tag:db",))
    return fleet_cluster, tenants
