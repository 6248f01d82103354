"""Why a device is not in its network: from its requests at the door to the page, the API and the command that tell it."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from acs import tasks
from placement.diagnosis import notes
from placement.models import Grant, NetReport, Refusal
from tenants import credentials, enrolments, groups, lifecycle, signing
from tests import factories
from tests.api.callers import operator, program_of, said
from tests.doors import bootstrap, post

pytestmark = pytest.mark.django_db
BODY = {"registration_id": "till-7", "hostname": "till-7", "os": "linux"}


def why(*words) -> str:
    out = StringIO()
    call_command("enrolment", "why", *words, stdout=out)
    return out.getvalue()


def timeline(program, account, registration_id="till-7"):
    answer = program.get(f"tenants/{account}/enrolments/{registration_id}/timeline")
    assert answer.status_code == 200, answer.content
    return answer.json()


def codes(told) -> list[str]:
    return [cause["code"] for cause in told["causes"]]


def test_a_full_quota_is_told_with_the_number_of_attempts(fleet_cluster):
    customer = factories.customer(max_devices=1)
    assert bootstrap(customer.secret, {"registration_id": "till-1"}).status_code == 200
    for _ in range(3):
        assert bootstrap(customer.secret, BODY).status_code == 403
    told = timeline(program_of(customer.tenant), customer.account)
    assert (told["stage"], told["stalled"], codes(told)) == ("asked", True, ["quota"])
    assert [(step["stage"], step["outcome"], step["code"], step["times"]) for step in told["steps"]] == [
        ("asked", "refused", "quota-exceeded", 3)
    ]
    assert "quota: Every device slot" in why("till-7")
    assert "名额" in why("till-7", "--language", "zh-hans")


@pytest.mark.parametrize("what", ["revoked", "ran out", "used up", "is of"])
def test_the_true_reason_of_a_bad_credential_is_for_its_tenant_alone(fleet_cluster, what):
    customer, other = factories.customer(), factories.customer()
    key, secret = factories.enrolment_key(customer.tenant, max_uses=1)
    body = dict(BODY)
    if what == "revoked":
        credentials.revoke(key, now=timezone.now(), actor="system:tests")
    elif what == "ran out":
        type(key).objects.of(customer.tenant).filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    elif what == "used up":
        bootstrap(secret, {"registration_id": "another"})
    else:
        body["account"] = other.account
    answer = bootstrap(secret, body)
    assert said(answer) == (401, "bad-credential")
    assert what not in answer.content.decode()
    told = timeline(program_of(customer.tenant), customer.account)
    assert codes(told) == ["credential"]
    assert what in told["causes"][0]["detail"]
    assert secret not in json.dumps(told) + why("till-7")
    for stranger in (program_of(other.tenant), operator()):
        assert said(stranger.get(f"tenants/{other.account}/enrolments/till-7/timeline")) == (404, "not-found")


def test_what_came_without_a_credential_of_the_tenant_is_for_operators_alone(fleet_cluster):
    customer = factories.customer()
    assert bootstrap("acs-enrol-wrong", {**BODY, "account": customer.account}).status_code == 401
    assert said(program_of(customer.tenant).get(f"tenants/{customer.account}/enrolments/till-7/timeline")) == (404, "not-found")
    assert "none of ours" in timeline(operator(), customer.account)["causes"][0]["detail"]
    assert "none of ours" in why("till-7")
    assert Refusal.objects.across_tenants().get().tenant_id is None


def test_a_signed_request_with_a_wrong_clock_and_one_outside_the_groups_patterns(fleet_cluster):
    tenant = factories.tenant()
    group, made = groups.make(tenant, "tills", now=timezone.now(), actor="system:tests", denied=["till-9"])

    def ask(device, at, secret=made.primary):
        signed = {"at": at, "nonce": "n" * 16 + device, "group": str(group.pk), "registration_id": device, "body": b"{}"}
        key = signing.derive_key(secret, device)
        return post("/api/v1/bootstrap", b"{}", Authorization=signing.header(key, method="POST", path="/api/v1/bootstrap", **signed))

    assert ask("till-7", timezone.now() - timedelta(minutes=12)).status_code == 401
    assert ask("till-9", timezone.now()).status_code == 403
    assert ask("till-8", timezone.now(), secret="wrong").status_code == 401
    program = program_of(tenant)
    clock = timeline(program, tenant.account)
    assert codes(clock) == ["clock"]
    assert "720 s late" in clock["causes"][0]["detail"]
    assert codes(timeline(program, tenant.account, "till-9")) == ["registration-refused"]
    assert "the signature" in why("till-8")


def test_a_suspension_an_approval_and_a_disabled_enrolment_are_told(fleet_cluster):
    customer = factories.customer(approval=True)
    program = program_of(customer.tenant)
    assert bootstrap(customer.secret, BODY).status_code == 202
    assert codes(timeline(program, customer.account)) == ["approval"]
    enrolments.put(customer.tenant, "till-7", state="disabled", reason="stolen", now=timezone.now(), actor="system:tests")
    assert bootstrap(customer.secret, BODY).status_code == 403
    assert codes(timeline(program, customer.account)) == ["registration-refused"]
    enrolments.put(customer.tenant, "till-7", state="enabled", now=timezone.now(), actor="system:tests")
    lifecycle.suspend(customer.tenant, now=timezone.now(), actor="system:tests")
    assert bootstrap(customer.secret, BODY).status_code == 403
    assert codes(timeline(program, customer.account)) == ["tenant-suspended"]


def test_a_key_that_nobody_uses_stalls_and_the_devices_own_report_says_why(fleet_cluster):
    customer = factories.customer()
    key = bootstrap(customer.secret, BODY).json()["auth_key"]
    program = program_of(customer.tenant)
    fresh = timeline(program, customer.account)
    assert (fresh["stage"], fresh["stalled"], codes(fresh)) == ("redeemed", False, [])
    Grant.objects.of(customer.tenant).update(
        created_at=timezone.now() - timedelta(minutes=3), issued_at=timezone.now() - timedelta(minutes=3)
    )
    assert "unreached" in codes(timeline(program, customer.account))
    report = {"netcheck": {"UDP": False, "IPv6": False}, "probes": {"dns": "ok", "tcp": "timed out"}}
    handed = program.post(f"tenants/{customer.account}/enrolments/Till-7/report", report)
    assert handed.status_code == 204
    told = timeline(program, customer.account)
    assert "port-443" in codes(told)
    assert [hint["code"] for hint in told["hints"]] == ["udp-blocked", "no-ipv6"]
    assert [step["stage"] for step in told["steps"]] == ["asked", "granted", "shown"]
    assert key not in json.dumps(told)
    assert "It stalls at “key redeemed”" in why("till-7", "--account", customer.account)


def test_a_device_reports_with_its_credential_and_nobody_without_one(fleet_cluster):
    customer = factories.customer()
    report = {"registration_id": "till-7", "probes": {"dns": "ok"}}

    def hand_in(secret, body):
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return post("/api/v1/bootstrap/report", json.dumps(body).encode(), **headers)

    assert hand_in(customer.secret, report).status_code == 204
    stored = NetReport.objects.of(customer.tenant).get()
    assert (stored.registration_id, stored.told, stored.by) == ("till-7", {"dns": "ok"}, "device:till-7")
    assert said(hand_in(None, report)) == (401, "bad-credential")
    assert said(hand_in("acs-enrol-wrong", report)) == (401, "bad-credential")
    for wrong in (
        {},
        {"probes": {"dns": "ok"}},
        {**report, "registration_id": "-x"},
        {**report, "colour": 1},
        {"registration_id": "till-7"},
    ):
        assert said(hand_in(customer.secret, wrong)) == (400, "malformed-request"), wrong
    credentials.revoke(customer.key, now=timezone.now(), actor="system:tests")
    assert said(hand_in(customer.secret, report)) == (401, "bad-credential")


def test_the_command_takes_what_netcheck_printed(tmp_path):
    tenant = factories.tenant("acme-inc")
    printed = tmp_path / "netcheck.json"
    printed.write_text(json.dumps({"UDP": False, "MappingVariesByDestIP": True}))
    call_command("enrolment", "report", "acme-inc", "till-7", str(printed), stdout=StringIO())
    assert NetReport.objects.of(tenant).get().told == {"udp": False, "hard_nat": True}
    assert "udp-blocked" in why("till-7")
    printed.write_text("no json")
    with pytest.raises(CommandError):
        call_command("enrolment", "report", "acme-inc", "till-7", str(printed))
    with pytest.raises(CommandError, match="Nobody has heard"):
        why("till-8")


def test_floods_strangers_and_repeats_leave_no_rows_without_end(fleet_cluster, settings):
    customer = factories.customer(max_devices=1)
    bootstrap(customer.secret, {"registration_id": "till-1"})
    for _ in range(20):
        bootstrap(customer.secret, BODY)
    settings.CREDENTIAL_LIMIT = "1/minute"
    for _ in range(3):
        bootstrap(customer.secret, BODY)
    bootstrap(None, {"account": "nobody-here"})
    assert list(Refusal.objects.across_tenants().values_list("code", "times")) == [("quota-exceeded", 21)]


def test_what_nobody_repeated_for_a_month_is_forgotten(fleet_cluster):
    customer = factories.customer(max_devices=1)
    bootstrap(customer.secret, {"registration_id": "till-1"})
    for device in ("till-7", "till-8"):
        bootstrap(customer.secret, {"registration_id": device})
        notes.report(customer.tenant, device, {"probes": {"dns": "ok"}}, by="system:tests", now=timezone.now())
    long_ago = timezone.now() - timedelta(days=31)
    Refusal.objects.across_tenants().filter(registration_id="till-7").update(last_at=long_ago, first_at=long_ago)
    NetReport.objects.across_tenants().filter(registration_id="till-7").update(at=long_ago)
    tasks.forget_old_rows()
    for rows in (Refusal, NetReport):
        assert [row.registration_id for row in rows.objects.across_tenants()] == ["till-8"]
