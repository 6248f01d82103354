"""Tenants, keys, tokens and the audit through /api/v1."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tenants.models import ApiToken, AuditEvent, EnrolmentKey, Tenant
from tests import factories
from tests.api.callers import Program, operator, program_of, said
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db


def errors_of(answer) -> dict[str, str]:
    assert said(answer) == (400, "malformed-request"), answer.content
    return answer.json()["errors"]


def test_an_operator_makes_a_tenant_and_follows_it_through_its_life():
    chief, plan, larger = operator(), factories.plan(max_devices=7), factories.plan(max_devices=9)
    made = chief.post("tenants", {"account": "acme-inc", "plan": plan.name, "title": "Acme"})
    assert made.status_code == 201
    assert made.json()["quota"] == {"limit": 7, "used": 0, "free": 7, "max_members": None}
    changed = chief.patch("tenants/acme-inc", {"plan": larger.name, "title": "Acme Inc."}).json()
    assert (changed["title"], changed["plan"], changed["quota"]["limit"]) == ("Acme Inc.", larger.name, 9)
    for verb, state in (("suspend", "suspended"), ("resume", "active"), ("close", "closed"), ("reopen", "active")):
        assert chief.post(f"tenants/acme-inc/{verb}", {"reason": "a test"}).json()["state"] == state
    verbs = [event["verb"] for event in chief.get("tenants/acme-inc/audit").json()["results"]]
    assert verbs[:4] == ["tenant.reopen", "tenant.close", "tenant.resume", "tenant.suspend"]
    assert verbs[-1] == "tenant.create"


def test_an_act_that_does_not_fit_the_state_is_a_conflict():
    factories.tenant("acme-inc")
    assert said(operator().post("tenants/acme-inc/resume")) == (409, "wrong-state")


def test_a_taken_or_unusable_account_and_an_unknown_plan_are_refused_by_name():
    plan = factories.tenant("acme-inc").plan_id
    chief = operator()
    assert errors_of(chief.post("tenants", {"account": "acme-inc", "plan": plan})) == {"account": "taken"}
    assert "plan" in errors_of(chief.post("tenants", {"account": "other", "plan": "no-such-plan"}))
    for account in ("Acme", "a--b", "admin", "-x", "x" * 41):
        assert said(chief.post("tenants", {"account": account, "plan": plan})) == (400, "malformed-request")
    assert Tenant.objects.count() == 1


def test_unknown_fields_and_values_of_another_type_are_refused_by_name():
    plan = factories.plan()
    chief = operator()
    factories.tenant("acme-inc")
    assert errors_of(chief.post("tenants", {"account": "x1", "plan": plan.name, "colour": "red"})) == {"colour": "unknown field"}
    assert errors_of(chief.post("tenants", {"account": 5, "plan": plan.name})) == {"account": "must be a text"}
    assert errors_of(chief.post("tenants", {"account": "x1", "plan": ["a"]})) == {"plan": "must be a text"}
    wrong = {"max_uses": "5", "ephemeral": "true", "description": 1, "key_lifetime": True, "expires_at": 1}
    assert set(errors_of(chief.post("tenants/acme-inc/enrolment-keys", wrong))) == set(wrong)
    assert errors_of(chief.patch("tenants/acme-inc", {"state": "closed"})) == {"state": "unknown field"}
    assert not EnrolmentKey.objects.across_tenants().exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_uses", 0),
        ("max_uses", -1),
        ("max_uses", 10**30),
        ("key_lifetime", 1),
        ("key_lifetime", 10**12),
        ("expires_at", "2001-01-01T00:00:00Z"),
        ("expires_at", "9999-12-31T23:59:59-14:00"),
        ("expires_at", "tomorrow"),
        ("description", "x" * 201),
        ("description", "\0"),
        ("description", "\ud800"),
        ("tags", ["tag:server"]),
        ("tags", "tag:server"),
        ("tags", [{}]),
        ("ephemeral", None),
    ],
)
def test_an_enrolment_key_out_of_range_is_refused_by_name(field, value):
    factories.tenant("acme-inc")
    assert set(errors_of(operator().post("tenants/acme-inc/enrolment-keys", {field: value}))) == {field}


def test_an_enrolment_keys_secret_is_shown_once_works_and_ends_with_its_revocation(fleet_cluster):
    tenant = factories.tenant("acme-inc")
    program = program_of(tenant)
    made = program.post("tenants/acme-inc/enrolment-keys", {"max_uses": 3, "description": "tills", "key_lifetime": 600}).json()
    assert made["secret"].startswith("acs-enrol-")
    path = f"tenants/acme-inc/enrolment-keys/{made['id']}"
    for shown in (program.get(path), program.get("tenants/acme-inc/enrolment-keys")):
        assert made["secret"] not in shown.content.decode()
    assert bootstrap(made["secret"]).status_code == 200
    assert program.get(path).json()["uses"] == 1
    assert program.delete(path).json()["revoked_at"] is not None
    assert said(bootstrap(made["secret"])) == (401, "bad-credential")
    assert said(program.delete(path)) == (409, "wrong-state")
    audit = program.get("tenants/acme-inc/audit").content.decode()
    assert "enrolment_key.revoke" in audit
    assert made["secret"] not in audit


def test_a_token_made_by_an_operator_works_within_its_scopes_and_is_shown_once():
    factories.tenant("acme-inc")
    chief = operator()
    made = chief.post("tenants/acme-inc/api-tokens", {"scopes": ["devices:core:read"], "expires_in": 3600}).json()
    program = Program(made["secret"])
    assert program.get("tenants/acme-inc/devices").status_code == 200
    assert said(program.get("tenants/acme-inc/audit")) == (403, "missing-scope")
    assert made["secret"] not in chief.get("tenants/acme-inc/api-tokens").content.decode()
    assert chief.delete(f"tenants/acme-inc/api-tokens/{made['id']}").status_code == 200
    assert said(program.get("tenants/acme-inc/devices")) == (401, "bad-credential")


@pytest.mark.parametrize("scopes", [[], ["root"], ["tenants"], ["clusters"], "devices:core", [5]])
def test_a_tenants_token_gets_no_scope_that_is_not_a_tenants(scopes):
    factories.tenant("acme-inc")
    assert set(errors_of(operator().post("tenants/acme-inc/api-tokens", {"scopes": scopes}))) == {"scopes"}
    assert not ApiToken.objects.across_tenants().exclude(tenant=None).exists()


def test_pages_follow_each_other_without_gap_or_repeat():
    tenant = factories.tenant("acme-inc")
    made = [str(factories.enrolment_key(tenant)[0].pk) for _ in range(7)]
    program, path, seen = program_of(tenant), "tenants/acme-inc/enrolment-keys?limit=3", []
    sizes = []
    while path:
        page = program.get(path).json()
        sizes.append(len(page["results"]))
        seen += [key["id"] for key in page["results"]]
        path = page["next"]
    assert sizes == [3, 3, 1]
    assert seen == made[::-1], "the latest first"


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=-1",
        "limit=99999999999",
        "limit=١",
        "cursor=x",
        "cursor=cD1ub3Rh",
        "cursor=cD0lMDA=",
        "cursor=bz05OTk5OTk=",
        "page=2",
    ],
)
def test_a_wrong_parameter_of_a_list_is_refused_by_name(query):
    factories.tenant("acme-inc")
    for path in (
        "tenants/acme-inc/enrolment-keys",
        "tenants/acme-inc/audit",
        "tenants/acme-inc/devices",
        "tenants",
        "clusters",
        "bindings",
    ):
        answer = operator().get(f"{path}?{query}")
        if query.startswith("cursor") and answer.status_code == 200:
            continue  # a text is a fine position in a list that is ordered by texts
        assert set(errors_of(answer)) == {query.partition("=")[0]}, path


def test_a_broken_body_is_400_at_every_door():
    factories.tenant("acme-inc")
    chief = operator()
    headers = {"Authorization": f"Bearer {chief.secret}"}
    from django.test import Client

    for method, path in (
        ("POST", "tenants"),
        ("PATCH", "tenants/acme-inc"),
        ("POST", "tenants/acme-inc/enrolment-keys"),
        ("POST", "tenants/acme-inc/close"),
    ):
        for body in (b"{", b"[]", b"null", b'"x"', b"\xff", b'{"a": NaN}', b"[" * 9000, b'{"reason": "a", "reason": "b"}', b" " * 20000):
            answer = Client().generic(method, f"/api/v1/{path}", body, content_type="application/json", headers=headers)
            assert said(answer) == (400, "malformed-request"), (path, body)
        answer = Client().generic(method, f"/api/v1/{path}", b"a=b", content_type="application/x-www-form-urlencoded", headers=headers)
        assert said(answer) == (415, "unsupported-media-type")
    assert Tenant.objects.get().state == "active"


def test_the_audit_names_the_token_and_the_request_that_acted():
    factories.tenant("acme-inc")
    chief = operator()
    answer = chief.call("POST", "tenants/acme-inc/suspend", {}, **{"X-Request-ID": "a-request-of-mine"})
    assert answer["X-Request-ID"] == "a-request-of-mine"
    event = AuditEvent.objects.across_tenants().get(verb="tenant.suspend")
    token = ApiToken.objects.across_tenants().get(tenant=None)
    assert (event.actor, event.request_id) == (f"token:{token.pk}", "a-request-of-mine")


def test_clusters_are_cordoned_and_served_again_and_a_wrong_state_is_refused(fleet_cluster):
    chief, path = operator(), f"clusters/{fleet_cluster.cluster_id}"
    assert chief.get(path).json()["state"] == "active"
    assert "admin" not in chief.get(path).content.decode()
    for state in ("cordoned", "draining", "active"):
        assert chief.patch(path, {"state": state}).json()["state"] == state
    assert said(chief.patch(path, {"state": "active"})) == (409, "wrong-state")
    assert set(errors_of(chief.patch(path, {"state": "gone"}))) == {"state"}
    assert set(errors_of(chief.patch(path, {}))) == {"state"}
    assert said(chief.get("clusters/nowhere")) == (404, "not-found")
    verbs = AuditEvent.objects.across_tenants().filter(tenant=None, verb__startswith="cluster.").order_by("id")
    assert [event.verb for event in verbs] == ["cluster.cordon", "cluster.drain", "cluster.uncordon"]


def test_a_tenant_sees_where_it_lives_what_it_was_promised_and_how_much_is_left(fleet_cluster):
    customer = factories.customer("acme-inc", max_devices=2)
    program = program_of(customer.tenant)
    assert said(program.get("tenants/acme-inc/binding")) == (404, "not-found")
    key = bootstrap(customer.secret, {"registration_id": "till-7"}).json()["auth_key"]
    assert program.get("tenants/acme-inc/binding").json()["cluster_id"] == fleet_cluster.cluster_id
    assert program.get("tenants/acme-inc/quota").json() == {"limit": 2, "used": 1, "free": 1, "max_members": None}
    grants = program.get("tenants/acme-inc/grants")
    [grant] = grants.json()["results"]
    assert (grant["state"], grant["registration_id"], grant["enrolment_key"]) == ("issued", "till-7", str(customer.key.pk))
    text = grants.content.decode()
    assert key not in text
    assert key.split("-")[2] not in text


def test_the_last_use_of_a_token_is_kept():
    tenant = factories.tenant("acme-inc")
    program_of(tenant).get("tenants/acme-inc")
    assert timezone.now() - ApiToken.objects.of(tenant).get().last_used_at < timedelta(minutes=1)
