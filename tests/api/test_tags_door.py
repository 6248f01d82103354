"""Tags through /api/v1, in the tenant's own words: what its credentials may carry, and what a key made for a device then carries on the server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from placement.models import Grant
from tenants import tags
from tenants.models import EnrolmentKey
from tests import factories
from tests.api.callers import Program, program_of, said
from tests.conftest import superuser
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db
AT = "tenants/acme-inc"
ISSUER = {"name": "ci", "issuer": "https://issuer.example", "audience": "acs", "subject": "repo:acme/*"}
MADE = {"enrolment-keys": {}, "enrolment-groups": {"name": "tills"}, "trust-policies": ISSUER}


@pytest.fixture
def program() -> Program:
    tenant = factories.tenant("acme-inc")
    factories.policy(tenant, "tag:web", "tag:db")
    return program_of(tenant)


def errors_of(answer: Any) -> dict[str, str]:
    assert said(answer) == (400, "malformed-request")
    return dict(answer.json()["errors"])


def keys_on_server() -> list[tuple[list[str], str]]:
    """Tags and user of every key of the fleet, oldest first."""
    with superuser() as link:
        rows = link.execute("select k.tags, u.name from headscale.pre_auth_keys k join headscale.users u on u.id = k.user_id order by k.id")
        return [(json.loads(text), user) for text, user in rows.fetchall()]


@pytest.mark.parametrize("kind", MADE)
def test_every_credential_carries_tags_that_the_policy_declares(program, kind):
    made = program.post(f"{AT}/{kind}", {**MADE[kind], "tags": ["tag:web", "tag:db"]})
    assert (made.status_code, made.json()["tags"]) == (201, ["tag:db", "tag:web"])
    assert program.get(f"{AT}/{kind}/{made.json()['id']}").json()["tags"] == ["tag:db", "tag:web"]
    if kind != "enrolment-keys":
        changed = program.patch(f"{AT}/{kind}/{made.json()['id']}", {"tags": ["tag:db"]})
        assert changed.json()["tags"] == ["tag:db"]
        assert program.patch(f"{AT}/{kind}/{made.json()['id']}", {"description": "x"}).json()["tags"] == ["tag:db"]
        assert "tags" in errors_of(program.patch(f"{AT}/{kind}/{made.json()['id']}", {"tags": ["tag:other"]}))


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize(
    "given",
    [
        ["tag:other"],
        ["web"],
        ["tag:"],
        ["tag:Web"],
        ["tag:7up"],
        ["tag:acme-inc--web"],
        ["tag:a--b"],
        ["tag:" + "a" * 41],
        ["tag:web", "tag:web"],
        [f"tag:t{n}" for n in range(11)],
        "tag:web",
        [5],
    ],
)
def test_a_tag_that_is_none_or_not_declared_is_refused_by_name(program, kind, given):
    assert set(errors_of(program.post(f"{AT}/{kind}", {**MADE[kind], "tags": given}))) == {"tags"}
    assert not EnrolmentKey.objects.across_tenants().exists()


def test_without_a_policy_there_are_no_tags():
    program = program_of(factories.tenant("acme-inc"))
    assert "tag:web" in errors_of(program.post(f"{AT}/enrolment-keys", {"tags": ["tag:web"]}))["tags"]
    assert program.post(f"{AT}/enrolment-keys", {"tags": []}).status_code == 201


def test_another_tenants_policy_declares_nothing_for_this_one(program):
    other = program_of(factories.tenant("other"))
    assert "tags" in errors_of(other.post("tenants/other/enrolment-keys", {"tags": ["tag:web"]}))


@pytest.mark.django_db(transaction=True)
def test_a_device_gets_a_key_with_the_servers_tags_and_the_same_one_again(program, fleet_cluster):
    secret = program.post(f"{AT}/enrolment-keys", {"tags": ["tag:web", "tag:db"]}).json()["secret"]
    first = bootstrap(secret, {"registration_id": "till-7"})
    assert first.status_code == 200
    assert bootstrap(secret, {"registration_id": "till-7"}).json()["auth_key"] == first.json()["auth_key"]
    assert keys_on_server() == [(["tag:acme-inc--db", "tag:acme-inc--web"], "acme-inc")]
    assert Grant.objects.across_tenants().get().tags == ["tag:db", "tag:web"]


@pytest.mark.django_db(transaction=True)
def test_a_devices_own_tags_win_over_its_credentials(program, fleet_cluster):
    secret = program.post(f"{AT}/enrolment-keys", {"tags": ["tag:web"]}).json()["secret"]
    for name, own in (("till-1", ["tag:db"]), ("till-2", []), ("till-3", None)):
        put = program.call("PUT", f"{AT}/enrolments/{name}", {"state": "enabled", "tags": own})
        assert (put.status_code, put.json()["tags"]) == (200, own)
        bootstrap(secret, {"registration_id": name})
    assert [on_server for on_server, _ in keys_on_server()] == [["tag:acme-inc--db"], [], ["tag:acme-inc--web"]]
    assert "tags" in errors_of(program.call("PUT", f"{AT}/enrolments/till-4", {"state": "enabled", "tags": ["tag:other"]}))


def test_who_edits_the_policy_can_ask_which_tags_credentials_carry(program):
    made = program.post(f"{AT}/enrolment-keys", {"tags": ["tag:web"]}).json()
    program.call("PUT", f"{AT}/enrolments/till-1", {"state": "enabled", "tags": ["tag:db"]})
    tenant = EnrolmentKey.objects.across_tenants().select_related("tenant").get().tenant
    assert tags.declared(tenant) == {"tag:web", "tag:db"}
    in_use = tags.in_use(tenant)
    assert made["hint"] in in_use["tag:web"]
    assert "till-1" in in_use["tag:db"]
    program.delete(f"{AT}/enrolment-keys/{made['id']}")
    assert set(tags.in_use(tenant)) == {"tag:db"}
