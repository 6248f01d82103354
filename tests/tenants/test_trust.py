"""Trust policies: made, changed and revoked, audited; what would let too many in, or call where nobody may, is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tenants import credentials, lifecycle, trust
from tenants.errors import MalformedRequest, WrongState
from tenants.models import AuditEvent, EnrolmentKey, TrustPolicy
from tests import factories
from tests.fakes.oidc import Issuer

pytestmark = pytest.mark.django_db
ACTED = {"actor": "system:tests"}
GITHUB = {"issuer": "https://token.actions.githubusercontent.com", "audience": "https://acs.example.com/acme", "subject": "repo:acme/*"}


def make(tenant: Any, name: str = "ci", **wish: Any) -> TrustPolicy:
    return trust.make(tenant, name, now=timezone.now(), **ACTED, **{**GITHUB, **wish})


def verbs(tenant: Any) -> list[str]:
    return list(AuditEvent.objects.of(tenant).filter(verb__regex="trust|enrolment").order_by("id").values_list("verb", flat=True))


def test_a_policys_life_is_audited():
    tenant = factories.tenant()
    policy = make(tenant, claims={"ref": "refs/heads/main"}, max_devices=3)
    assert (policy.key.kind, policy.key.max_devices, policy.registration_claim) == ("workload", 3, "sub")
    assert policy.key.key_lifetime == timedelta(hours=1)
    changed = trust.change(policy, subject="repo:acme/tills:*", claims={}, ephemeral=True, now=timezone.now(), **ACTED)
    assert (changed.subject, changed.claims, changed.key.ephemeral, changed.issuer) == ("repo:acme/tills:*", {}, True, GITHUB["issuer"])
    credentials.revoke(changed.key, now=timezone.now(), **ACTED)
    with pytest.raises(WrongState):
        trust.change(policy, audience="x", now=timezone.now(), **ACTED)
    assert TrustPolicy.objects.of(tenant).get().audience == GITHUB["audience"]
    assert verbs(tenant) == ["trust_policy.make", "trust_policy.change", "enrolment_key.revoke"]
    detail = AuditEvent.objects.of(tenant).get(verb="trust_policy.change").detail
    assert detail == {"fields": ["claims", "ephemeral", "subject"], "subject": "repo:acme/tills:*", "claims": {}}


def test_names_are_one_in_a_tenant_and_closed_tenants_make_none():
    tenant = factories.tenant()
    make(tenant)
    with pytest.raises(MalformedRequest, match="taken"):
        make(tenant)
    make(factories.tenant())
    tenant = lifecycle.close(tenant, now=timezone.now(), **ACTED)
    with pytest.raises(WrongState):
        make(tenant, "other")
    assert EnrolmentKey.objects.of(tenant).count() == 1


EC = Issuer.new_key("k").as_dict(private=False)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"issuer": ""}, "issuer"),
    "an issuer without TLS": ({"issuer": "http://issuer.example"}, "issuer"),
    "an issuer on a port": ({"issuer": "https://issuer.example:8443"}, "issuer"),
    "an issuer with a query": ({"issuer": "https://issuer.example/?a=1"}, "issuer"),
    "an issuer with a password": ({"issuer": "https://a:b@issuer.example"}, "issuer"),
    "an issuer with a space": ({"issuer": " https://issuer.example"}, "issuer"),
    "a long issuer": ({"issuer": "https://issuer.example/" + "x" * 300}, "issuer"),
    "no audience": ({"audience": ""}, "audience"),
    "an audience with a NUL": ({"audience": "a\0"}, "audience"),
    "no subject": ({"subject": ""}, "subject"),
    "everybody": ({"subject": "*"}, "subject"),
    "everybody in other words": ({"subject": "?*"}, "subject"),
    "everybody with any claim": ({"subject": "*", "claims": {"ref": "*"}}, "subject"),
    "everybody with a claim or any": ({"subject": "**", "claims": {"ref": ["main", "*"]}}, "subject"),
    "claims that are a list": ({"claims": ["ref"]}, "claims"),
    "a claim without a pattern": ({"claims": {"ref": []}}, "claims"),
    "a claim without a name": ({"claims": {"": "x"}}, "claims"),
    "a claim that is a number": ({"claims": {"ref": 5}}, "claims"),
    "a claim with a NUL": ({"claims": {"ref\0": "x"}}, "claims"),
    "too many claims": ({"claims": {f"c{number}": "x" for number in range(33)}}, "claims"),
    "too long claims": ({"claims": {f"c{number}": "x" * 500 for number in range(20)}}, "claims"),
    "keys without TLS": ({"jwks_uri": "http://issuer.example/keys"}, "jwks_uri"),
    "keys that are here and there": ({"jwks_uri": "https://issuer.example/keys", "jwks": {"keys": [EC]}}, "jwks"),
    "no keys": ({"jwks": {"keys": []}}, "jwks"),
    "keys that are none": ({"jwks": [EC]}, "jwks"),
    "a private key": ({"jwks": {"keys": [Issuer.new_key("k").as_dict(private=True)]}}, "jwks"),
    "a shared key": ({"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, "jwks"),
    "a key that encrypts": ({"jwks": {"keys": [EC | {"use": "enc"}]}}, "jwks"),
    "large keys": ({"jwks": {"keys": [EC | {"x5c": ["x" * 70_000]}]}}, "jwks"),
    "no claim for the name": ({"registration_claim": ""}, "registration_claim"),
    "a setting that there is not": ({"secret": "x"}, "secret"),
    "an expiry in the past": ({"expires_at": timezone.now() - timedelta(hours=1)}, "expires_at"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_policy_may_say(name):
    tenant = factories.tenant()
    wish, field = WRONG[name]
    with pytest.raises(MalformedRequest) as refused:
        make(tenant, **wish)
    assert field in refused.value.errors
    assert not EnrolmentKey.objects.of(tenant).exists()


def test_a_change_is_held_to_the_whole_policy():
    policy = make(factories.tenant(), subject="*", claims={"repository_owner_id": "42"})
    for wish, field in (({"claims": {}}, "subject"), ({"jwks_uri": "https://issuer.example/keys", "jwks": {"keys": [EC]}}, "jwks")):
        with pytest.raises(MalformedRequest) as refused:
            trust.change(policy, now=timezone.now(), **ACTED, **wish)
        assert field in refused.value.errors
    assert trust.change(policy, claims={}, subject="repo:acme/*", now=timezone.now(), **ACTED).claims == {}


def test_only_the_public_part_of_a_key_is_kept_and_only_of_keys_that_can_sign():
    keys = [
        EC | {"x5c": ["MII"], "comment": "x"},
        EC | {"kid": "enc", "use": "enc"},
        {"kty": "LMS", "kid": "q"},
        EC | {"kid": "x", "alg": "ES512"},
    ]
    policy = make(factories.tenant(), issuer="https://kubernetes.default.svc.cluster.local", jwks={"keys": keys})
    assert policy.jwks == {"keys": [EC]}


def test_an_issuer_whose_keys_are_given_may_be_on_any_port_for_nobody_calls_it():
    assert make(factories.tenant(), issuer="https://10.0.0.1:6443", jwks={"keys": [EC]}).pk


def test_a_tenant_has_so_many_policies_and_no_more(monkeypatch):
    monkeypatch.setattr(trust, "MOST_POLICIES", 1)
    tenant = factories.tenant()
    first = make(tenant)
    with pytest.raises(WrongState, match="revoke"):
        make(tenant, "other")
    credentials.revoke(first.key, now=timezone.now(), **ACTED)
    assert make(tenant, "other").pk
