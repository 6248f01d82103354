"""Trust policies through /api/v1."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tenants import lifecycle
from tenants.models import AuditEvent, TrustPolicy
from tests import factories
from tests.api.callers import operator, program_of, said
from tests.doors import bootstrap
from tests.fakes.oidc import AUDIENCE, Issuer

pytestmark = pytest.mark.django_db
ADDRESS = "tenants/mine/trust-policies"
ISSUER = Issuer("https://cluster.example")
WISH = {"name": "pods", "issuer": ISSUER.url, "audience": AUDIENCE, "subject": "repo:acme/*", "jwks": ISSUER.jwks}


def test_a_policys_life_through_the_api(fleet_cluster):
    tenant = factories.tenant("mine")
    program = program_of(tenant)
    made = program.post(ADDRESS, WISH | {"claims": {"ref_protected": ["true"]}, "max_devices": 1, "registration_claim": "run_id"})
    assert made.status_code == 201, made.content
    body = made.json()
    assert (body["name"], body["claims"], body["max_devices"], body["key_lifetime"], body["jwks"]) == (
        "pods",
        {"ref_protected": ["true"]},
        1,
        3600,
        ISSUER.jwks,
    )
    assert bootstrap(ISSUER.token(), {"account": "mine"}).status_code == 200
    assert program.get(ADDRESS).json()["results"][0]["devices"] == 1
    one = f"{ADDRESS}/{body['id']}"
    changed = program.patch(one, {"max_devices": None, "subject": "repo:acme/tills:*", "key_lifetime": 600, "re_enrolment": "keep"}).json()
    assert (changed["max_devices"], changed["subject"], changed["key_lifetime"], changed["name"]) == (
        None,
        "repo:acme/tills:*",
        600,
        "pods",
    )
    assert program.get(one).json() == changed
    assert program.delete(one).json()["revoked_at"]
    assert said(bootstrap(ISSUER.token(), {"account": "mine"})) == (401, "bad-credential")
    assert said(program.delete(one)) == (409, "wrong-state")
    assert said(program.patch(one, {"audience": "x"})) == (409, "wrong-state")
    verbs = set(AuditEvent.objects.of(tenant).filter(actor__startswith="token:").values_list("verb", flat=True))
    assert {"trust_policy.make", "trust_policy.change", "enrolment_key.revoke"} <= verbs


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"issuer": "http://cluster.example"}, "issuer"),
        ({"issuer": "https://127.0.0.1:6443", "jwks": None}, "issuer"),
        ({"subject": "*"}, "subject"),
        ({"subject": 5}, "subject"),
        ({"claims": ["x"]}, "claims"),
        ({"claims": {"x": {"y": "z"}}}, "claims"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "x"}]}}, "jwks"),
        ({"jwks": "x"}, "jwks"),
        ({"jwks": {}}, "jwks"),
        ({"name": "not a name"}, "name"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"key_lifetime": 10}, "key_lifetime"),
        ({"re_enrolment": "sometimes"}, "re_enrolment"),
        ({"expires_at": (timezone.now() - timedelta(days=1)).isoformat()}, "expires_at"),
        ({"audience": None}, "audience"),
    ],
)
def test_what_is_wrong_is_named(change, field):
    program = program_of(factories.tenant("mine"))
    answer = program.post(ADDRESS, WISH | change)
    assert said(answer) == (400, "malformed-request"), answer.content
    assert set(answer.json()["errors"]) == {field}
    assert not TrustPolicy.objects.across_tenants().exists()


def test_a_read_scope_reads_and_a_suspended_tenant_changes_nothing():
    tenant = factories.tenant("mine")
    reader, writer = program_of(tenant, "auth_keys:read"), program_of(tenant, "auth_keys")
    policy_id = writer.post(ADDRESS, WISH).json()["id"]
    assert reader.get(f"{ADDRESS}/{policy_id}").status_code == 200
    assert said(reader.post(ADDRESS, WISH | {"name": "x"})) == (403, "missing-scope")
    assert said(reader.delete(f"{ADDRESS}/{policy_id}")) == (403, "missing-scope")
    assert said(program_of(tenant, "devices:core").get(ADDRESS)) == (403, "missing-scope")
    lifecycle.suspend(tenant, now=timezone.now(), actor="system:tests")
    assert said(writer.patch(f"{ADDRESS}/{policy_id}", {"subject": "x"})) == (403, "tenant-suspended")
    assert operator().delete(f"{ADDRESS}/{policy_id}").status_code == 200
