"""Devices of an enrolment group: they sign with a key of their own, each request once, and get what their group and their own enrolment say."""

from __future__ import annotations

import json
import secrets
import uuid
from datetime import timedelta

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from placement.models import Binding, Device, Grant, Slot
from tenants import credentials, enrolments, groups, lifecycle, signing
from tenants.errors import MalformedRequest, WrongState
from tenants.models import Enrolment, EnrolmentKey
from tests import factories

pytestmark = pytest.mark.django_db
PATH = "/api/v1/bootstrap"
ACTED = {"actor": "system:tests"}


class Fleet:
    """A tenant with one group, and its devices."""

    def __init__(self, tenant=None, **wish):
        self.tenant = tenant or factories.tenant(max_devices=wish.pop("quota", 10))
        self.group, self.secrets = groups.make(self.tenant, f"tills-{uuid.uuid4().hex[:6]}", now=timezone.now(), **ACTED, **wish)

    def headers(self, device="till-7", *, secret=None, at=None, nonce=None, path=PATH, body=b"{}", method="POST"):
        return signing.header(
            signing.derive_key(secret or self.secrets.primary, device),
            method=method,
            path=path,
            at=at or timezone.now(),
            nonce=nonce or secrets.token_urlsafe(18),
            group=str(self.group.pk),
            registration_id=device,
            body=body,
        )

    def ask(self, device="till-7", *, body=None, header=None, idempotency_key="", **how):
        data = json.dumps(body or {}).encode()
        headers = {"Authorization": header or self.headers(device, body=data, **how)}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        return Client(raise_request_exception=False).post(PATH, data, content_type="application/json", headers=headers)

    def enrolment(self, device="till-7"):
        return Enrolment.objects.of(self.tenant).get(registration_id=device)

    def redeem(self, device="till-7"):
        """Its device joins."""
        grant = Grant.objects.of(self.tenant).filter(slot__registration_id=device).latest("created_at")
        now = timezone.now()
        Grant.objects.of(self.tenant).filter(pk=grant.pk).update(state="redeemed", redeemed_at=now, settled_at=now)
        return Device.objects.create(
            tenant=self.tenant, cluster_id=grant.cluster_id, node_id=grant.key_id, slot=grant.slot, grant=grant, machine_key="m", node_key="n",
            name=device, joined_at=now, seen_at=now
        )  # fmt: skip


def code(answer):
    return answer.status_code, answer.json().get("code")


# ---- signatures ------------------------------------------------------------------------------------------------------


def test_a_device_that_signs_with_its_derived_key_gets_a_slot_under_its_own_name(fleet_cluster):
    fleet = Fleet()
    answer = fleet.ask("Till-7")
    assert answer.status_code == 200, answer.content
    assert answer.json()["auth_key"].startswith("hskey-auth-")
    slot = Slot.objects.of(fleet.tenant).get()
    assert (slot.registration_id, slot.enrolment_key) == ("till-7", fleet.group.key)


def test_either_secret_of_the_group_counts_and_a_rotated_one_no_more(fleet_cluster):
    fleet = Fleet()
    assert fleet.ask("a").status_code == 200
    assert fleet.ask("b", secret=fleet.secrets.secondary).status_code == 200
    fresh = groups.rotate(fleet.group, "primary", now=timezone.now(), **ACTED)
    assert code(fleet.ask("a")) == (401, "bad-credential")
    assert fleet.ask("a", secret=fresh).status_code == 200
    assert fleet.ask("b", secret=fleet.secrets.secondary).status_code == 200


def test_a_key_of_one_device_opens_nothing_for_another(fleet_cluster):
    fleet = Fleet()
    stolen = fleet.headers("till-7").replace("registration_id=till-7", "registration_id=till-8")
    assert code(fleet.ask(header=stolen)) == (401, "bad-credential")


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.replace("timestamp=", "timestamp=1"),
        lambda header: header.replace("nonce=", "nonce=x"),
        lambda header: header.replace("signature=", "signature=A", 1)[:-2] + "=",
        lambda header: header + ",more=1",
        lambda header: header.replace(",nonce=", ",nonce=aaaaaaaaaaaaaaaaaaaa,nonce="),
        lambda header: header.split(" ")[0],
        lambda header: header.replace("group=", "group=' or 1=1 --"),
    ],
)
def test_an_altered_header_is_a_bad_credential(fleet_cluster, change):
    fleet = Fleet()
    assert code(fleet.ask(header=change(fleet.headers()))) == (401, "bad-credential")


def test_the_body_the_path_and_the_method_are_signed(fleet_cluster):
    fleet = Fleet()
    for header in (fleet.headers(body=b'{"os": "x"}'), fleet.headers(path="/api/v1/other"), fleet.headers(method="GET")):
        assert code(fleet.ask(header=header)) == (401, "bad-credential")


def test_a_signed_request_is_good_once(fleet_cluster):
    fleet = Fleet()
    header = fleet.headers()
    assert fleet.ask(header=header).status_code == 200
    again = fleet.ask(header=header)
    assert code(again) == (401, "bad-credential")
    assert "nonce" in again.json()["detail"]
    assert fleet.tenant.quota.limit


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_device_whose_clock_is_off_is_told_so(fleet_cluster, minutes):
    fleet = Fleet()
    answer = fleet.ask(at=timezone.now() + timedelta(minutes=minutes))
    assert code(answer) == (401, "bad-credential")
    assert "clock" in answer.json()["detail"]
    assert fleet.ask(at=timezone.now() + timedelta(minutes=minutes * 0.7)).status_code == 200


def test_a_wrong_signature_learns_nothing_about_the_group_or_the_clock(fleet_cluster):
    fleet = Fleet()
    stranger = Fleet()
    stranger.group.pk = uuid.uuid4()
    answers = [
        fleet.ask(secret=groups.new_secret()),
        fleet.ask(secret=groups.new_secret(), at=timezone.now() - timedelta(days=1)),
        stranger.ask(),
    ]
    assert len({answer.content for answer in answers}) == 1
    assert code(answers[0]) == (401, "bad-credential")


def test_a_request_that_names_another_device_than_its_signature_is_refused(fleet_cluster):
    fleet = Fleet()
    assert code(fleet.ask("till-7", body={"registration_id": "till-8"})) == (400, "malformed-request")
    assert fleet.ask("till-7", body={"registration_id": "Till-7"}).status_code == 200


def test_a_revoked_or_expired_group_admits_nobody(fleet_cluster):
    revoked, expired = Fleet(), Fleet(expires_at=timezone.now() + timedelta(hours=1))
    credentials.revoke(revoked.group.key, now=timezone.now(), **ACTED)
    assert code(revoked.ask()) == (401, "bad-credential")
    with time_machine.travel(timezone.now() + timedelta(hours=2)):
        assert code(expired.ask()) == (401, "bad-credential")


def test_a_suspended_tenant_is_told_to_holders_only(fleet_cluster):
    fleet = Fleet()
    fleet.ask()
    lifecycle.suspend(fleet.tenant, now=timezone.now(), **ACTED)
    assert code(fleet.ask()) == (403, "tenant-suspended")
    assert code(fleet.ask(secret=groups.new_secret())) == (401, "bad-credential")


# ---- what a group says -----------------------------------------------------------------------------------------------


def test_allowed_and_denied_names(fleet_cluster):
    fleet = Fleet(allowed=["till-*", "kiosk-?"], denied=["till-9*"])
    assert fleet.ask("till-7").status_code == 200
    assert fleet.ask("KIOSK-1").status_code == 200
    for name in ("till-99", "kiosk-12", "laptop"):
        answer = fleet.ask(name)
        assert code(answer) == (403, "registration-refused")
        assert "detail" not in answer.json()


def test_a_groups_devices_are_limited_and_one_that_left_makes_room(fleet_cluster):
    fleet = Fleet(max_devices=2)
    assert [fleet.ask(name).status_code for name in ("a", "b", "a")] == [200] * 3
    assert code(fleet.ask("c")) == (403, "quota-exceeded")
    EnrolmentKey.objects.of(fleet.tenant).get(pk=fleet.group.pk)
    later = timezone.now() + timedelta(hours=3)
    Grant.objects.of(fleet.tenant).filter(slot__registration_id="a").update(state="expired", settled_at=later)
    from placement import slots

    assert slots.release_empty(fleet.tenant.pk, seen_from=later, now=later) == 1
    assert EnrolmentKey.objects.of(fleet.tenant).get(pk=fleet.group.pk).devices == 1
    assert fleet.ask("c").status_code == 200


def test_the_first_device_is_guided_by_its_group(fleet_clusters):
    fleet_clusters(region="eu"), fleet_clusters(region="us")
    fleet = Fleet(want_region="us")
    assert fleet.ask().status_code == 200
    assert Binding.objects.of(fleet.tenant).get().cluster.region == "us"


def test_a_cluster_hint_is_taken_where_it_may_and_no_further(fleet_clusters):
    clusters = [fleet_clusters() for _ in range(6)]
    for cluster in clusters[:3]:
        fleet = Fleet(want_cluster=cluster.cluster_id)
        assert fleet.ask().json()["cluster_id"] == cluster.cluster_id
        assert "hint" in Binding.objects.of(fleet.tenant).get().reason
    full = fleet_clusters(capacity=1)
    assert Fleet(want_cluster=full.cluster_id).ask().status_code == 200


def test_tags_need_a_policy_that_declares_them():
    with pytest.raises(MalformedRequest, match="does not declare tag:till"):
        Fleet(tags=["tag:till"])


# ---- asking again ----------------------------------------------------------------------------------------------------


def test_a_reinstalled_device_gets_a_fresh_key_for_its_own_slot(fleet_cluster):
    fleet = Fleet(max_devices=1)
    first = fleet.ask().json()
    fleet.redeem()
    second = fleet.ask().json()
    assert first["auth_key"] != second["auth_key"]
    assert Slot.objects.of(fleet.tenant).count() == 1
    assert EnrolmentKey.objects.of(fleet.tenant).get().devices == 1


def test_under_keep_a_device_that_is_there_gets_no_other_key(fleet_cluster):
    fleet = Fleet(re_enrolment="keep")
    fleet.ask()
    device = fleet.redeem()
    answer = fleet.ask().json()
    assert (answer["auth_mode"], "auth_key" in answer) == ("enrolled", False)
    Device.objects.of(fleet.tenant).filter(pk=device.pk).update(gone_at=timezone.now())
    assert fleet.ask().json()["auth_mode"] == "authkey"


def test_under_never_a_device_enrols_once(fleet_cluster):
    fleet = Fleet(re_enrolment="never")
    first = fleet.ask()
    assert fleet.ask().json()["auth_key"] == first.json()["auth_key"]  # not redeemed yet: the same key again
    device = fleet.redeem()
    assert code(fleet.ask()) == (403, "registration-refused")
    Device.objects.of(fleet.tenant).filter(pk=device.pk).update(gone_at=timezone.now())
    Slot.objects.of(fleet.tenant).update(released_at=timezone.now())
    assert code(fleet.ask()) == (403, "registration-refused")


# ---- a device's own enrolment ----------------------------------------------------------------------------------------


def test_a_device_waits_until_an_admin_accepts_it_and_takes_no_slot_meanwhile(fleet_cluster):
    fleet = Fleet(approval=True)
    for _ in range(2):
        answer = fleet.ask(body={"hostname": "till-7", "os": "linux"})
        assert code(answer) == (202, "approval-pending")
        assert int(answer["Retry-After"]) > 0
    waiting = fleet.enrolment()
    assert (waiting.state, waiting.asked, waiting.hostname, waiting.key_id) == ("waiting", 2, "till-7", fleet.group.pk)
    assert not Slot.objects.of(fleet.tenant).exists()
    assert not Binding.objects.of(fleet.tenant).exists()
    enrolments.accept(waiting, now=timezone.now(), **ACTED)
    assert fleet.ask().status_code == 200
    with pytest.raises(WrongState):
        enrolments.accept(fleet.enrolment(), now=timezone.now(), **ACTED)


def test_a_refused_device_is_not_told_why(fleet_cluster):
    fleet = Fleet(approval=True)
    fleet.ask()
    enrolments.disable(fleet.enrolment(), reason="stolen in March", now=timezone.now(), **ACTED)
    answer = fleet.ask()
    assert code(answer) == (403, "registration-refused")
    assert b"stolen" not in answer.content
    enrolments.accept(fleet.enrolment(), now=timezone.now(), **ACTED)
    assert fleet.ask().status_code == 200


def test_a_devices_own_settings_win_over_its_groups(fleet_cluster):
    fleet = Fleet(key_lifetime=timedelta(hours=2), ephemeral=False)
    now = timezone.now()
    enrolments.put(fleet.tenant, "Till-7", state="enabled", key_lifetime=timedelta(minutes=5), ephemeral=True, now=now, **ACTED)
    assert fleet.ask().status_code == 200
    grant = Grant.objects.of(fleet.tenant).get()
    assert grant.expires_at - grant.created_at == timedelta(minutes=5)
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("select ephemeral from headscale.pre_auth_keys where cluster_id = %s", [fleet_cluster.cluster_id])
        assert cursor.fetchall() == [(True,)]


def test_a_disabled_registration_is_refused_whatever_it_asks_with(fleet_cluster):
    fleet = Fleet()
    enrolments.put(fleet.tenant, "till-7", state="disabled", reason="lost", now=timezone.now(), **ACTED)
    assert code(fleet.ask()) == (403, "registration-refused")
    _key, secret = factories.enrolment_key(fleet.tenant)
    from tests.doors import bootstrap

    assert code(bootstrap(secret, {"registration_id": "TILL-7"})) == (403, "registration-refused")
    assert bootstrap(secret, {"registration_id": "till-8"}).status_code == 200


def test_a_credential_that_needs_approval_needs_a_name(fleet_cluster):
    tenant = factories.tenant()
    _key, secret = factories.enrolment_key(tenant, approval=True)
    from tests.doors import bootstrap

    assert code(bootstrap(secret)) == (400, "malformed-request")
    assert code(bootstrap(secret, {"registration_id": "x"})) == (202, "approval-pending")
