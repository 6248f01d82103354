"""Devices that share a group's or a policy's credential are kept apart by the name that their proof gives them."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from placement.models import Grant, Refusal, Slot
from tenants import groups, signing
from tenants.models import EnrolmentKey
from tests import factories
from tests.doors import bootstrap
from tests.fakes.oidc import AUDIENCE, issuing
from tests.flows.test_signed_bootstrap import ACTED, PATH, Fleet, code

pytestmark = pytest.mark.django_db


def test_two_devices_of_a_group_with_one_idempotency_key_and_one_body_get_a_key_each(fleet_cluster: Any) -> None:
    fleet = Fleet()
    one, two = (fleet.ask(device, idempotency_key="boot").json() for device in ("till-1", "till-2"))
    assert one["auth_key"] != two["auth_key"]
    assert fleet.ask("till-1", idempotency_key="boot").json() == one
    assert fleet.ask("till-2", idempotency_key="boot").json() == two
    assert set(Slot.objects.of(fleet.tenant).values_list("registration_id", flat=True)) == {"till-1", "till-2"}


def test_a_live_key_told_again_is_told_to_its_own_device_alone(fleet_cluster: Any) -> None:
    fleet = Fleet()
    first = fleet.ask("till-1").json()
    assert fleet.ask("till-1", idempotency_key="boot").json() == first
    assert fleet.ask("till-2", idempotency_key="boot").json()["auth_key"] != first["auth_key"]


def test_two_workloads_of_a_policy_with_one_idempotency_key_get_a_key_each(fleet_cluster: Any, settings: Any) -> None:
    from tests.flows.test_workload_identity import trusted

    tenant = factories.tenant()
    with issuing() as issuer:
        settings.OUTBOUND_ALLOWED = [issuer.url.removeprefix("http://")]
        trusted(tenant, issuer, audience=AUDIENCE)
        one, two = (
            bootstrap(issuer.token(sub=f"repo:acme/{name}"), {"account": tenant.account}, idempotency_key="job-1").json() for name in "ab"
        )
    assert one["auth_key"] != two["auth_key"]
    assert Grant.objects.of(tenant).count() == 2


def test_a_device_whose_clock_stands_thirty_thousand_years_ahead_is_told_so(fleet_cluster: Any) -> None:
    fleet, at, nonce = Fleet(), "999999999999", secrets.token_urlsafe(18)
    key, group = signing.derive_key(fleet.secrets.primary, "till-7"), str(fleet.group.pk)
    text = signing.canonical(method="POST", path=PATH, timestamp=at, nonce=nonce, group=group, registration_id="till-7", body=b"{}")
    header = f"{signing.SCHEME} group={group},registration_id=till-7,timestamp={at},nonce={nonce},signature={signing.sign(key, text)}"
    answer = fleet.ask(header=header)
    assert code(answer) == (401, "bad-credential")
    assert "clock" in answer.json()["detail"]


@pytest.mark.parametrize("which", ["replayed", "denied"])
def test_signed_requests_that_are_refused_count_for_their_address(fleet_cluster: Any, settings: Any, which: str) -> None:
    settings.ADDRESS_LIMIT = "3/hour"
    fleet = Fleet(denied=["till-9"])
    header = fleet.headers("till-7", nonce="a" * 20)
    answers = [fleet.ask(header=header) if which == "replayed" else fleet.ask("till-9") for _ in range(5)]
    assert [answer.status_code for answer in answers][-2:] == [429, 429]


def test_a_group_whose_limit_was_lowered_still_serves_the_devices_that_it_has(fleet_cluster: Any) -> None:
    fleet = Fleet(max_devices=2)
    for device in ("a", "b"):
        assert fleet.ask(device).status_code == 200
        fleet.redeem(device)
    groups.change(fleet.group, now=timezone.now(), max_devices=1, **ACTED)
    assert fleet.ask("a").status_code == 200
    assert code(fleet.ask("c")) == (403, "quota-exceeded")
    assert EnrolmentKey.objects.of(fleet.tenant).get(pk=fleet.group.pk).devices == 2


def test_a_report_names_its_device_in_any_case(fleet_cluster: Any) -> None:
    fleet, path = Fleet(), "/api/v1/bootstrap/report"
    body = b'{"registration_id": "Till-7", "probes": {"dns": "ok"}}'
    header = fleet.headers("Till-7", path=path, body=body)
    answer = Client().post(path, body, content_type="application/json", headers={"Authorization": header})
    assert answer.status_code == 204, answer.content


def test_a_report_in_half_a_character_is_malformed(fleet_cluster: Any) -> None:
    fleet, path = Fleet(), "/api/v1/bootstrap/report"
    body = b'{"probes": {"dns": "\\ud800"}}'
    header = fleet.headers("till-7", path=path, body=body)
    answer = Client(raise_request_exception=False).post(path, body, content_type="application/json", headers={"Authorization": header})
    assert answer.status_code in (204, 400), answer.content


def test_no_device_named_after_a_clock_is_said_to_have_a_wrong_one(fleet_cluster: Any) -> None:
    from placement.diagnosis import gather

    fleet = Fleet(denied=["clock-*"])
    assert code(fleet.ask("clock-1")) == (403, "registration-refused")
    assert Refusal.objects.of(fleet.tenant).get().reason
    found = gather.diagnose(fleet.tenant, "clock-1", now=timezone.now())
    assert [cause.code for cause in found.causes] == ["registration-refused"]
