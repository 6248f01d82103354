"""For a tenant's token nothing exists but its own tenant: every address answers 404, whatever the method, the scope and the id."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from billing import accounts, concessions, holds, invoicing, subscriptions
from billing.payments import ledger
from billing.payments.received import Received
from billing.rating.cycles import month_of
from placement import moveplans
from placement.models import Binding, Decision, Device, Route
from placement.policies import peerings
from tenants import enrolments, groups, lifecycle, netpolicy, tokens, trust
from tenants.models import ApiToken, TrustPolicy
from tests import factories
from tests.api.callers import Program, operator, program_of, said
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db
PUBLIC = {"bootstrap", "bootstrap/report", "derp/<slug:cluster_id>.json"}
OF_THE_CALLER = {"peerings"}  # whose they are, the token says: this list exists for everybody
PLAIN = (
    "cluster_id",
    "route_id",
    "number",
    "version_id",
    "override_id",
    "entry_id",
    "payment_id",
    "notice_id",
    "currency",
    "key",
    "line",
)  # words and numbers that stand elsewhere too
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def patterns() -> Iterator[URLPattern]:
    """Every address under /api/v1 but the public ones."""
    api = next(part for part in get_resolver().url_patterns if str(part.pattern) == "api/v1/")
    for pattern in api.url_patterns:
        assert isinstance(pattern, URLPattern), "includes below /api/v1 need a walk of their own here"
        if str(pattern.pattern) not in PUBLIC:
            yield pattern


def walk(ids: dict[str, Any], *, besides: Collection[str] = ()) -> Iterator[str]:
    for pattern in patterns():
        path = str(pattern.pattern)
        if path in besides:
            continue
        for name, converter in pattern.pattern.converters.items():
            kind = {"UUIDConverter": "uuid", "StringConverter": "str", "IntConverter": "int"}.get(type(converter).__name__, "slug")
            path = path.replace(f"<{kind}:{name}>", str(ids[name]))
        assert "<" not in path, path
        yield path


def subscribed(tenant: Any) -> dict[str, Any]:
    """The tenant has a subscription with an override, and an invoice of which a part was paid."""
    sold.rates()
    version, told = sold.version(of=tenant.plan), {"now": timezone.now(), "actor": "system:tests"}
    accounts.put(tenant, name="Victim", email="books@victim.example", country="DE", currency="EUR", **told)
    subscriptions.start(tenant, version, **told)
    override = concessions.override(tenant, max_members=7, until=None, **told)
    with transaction.atomic(), override_settings(SELLER=SELLER):
        invoice = invoicing.issue(invoicing.draft(tenant.subscription, month_of(timezone.now()), now=timezone.now()), **told)
        payment = ledger.enter(invoice, Received("stripe", "pi_1", 100, "EUR", timezone.now()), **told)
    holds.hold(tenant, until=timezone.now() + timedelta(days=9), reason="as agreed", **told)
    paid = {"entry_id": 1, "payment_id": payment.pk, "notice_id": invoice.notices.get().pk}
    ids = {**paid, "version_id": version.pk, "currency": "EUR", "key": "base", "override_id": override.pk}
    return {**ids, "invoice": invoice.name, "line": 1}


@pytest.fixture
def victim(fleet_cluster: Any) -> dict[str, Any]:
    """A tenant that has one of everything, as the ids that stand in addresses."""
    customer = factories.customer("victim")
    assert bootstrap(customer.secret).status_code == 200
    token, _ = tokens.issue(customer.tenant, scopes=["auth_keys"], now=timezone.now(), lifetime=timedelta(hours=1), actor="system:tests")
    policy = trust.make(
        customer.tenant, "ci", issuer="https://issuer.example", audience="acs", subject="x", now=timezone.now(), actor="system:tests"
    )
    device = Device.objects.create(
        tenant=customer.tenant,
        cluster=fleet_cluster.row,
        node_id=1,
        machine_key="m",
        node_key="n",
        name="d",
        joined_at=timezone.now(),
        seen_at=timezone.now(),
    )
    route = Route.objects.create(
        tenant=customer.tenant, device=device, cluster=fleet_cluster.row, prefix="10.77.0.0/16", created_at=timezone.now()
    )
    decision = Decision.objects.of(customer.tenant).get()
    group, _secrets = groups.make(customer.tenant, "tills", now=timezone.now(), actor="system:tests")
    told = {"now": timezone.now(), "actor": "system:tests"}
    peering = peerings.offer(customer.tenant, factories.tenant("partner").account, dst=["*"], services=["*"], **told)
    version = netpolicy.put(customer.tenant, "{}", expected=0, now=timezone.now(), actor="system:tests")
    enrolment = enrolments.put(customer.tenant, "till-7", state="enabled", now=timezone.now(), actor="system:tests")
    return {
        "group_id": group.pk,
        "registration_id": enrolment.registration_id,
        "account": customer.account,
        "key_id": customer.key.pk,
        "token_id": token.pk,
        "policy_id": policy.pk,
        "device_id": device.pk,
        "route_id": route.pk,
        "peering_id": peering.pk,
        "cluster_id": fleet_cluster.cluster_id,
        "decision_id": decision.pk,
        "number": version.number,
        **subscribed(customer.tenant),
        "plan_id": moveplans.make_drain([fleet_cluster.cluster_id], actor="system:tests", now=timezone.now()).pk,
    }


@pytest.mark.parametrize("scopes", [(), ("policy_file",)], ids=["every scope", "no fitting scope"])
def test_another_tenant_gets_404_at_every_address(victim, scopes):
    stranger = program_of(factories.tenant("stranger"), *scopes)
    for path in walk(victim, besides=OF_THE_CALLER):
        for method in METHODS:
            answer = stranger.call(method, path, {} if method in ("POST", "PUT", "PATCH") else None)
            assert answer.status_code == 404, (method, path, answer.content)
            if method != "HEAD":
                assert said(answer) == (404, "not-found")


def test_an_existing_tenant_looks_to_others_like_one_that_does_not_exist(victim):
    stranger = program_of(factories.tenant("stranger"))
    for path in walk(victim):
        absent = path.replace("victim", "nobody-here")
        assert stranger.get(path).content == stranger.get(absent).content


def test_ids_of_another_tenant_do_not_exist_under_ones_own_account(victim):
    tenant = factories.tenant("stranger")
    stranger, chief = program_of(tenant), operator()
    for path in walk(victim | {"account": "stranger"}):
        owned = ("invoice", "key_id", "token_id", "policy_id", "device_id", "route_id", "group_id", "registration_id")
        if not path.startswith("billing/") and any(str(victim[name]) in path.split("/") for name in owned):  # versions are nobody's
            for method in ("GET", "PATCH", "DELETE", "POST", "PUT"):
                assert stranger.call(method, path, {"name": "x"}).status_code in (400, 403, 404, 405), (method, path)
                assert chief.call(method, path, {"name": "x"}).status_code in (400, 404, 405), (method, path)
    key = ApiToken.objects.across_tenants().get(pk=victim["token_id"])
    assert key.revoked_at is None
    assert TrustPolicy.objects.across_tenants().get(pk=victim["policy_id"]).key.revoked_at is None
    assert Device.objects.across_tenants().get(pk=victim["device_id"]).name == "d"
    assert Route.objects.across_tenants().get(pk=victim["route_id"]).state == "waiting"


def test_without_a_token_or_with_a_wrong_one_every_address_answers_401(victim):
    for path in walk(victim):
        for caller in (Program(None), Program("acs-api-wrong"), Program("")):
            answer = caller.get(path)
            assert said(answer) == (401, "bad-credential"), path
            assert answer["WWW-Authenticate"] == "Bearer"


def test_an_enrolment_key_is_no_api_token_and_a_token_no_enrolment_key(fleet_cluster):
    customer = factories.customer()
    assert said(Program(customer.secret).get(f"tenants/{customer.account}")) == (401, "bad-credential")
    assert said(bootstrap(program_of(customer.tenant).secret)) == (401, "bad-credential")


def test_an_operator_reads_everything_that_can_be_read(victim):
    chief = operator()
    for path in walk(victim):
        asked = f"{path}?src=d&dst=d" if path.endswith("/explain") else path
        assert chief.get(asked).status_code in (200, 405), path


def test_an_operator_without_the_scope_is_told_which_one_is_missing(victim):
    answer = operator("clusters:read").get("tenants/victim/devices")
    assert said(answer) == (403, "missing-scope")
    assert "devices:core" in answer.json()["detail"]


def test_a_read_scope_reads_and_does_not_write(victim):
    tenant = factories.tenant("reader")
    reader = program_of(tenant, "auth_keys:read", "devices:core:read", "tenants:read")
    assert reader.get("tenants/reader/enrolment-keys").status_code == 200
    assert reader.get("tenants/reader/devices").status_code == 200
    assert said(reader.post("tenants/reader/enrolment-keys", {})) == (403, "missing-scope")
    assert said(reader.patch("tenants/reader", {"plan": tenant.plan_id})) == (403, "missing-scope")
    assert said(reader.post("tenants/reader/suspend")) == (403, "missing-scope")


def test_a_tenants_token_carries_no_operators_scope():
    program = program_of(factories.tenant("mine"))
    for path in ("tenants/mine/suspend", "tenants/mine/close", "tenants/mine/api-tokens"):
        assert said(program.post(path, {})) == (403, "missing-scope")


def test_a_suspended_tenants_api_reads_and_a_closed_ones_does_not():
    tenant = factories.tenant("mine")
    program, now = program_of(tenant), timezone.now()
    lifecycle.suspend(tenant, now=now, actor="system:tests")
    assert program.get("tenants/mine").json()["state"] == "suspended"
    assert program.get("tenants/mine/enrolment-keys").status_code == 200
    assert said(program.post("tenants/mine/enrolment-keys", {})) == (403, "tenant-suspended")
    assert operator().post("tenants/mine/enrolment-keys", {}).status_code == 201
    lifecycle.close(tenant, now=now, actor="system:tests")
    assert said(program.get("tenants/mine")) == (401, "bad-credential")
    assert operator().get("tenants/mine").json()["state"] == "closed"


def test_an_expired_and_a_revoked_token_are_nobody():
    tenant = factories.tenant("mine")
    program = program_of(tenant)
    token = ApiToken.objects.of(tenant).get()
    ApiToken.objects.of(tenant).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert said(program.get("tenants/mine")) == (401, "bad-credential")
    ApiToken.objects.of(tenant).update(expires_at=timezone.now() + timedelta(hours=1))
    assert program.get("tenants/mine").status_code == 200
    tokens.revoke(token, now=timezone.now(), actor="system:tests")
    assert said(program.get("tenants/mine")) == (401, "bad-credential")


def test_no_list_shows_a_row_of_another_tenant(victim, fleet_cluster):
    mine = factories.customer("mine")
    bootstrap(mine.secret)
    program = program_of(mine.tenant)
    lists = [
        f"tenants/mine/{kind}" for kind in ("enrolment-keys", "trust-policies", "devices", "routes", "grants", "audit", "policy/versions")
    ]
    for kind in (*lists, *OF_THE_CALLER):
        text = program.get(f"{kind}?limit=200").content.decode()
        assert "10.77.0.0/16" not in text, kind
        for name, value in victim.items():
            assert str(value) not in text or name in PLAIN, kind
    assert Binding.objects.across_tenants().count() == 2


def test_a_version_of_another_tenant_does_not_exist_under_ones_own_account(victim):
    tenant = factories.tenant("stranger")
    for caller in (program_of(tenant), operator()):
        for path in ("policy/versions/1", "policy/versions/1/diff"):
            assert said(caller.get(f"tenants/stranger/{path}")) == (404, "not-found")
