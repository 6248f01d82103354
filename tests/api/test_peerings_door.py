"""Peerings through /api/v1 and manage.py."""

from __future__ import annotations

import re
import uuid

import pytest
from django.utils import timezone

from tenants import lifecycle
from tenants.models import AuditEvent, Peering
from tests.api.callers import operator, program_of, said
from tests.conftest import manage
from tests.peered import OFFICE, compiled, device, settled, statements

pytestmark = pytest.mark.django_db
WISH = {"guest": "globex", "dst": ["tag:db"], "services": ["tcp:5432"], "description": "orders"}


@pytest.fixture
def acme(fleet_cluster):
    tenant = settled("acme", fleet_cluster, policy=OFFICE)
    device(tenant, "db-1", tags=("tag:db",))
    return tenant


@pytest.fixture
def globex(fleet_cluster):
    tenant = settled("globex", fleet_cluster)
    device(tenant, "shop-1")
    return tenant


def test_a_peerings_life_through_the_api(acme, globex, fleet_cluster):
    host, guest = program_of(acme, "peerings"), program_of(globex, "peerings")
    before = compiled(fleet_cluster).text
    made = host.post("peerings", WISH)
    assert made.status_code == 201, made.content
    body = made.json()
    assert {name: body[name] for name in ("host", "guest", "state", "dst", "services", "src", "description", "note")} == {
        "host": "acme",
        "guest": "globex",
        "state": "offered",
        "dst": ["tag:db"],
        "services": ["tcp:5432"],
        "src": [],
        "description": "orders",
        "note": "",
    }
    one = f"peerings/{body['id']}"
    assert [row["id"] for row in guest.get("peerings?state=offered").json()["results"]] == [body["id"]]
    accepted = guest.post(f"{one}/accept", {"src": ["SHOP-1"]})
    assert accepted.status_code == 200, accepted.content
    assert (accepted.json()["state"], accepted.json()["src"]) == ("accepted", ["shop-1"])
    assert host.get(one).json()["src"] == ["shop-1"], "the host sees by which words it is used"
    assert [statement.peering for statement in statements(fleet_cluster)] == [body["id"]]
    ended = host.post(f"{one}/end")
    assert (ended.json()["state"], ended.json()["ended_by"]) == ("ended", "tenant:acme")
    assert compiled(fleet_cluster).text == before
    assert said(guest.post(f"{one}/end")) == (409, "wrong-state")
    assert said(guest.post(f"{one}/accept", {"src": ["*"]})) == (409, "wrong-state")
    assert guest.get("peerings?state=accepted").json()["results"] == []


def test_who_acts_for_a_tenant_only_that_tenant_sees(acme, globex):
    host, guest, chief = program_of(acme), program_of(globex), operator()
    one = f"peerings/{host.post('peerings', WISH).json()['id']}"
    guest.post(f"{one}/accept", {"src": ["*"]})
    seen = {name: caller.get(one).json() for name, caller in (("host", host), ("guest", guest), ("chief", chief))}
    assert seen["host"]["offered_by"].startswith("token:")
    assert seen["guest"]["accepted_by"].startswith("token:")
    assert seen["host"]["accepted_by"] == seen["guest"]["offered_by"] == ""
    assert (seen["chief"]["offered_by"], seen["chief"]["accepted_by"]) == (seen["host"]["offered_by"], seen["guest"]["accepted_by"])
    for tenant, other in ((acme, seen["guest"]["accepted_by"]), (globex, seen["host"]["offered_by"])):
        assert not AuditEvent.objects.of(tenant).filter(actor=other).exists()


def test_a_third_tenant_finds_nothing_at_any_address(acme, globex, fleet_cluster):
    third = program_of(settled("third", fleet_cluster))
    one = f"peerings/{program_of(acme).post('peerings', WISH).json()['id']}"
    absent = f"peerings/{uuid.uuid4()}"
    for verb, body in (("", None), ("/accept", {"src": ["*"]}), ("/end", None)):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = third.call(method, one + verb, body)
            assert said(answer) == (404, "not-found"), (method, verb)
            assert answer.content == third.call(method, absent + verb, body).content
    assert third.get("peerings").json()["results"] == []
    assert Peering.objects.of(acme).get().state == "offered"


def test_the_host_cannot_accept_for_the_guest(acme, globex):
    host = program_of(acme)
    one = f"peerings/{host.post('peerings', WISH).json()['id']}"
    assert said(host.post(f"{one}/accept", {"src": ["*"]})) == (409, "wrong-state")
    assert host.get(one).json()["state"] == "offered"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dst": ["shop-1"]}, "dst"),
        ({"dst": []}, "dst"),
        ({"dst": "tag:db"}, "dst"),
        ({"dst": ["*"] * 201}, "dst"),
        ({"services": ["http"]}, "services"),
        ({"services": [443]}, "services"),
        ({"guest": "acme"}, "guest"),
        ({"guest": None}, "guest"),
        ({"host": "globex"}, "host"),
        ({"description": "x" * 201}, "description"),
        ({"src": ["*"]}, "src"),
    ],
)
def test_what_is_wrong_is_named(acme, globex, change, field):
    answer = program_of(acme).post("peerings", WISH | change)
    assert said(answer) == (400, "malformed-request"), answer.content
    assert set(answer.json()["errors"]) == {field}
    assert not Peering.objects.across_tenants().exists()


def test_accounts_that_are_absent_closed_or_suspended_answer_alike(acme, globex, fleet_cluster):
    for account, verb in (("closed-one", lifecycle.close), ("late-one", lifecycle.suspend)):
        verb(settled(account, fleet_cluster), now=timezone.now(), actor="x")
    answers = [program_of(acme).post("peerings", WISH | {"guest": account}) for account in ("nobody-here", "closed-one", "late-one")]
    assert {said(answer) for answer in answers} == {(404, "unknown-account")}
    assert len({answer.content for answer in answers}) == 1


def test_across_clusters_it_is_offered_with_a_note_and_not_accepted(acme, fleet_clusters, fleet_cluster):
    there = fleet_clusters()
    globex = settled("globex", there)
    made = program_of(acme).post("peerings", WISH).json()
    assert "different clusters" in made["note"]
    answer = program_of(globex).post(f"peerings/{made['id']}/accept", {"src": ["*"]})
    assert said(answer) == (409, "peering-across-clusters")
    assert f"Ask the operators to move acme to {there.cluster_id}." in answer.json()["detail"]
    assert fleet_cluster.cluster_id not in answer.content.decode()


def test_scopes_and_suspension_hold_here_too(acme, globex):
    reader = program_of(acme, "peerings:read")
    assert reader.get("peerings").status_code == 200
    assert said(reader.post("peerings", WISH)) == (403, "missing-scope")
    assert said(program_of(acme, "policy_file").get("peerings")) == (403, "missing-scope")
    writer = program_of(acme)
    lifecycle.suspend(acme, now=timezone.now(), actor="x")
    assert said(writer.post("peerings", WISH)) == (403, "tenant-suspended")


def test_an_operator_acts_for_either_and_both_audits_name_it(acme, globex):
    chief = operator()
    assert set(chief.post("peerings", WISH).json()["errors"]) == {"host"}
    assert set(chief.post("peerings", WISH | {"host": "nobody-here"}).json()["errors"]) == {"host"}
    made = chief.post("peerings", WISH | {"host": "acme"}).json()
    assert chief.post(f"peerings/{made['id']}/accept", {"src": ["shop-1"]}).json()["state"] == "accepted"
    assert chief.post(f"peerings/{made['id']}/end").json()["ended_by"].startswith("token:")
    for tenant in (acme, globex):
        told = AuditEvent.objects.of(tenant).filter(verb__startswith="peering.").order_by("id").values_list("verb", "actor")
        assert [verb for verb, _ in told] == ["peering.offer", "peering.accept", "peering.end"]
        assert all(actor.startswith("token:") for _, actor in told)
    assert said(chief.get(f"peerings/{uuid.uuid4()}")) == (404, "not-found")


@pytest.mark.django_db(transaction=True)
def test_the_command_offers_accepts_lists_and_ends(acme, globex, fleet_cluster):
    told = manage("peering", "offer", "acme", "globex", "tag:db", "--service", "tcp:5432", "--service", "443", role="web").stdout
    [made] = re.findall(r"[0-9a-f-]{36}", told.partition(" ")[0])
    assert "offered" in manage("peering", "list", "globex", role="web").stdout
    refused = manage("peering", "accept", made, "nope-1", role="web", check=False)
    assert refused.returncode
    assert "nope-1 is no device of this network" in refused.stderr
    manage("peering", "accept", made, "shop-1", role="web")
    assert "tag:db on 443 tcp:5432, used by shop-1" in manage("peering", "list", "--state", "accepted", role="web").stdout
    assert len(statements(fleet_cluster)) == 1
    manage("peering", "end", made, role="web")
    assert "is ended" in manage("peering", "end", made, role="web", check=False).stderr
    assert "no active tenant" in manage("peering", "offer", "acme", "nobody-here", "*", role="web", check=False).stderr
    assert "There is no peering" in manage("peering", "end", str(uuid.uuid4()), role="web", check=False).stderr


@pytest.mark.django_db(transaction=True)
def test_the_command_says_why_tenants_apart_cannot_peer(acme, fleet_clusters):
    settled("globex", fleet_clusters())
    told = manage("peering", "offer", "acme", "globex", "*", role="web").stdout
    assert "different clusters" in told
    assert "Ask the operators to move" in manage("peering", "accept", told.split()[0], "*", role="web", check=False).stderr
