"""The operators' commands: the same verbs as the API, with plain words for what cannot be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tenants import tokens
from tenants.errors import BadCredential
from tenants.models import ApiToken, AuditEvent, EnrolmentKey, Plan, Tenant
from tests import factories
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(capsys: Any) -> Any:
    def call(*words: str) -> str:
        call_command(*words)
        return capsys.readouterr().out

    return call


def test_a_tenants_life_on_the_command_line(run):
    run("plan", "create", "team", "--title", "Team", "--max-devices", "7", "--region", "eu", "--region", "us", "--default-region", "eu")
    run("plan", "create", "large", "--title", "Large", "--max-devices", "70")
    assert "team  7 devices  shared  standard  eu, us  Team" in run("plan", "list")
    assert run("tenant", "create", "acme-inc", "--plan", "team", "--title", "Acme Inc.") == "acme-inc is active\n"
    assert "acme-inc  active  team  0/7 slots  Acme Inc." in run("tenant", "list")
    assert "devices expire" in run("tenant", "suspend", "acme-inc", "--reason", "a test")
    assert run("tenant", "list", "--state", "active") == ""
    assert run("tenant", "resume", "acme-inc") == "acme-inc is active\n"
    assert run("tenant", "plan", "acme-inc", "large") == "acme-inc is on large: 70 devices\n"
    assert "are deleted" in run("tenant", "close", "acme-inc")
    assert run("tenant", "reopen", "acme-inc") == "acme-inc is active\n"
    assert "0 of 70" in run("tenant", "show", "acme-inc")
    assert AuditEvent.objects.of(Tenant.objects.get()).filter(actor="system:manage.py").count() == 6


def test_an_enrolment_keys_life_on_the_command_line(run, fleet_cluster):
    factories.tenant("acme-inc")
    secret = run("enrolment_key", "issue", "acme-inc", "--max-uses", "1", "--expires-in", "2h", "--key-lifetime", "30m").strip()
    assert bootstrap(secret).status_code == 200
    key = EnrolmentKey.objects.across_tenants().get()
    listed = run("enrolment_key", "list", "acme-inc")
    assert "used 1 of 1" in listed
    assert secret not in listed
    assert "is revoked" in run("enrolment_key", "revoke", str(key.pk))
    with pytest.raises(CommandError, match="revoked already"):
        run("enrolment_key", "revoke", str(key.pk))


def test_a_tokens_life_on_the_command_line(run):
    factories.tenant("acme-inc")
    secret = run("token", "issue", "acme-inc", "--scope", "devices:core", "--expires-in", "1d").strip()
    assert tokens.authenticate(secret, now=timezone.now()).tenant == Tenant.objects.get()
    operators = run("token", "issue", "--operator", "--scope", "tenants", "--scope", "clusters:read").strip()
    assert tokens.authenticate(operators, now=timezone.now()).tenant is None
    assert "clusters:read,tenants" in run("token", "list", "--operator")
    assert "devices:core" in run("token", "list", "acme-inc")
    run("token", "revoke", str(ApiToken.objects.across_tenants().get(tenant=None).pk))
    with pytest.raises(BadCredential):
        tokens.authenticate(operators, now=timezone.now())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("tenant", "create", "Acme", "--plan", "team"), "lower case"),
        (("tenant", "create", "a--b", "--plan", "team"), "two hyphens"),
        (("tenant", "create", "acme-inc", "--plan", "team"), "taken"),
        (("tenant", "create", "new-one", "--plan", "gone"), "no plan 'gone'"),
        (("tenant", "show", "nobody"), "No tenant has the account 'nobody'"),
        (("tenant", "resume", "acme-inc"), "the tenant is active"),
        (("plan", "create", "team", "--title", "T", "--max-devices", "1"), "already exists"),
        (("plan", "create", "a b", "--title", "T", "--max-devices", "1"), "name"),
        (("plan", "create", "p", "--title", "T", "--max-devices", "-1"), "max_devices"),
        (("plan", "create", "p", "--title", "T", "--max-devices", "1", "--region", "eu", "--default-region", "us"), "default_region"),
        (("enrolment_key", "issue", "acme-inc", "--key-lifetime", "25h"), "24 hours"),
        (("enrolment_key", "issue", "acme-inc", "--expires-in", "soon"), "no duration"),
        (("enrolment_key", "revoke", "x"), "no id"),
        (("enrolment_key", "revoke", "00000000-0000-0000-0000-000000000000"), "no enrolment key"),
        (("token", "issue", "acme-inc", "--scope", "tenants"), "devices:core"),
        (("token", "issue", "acme-inc"), "Name scopes"),
        (("token", "issue", "acme-inc", "--scope", "devices:core", "--expires-in", "400d"), "366 days"),
        (("token", "list"), "required"),
        (("tenant",), "required"),
    ],
)
def test_what_cannot_be_is_said_in_plain_words_and_leaves_nothing(words, reason):
    plan = factories.plan(name="team")
    factories.tenant("acme-inc")
    plans = Plan.objects.count()
    with pytest.raises(CommandError, match=reason):
        call_command(*words)
    assert (Tenant.objects.count(), Plan.objects.count()) == (1, plans)
    assert plan.name == "team"


def test_an_enrolment_key_may_have_at_the_command_line_what_every_credential_may(run):
    tenant = factories.tenant()
    words = ["--max-devices", "3", "--approval", "--re-enrolment", "keep", "--region", "eu", "--key-lifetime", "10m"]
    run("enrolment_key", "issue", tenant.account, *words)
    key = EnrolmentKey.objects.of(tenant).get()
    assert (key.max_devices, key.approval, key.re_enrolment, key.want_region, key.key_lifetime) == (
        3,
        True,
        "keep",
        "eu",
        timedelta(minutes=10),
    )
