"""Enrolment groups and decisions about single devices through /api/v1."""

from __future__ import annotations

import pytest

from tenants.models import AuditEvent, EnrolmentGroup, Tenant
from tests import factories
from tests.api.callers import operator, program_of, said

pytestmark = pytest.mark.django_db
AT = "tenants/acme-inc"


@pytest.fixture
def program():
    return program_of(factories.tenant("acme-inc"), "auth_keys")


def errors_of(answer) -> dict[str, str]:
    assert said(answer) == (400, "malformed-request"), answer.content
    return answer.json()["errors"]


def test_a_group_lives_from_its_making_to_its_end(program):
    made = program.post(f"{AT}/enrolment-groups", {"name": "tills", "allowed": ["till-*"], "max_devices": 5, "re_enrolment": "keep"})
    assert made.status_code == 201
    group = made.json()
    assert group["primary"] != group["secondary"]
    assert (group["name"], group["allowed"], group["max_devices"], group["key_lifetime"]) == ("tills", ["till-*"], 5, 3600)
    at = f"{AT}/enrolment-groups/{group['id']}"
    changed = program.patch(at, {"approval": True, "max_devices": None}).json()
    assert (changed["approval"], changed["max_devices"], changed["allowed"]) == (True, None, ["till-*"])
    rotated = program.post(f"{at}/rotate", {"which": "secondary"}).json()
    assert rotated["which"] == "secondary"
    assert rotated["secret"] not in (group["primary"], group["secondary"])
    shown = program.get(f"{AT}/enrolment-groups").content.decode() + program.get(at).content.decode()
    assert not any(secret in shown for secret in (group["primary"], group["secondary"], rotated["secret"]))
    assert program.delete(at).json()["revoked_at"]
    assert said(program.delete(at)) == (409, "wrong-state")
    assert said(program.post(f"{at}/rotate", {"which": "primary"})) == (409, "wrong-state")
    assert said(program.patch(at, {"approval": False})) == (409, "wrong-state")
    verbs = list(AuditEvent.objects.across_tenants().filter(verb__startswith="enrol").order_by("id").values_list("verb", flat=True))
    assert verbs == ["enrolment_group.make", "enrolment_group.change", "enrolment_group.rotate", "enrolment_key.revoke"]


def test_a_group_is_no_enrolment_key_and_is_not_listed_among_them(program):
    group = program.post(f"{AT}/enrolment-groups", {"name": "tills"}).json()
    program.post(f"{AT}/enrolment-keys", {"description": "bearer", "max_devices": 3})
    [key] = program.get(f"{AT}/enrolment-keys").json()["results"]
    assert (key["description"], key["max_devices"], key["devices"]) == ("bearer", 3, 0)
    assert said(program.get(f"{AT}/enrolment-keys/{group['id']}")) == (404, "not-found")
    assert said(program.delete(f"{AT}/enrolment-keys/{group['id']}")) == (404, "not-found")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "with space"),
        ("name", "x" * 41),
        ("allowed", ["till 7"]),
        ("allowed", "till-*"),
        ("allowed", ["x"] * 501),
        ("denied", [5]),
        ("max_devices", 0),
        ("max_devices", "5"),
        ("key_lifetime", 60),
        ("approval", "yes"),
        ("re_enrolment", "sometimes"),
        ("want_region", "eu west"),
        ("want_cluster", "x" * 33),
        ("tags", ["tag:server"]),
        ("max_uses", 5),
        ("expires_at", "2001-01-01T00:00:00Z"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(program, field, value):
    assert field in errors_of(program.post(f"{AT}/enrolment-groups", {"name": "tills", field: value}))
    assert not EnrolmentGroup.objects.across_tenants().exists()


def test_a_name_is_taken_once_in_a_tenant(program):
    program.post(f"{AT}/enrolment-groups", {"name": "tills"})
    assert errors_of(program.post(f"{AT}/enrolment-groups", {"name": "tills"})) == {"name": "taken"}
    factories.tenant("other")
    assert operator().post("tenants/other/enrolment-groups", {"name": "tills"}).status_code == 201


def test_a_device_is_disabled_enabled_with_its_own_settings_and_forgotten(program):
    put = program.call("PUT", f"{AT}/enrolments/Till-7", {"state": "disabled", "reason": "stolen"})
    assert put.status_code == 200
    assert (put.json()["registration_id"], put.json()["state"], put.json()["reason"]) == ("till-7", "disabled", "stolen")
    again = program.call("PUT", f"{AT}/enrolments/till-7", {"state": "enabled", "ephemeral": True, "key_lifetime": 600}).json()
    assert (again["state"], again["reason"], again["ephemeral"], again["key_lifetime"]) == ("enabled", "", True, 600)
    assert [row["registration_id"] for row in program.get(f"{AT}/enrolments?state=enabled").json()["results"]] == ["till-7"]
    assert program.get(f"{AT}/enrolments?state=waiting").json()["results"] == []
    assert "state" in errors_of(program.get(f"{AT}/enrolments?state=lost"))
    assert program.delete(f"{AT}/enrolments/till-7").status_code == 204
    assert said(program.get(f"{AT}/enrolments/till-7")) == (404, "not-found")


@pytest.mark.parametrize("body", [{}, {"state": "waiting"}, {"state": "enabled", "key_lifetime": 1}, {"state": "enabled", "colour": "red"}])
def test_a_decision_that_is_none_is_refused_by_name(program, body):
    assert errors_of(program.call("PUT", f"{AT}/enrolments/till-7", body))


def test_a_registration_id_that_no_device_can_have_is_refused(program):
    assert "registration_id" in errors_of(program.call("PUT", f"{AT}/enrolments/-till", {"state": "enabled"}))


def test_reading_needs_no_more_than_the_reading_scope(program):
    program.post(f"{AT}/enrolment-groups", {"name": "tills"})
    reader = program_of(Tenant.objects.get(account="acme-inc"), "auth_keys:read")
    assert reader.get(f"{AT}/enrolment-groups").status_code == 200
    assert said(reader.post(f"{AT}/enrolment-groups", {"name": "more"})) == (403, "missing-scope")
    assert said(reader.call("PUT", f"{AT}/enrolments/till-7", {"state": "enabled"})) == (403, "missing-scope")
