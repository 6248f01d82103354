"""Nothing that strangers, or credentials with nothing left to give, can write grows without end: by age, and by number."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils import timezone

from acs import forgetting, tasks
from placement import retention
from placement.diagnosis import notes
from placement.models import Binding, Device, DeviceLogin, Echo, Grant, NetReport, Refusal, Slot
from tenants import credentials, enrolments
from tenants.models import Enrolment, SpentToken
from tests import factories
from tests.api.callers import program_of, said
from tests.doors import bootstrap, post
from tests.live import race_here

pytestmark = pytest.mark.django_db
ACTED: dict[str, Any] = {"actor": "system:tests"}
NONE_OF_OURS = "acs-enrol-none-of-ours"


def ago(**time: float) -> Any:
    return timezone.now() - timedelta(**time)


def names(rows: Any) -> list[str]:
    return sorted(rows.values_list("registration_id", flat=True))


def ask(secret: str, *devices: str) -> list[int]:
    return [bootstrap(secret, {"registration_id": device}).status_code for device in devices]


def report(secret: str, device: str) -> int:
    body = json.dumps({"registration_id": device, "probes": {"dns": "ok"}}).encode()
    return int(post("/api/v1/bootstrap/report", body, Authorization=f"Bearer {secret}").status_code)


def older(rows: Any, field: str, *devices: str) -> None:
    """The first of these devices did it longest ago."""
    for age, device in enumerate(reversed(devices), start=1):
        rows.filter(registration_id=device).update(**{field: ago(minutes=age)})


# ---- refusals and reports --------------------------------------------------------------------------------------------


def test_of_what_was_refused_the_latest_are_kept_so_many_of_each_tenant_and_so_many_of_all_strangers(fleet_cluster, monkeypatch):
    monkeypatch.setattr(notes, "MOST", 3)
    monkeypatch.setattr(notes, "MOST_OF_STRANGERS", 2)
    flooded, quiet = factories.customer(max_devices=1), factories.customer(max_devices=1)
    devices = ("a", "b", "c", "d", "e")
    for customer in (flooded, quiet):
        ask(customer.secret, "first")
    ask(flooded.secret, *devices)
    ask(quiet.secret, "x", "y")
    ask(NONE_OF_OURS, *devices)
    for rows in (Refusal.objects.of(flooded.tenant), Refusal.objects.across_tenants().filter(tenant=None)):
        older(rows, "last_at", *devices)
    bootstrap(flooded.secret, {"registration_id": "a"})  # the longest known asks once more: it is the latest
    tasks.forget_spent()
    assert names(Refusal.objects.of(flooded.tenant)) == ["a", "d", "e"]
    assert names(Refusal.objects.of(quiet.tenant)) == ["x", "y"]
    assert names(Refusal.objects.across_tenants().filter(tenant=None)) == ["d", "e"]


def test_what_is_too_many_goes_in_slices():
    tenant = factories.tenant()
    rows = [
        Refusal(tenant=of, registration_id=f"{number:02}", code="quota-exceeded", first_at=ago(hours=1), last_at=ago(minutes=number))
        for of in (tenant, None)
        for number in range(10)
    ]
    Refusal.objects.across_tenants().bulk_create(rows)
    assert retention.trim(Refusal.objects.across_tenants(), "tenant_id", "last_at", most=3, at_once=2) == 14
    for left in (Refusal.objects.of(tenant), Refusal.objects.across_tenants().filter(tenant=None)):
        assert names(left) == ["00", "01", "02"]
    assert retention.trim(Refusal.objects.across_tenants(), "tenant_id", "last_at", most=3, at_once=2) == 0


def test_a_used_up_key_may_report_and_a_revoked_or_expired_one_may_not(fleet_cluster):
    customer = factories.customer()
    used, shown = factories.enrolment_key(customer.tenant, max_uses=1)
    assert ask(shown, "till-7", "till-8") == [200, 401]
    assert report(shown, "till-7") == 204
    type(used).objects.of(customer.tenant).filter(pk=used.pk).update(expires_at=ago(seconds=1))
    assert report(shown, "till-8") == 401
    credentials.revoke(customer.key, now=timezone.now(), **ACTED)
    assert report(customer.secret, "till-8") == 401
    assert names(NetReport.objects.of(customer.tenant)) == ["till-7"]


def test_a_device_has_one_report_and_a_tenant_so_many(fleet_cluster, monkeypatch):
    monkeypatch.setattr(notes, "MOST", 2)
    customer, other = factories.customer(max_uses=1), factories.customer()
    assert [report(customer.secret, device) for device in ("a", "b", "c", "c")] == [204] * 4
    report(other.secret, "x")
    older(NetReport.objects.of(customer.tenant), "at", "a", "b", "c")
    tasks.forget_spent()
    assert names(NetReport.objects.of(customer.tenant)) == ["b", "c"]
    assert names(NetReport.objects.of(other.tenant)) == ["x"]


# ---- devices that wait for a decision --------------------------------------------------------------------------------


@pytest.fixture
def small_queue(monkeypatch):
    monkeypatch.setattr(enrolments, "MOST_WAITING", 4)
    monkeypatch.setattr(enrolments, "MOST_OF_ONE", 2)


@pytest.mark.usefixtures("small_queue")
def test_one_credential_fills_a_part_of_the_queue_and_all_of_them_no_more_than_the_whole(fleet_cluster):
    customer = factories.customer(approval=True)
    others = [factories.enrolment_key(customer.tenant, approval=True)[1] for _ in range(2)]
    assert ask(customer.secret, "a", "b", "c") == [202, 202, 429]
    answer = bootstrap(customer.secret, {"registration_id": "c"})
    assert said(answer) == (429, "too-many-requests")
    assert int(answer["Retry-After"]) >= 60
    assert "wait for a decision" in answer.json()["detail"]
    assert ask(customer.secret, "a") == [202], "who waits goes on waiting"
    assert ask(others[0], "d", "e", "f") == [202, 202, 429]
    assert ask(others[1], "g") == [429], "the whole queue is full"
    told = program_of(customer.tenant).get(f"tenants/{customer.account}/enrolments/c/timeline").json()
    assert [cause["code"] for cause in told["causes"]] == ["approval-full"]
    waiting = Enrolment.objects.of(customer.tenant)
    assert names(waiting) == ["a", "b", "d", "e"]
    assert waiting.get(registration_id="a").asked == 2
    enrolments.accept(waiting.get(registration_id="a"), now=timezone.now(), **ACTED)
    enrolments.disable(waiting.get(registration_id="d"), reason="", now=timezone.now(), **ACTED)
    assert ask(customer.secret, "a", "c") == [200, 202]
    assert ask(factories.customer(approval=True).secret, "a", "b") == [202, 202], "every tenant has a queue of its own"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_queue")
def test_devices_that_come_at_once_do_not_fill_more_than_the_queue(fleet_cluster):
    tenant = factories.tenant()
    keys = [factories.enrolment_key(tenant, approval=True)[1] for _ in range(4)]
    answers = race_here(24, lambda number: ask(keys[number % 4], f"till-{number}")[0])
    assert (answers.count(202), answers.count(429)) == (4, 20)
    assert Enrolment.objects.of(tenant).count() == 4


def test_a_used_up_key_that_needs_approval_takes_no_place_in_the_queue(fleet_cluster):
    customer = factories.customer(approval=True, max_uses=1)
    assert ask(customer.secret, "a") == [202]
    enrolments.accept(Enrolment.objects.of(customer.tenant).get(), now=timezone.now(), **ACTED)
    assert ask(customer.secret, "a", "b") == [200, 401]
    assert names(Enrolment.objects.of(customer.tenant)) == ["a"]
    told = program_of(customer.tenant).get(f"tenants/{customer.account}/enrolments/b/timeline").json()
    assert "used up" in told["causes"][0]["detail"]


def test_who_does_not_ask_again_waits_no_more_and_decisions_stay_for_good(fleet_cluster):
    customer = factories.customer(approval=True)
    ask(customer.secret, "gave-up", "asks-on", "accepted", "refused")
    for device, verb in (("accepted", enrolments.accept), ("refused", enrolments.disable)):
        why = {"reason": "not ours"} if device == "refused" else {}
        verb(Enrolment.objects.of(customer.tenant).get(registration_id=device), now=timezone.now(), **why, **ACTED)
    enrolments.put(customer.tenant, "put", state="enabled", now=timezone.now(), **ACTED)
    Enrolment.objects.of(customer.tenant).update(asked_at=timezone.now() - enrolments.WAITING_KEPT - timedelta(minutes=1))
    ask(customer.secret, "asks-on")
    tasks.forget_spent()
    assert names(Enrolment.objects.of(customer.tenant)) == ["accepted", "asks-on", "put", "refused"]


@pytest.mark.django_db(transaction=True)
def test_a_device_that_is_accepted_this_moment_is_not_forgotten(fleet_cluster):
    customer = factories.customer(approval=True)
    ask(customer.secret, "till-7", "till-8")
    Enrolment.objects.of(customer.tenant).update(asked_at=timezone.now() - enrolments.WAITING_KEPT - timedelta(minutes=1))
    dropped: list[int] = []

    def forget() -> None:
        try:
            dropped.append(enrolments.forget_waiting(now=timezone.now()))
        finally:
            connection.close()

    forgetting_now = threading.Thread(target=forget)
    with transaction.atomic():
        enrolments.accept(Enrolment.objects.of(customer.tenant).get(registration_id="till-7"), now=timezone.now(), **ACTED)
        forgetting_now.start()
        forgetting_now.join(0.7)  # it stands before the row by now
        assert not dropped
    forgetting_now.join(10)
    assert dropped == [1]
    assert list(Enrolment.objects.of(customer.tenant).values_list("registration_id", "state")) == [("till-7", "enabled")]


def test_whoever_asked_with_a_revoked_credential_waits_no_more(fleet_cluster):
    customer = factories.customer(approval=True)
    _key, other = factories.enrolment_key(customer.tenant, approval=True)
    ask(customer.secret, *(f"flood-{number}" for number in range(5)), "accepted")
    ask(other, "till-7")
    enrolments.accept(Enrolment.objects.of(customer.tenant).get(registration_id="accepted"), now=timezone.now(), **ACTED)
    credentials.revoke(customer.key, now=timezone.now(), **ACTED)
    assert enrolments.forget_waiting(now=timezone.now(), at_once=2) == 5
    assert names(Enrolment.objects.of(customer.tenant)) == ["accepted", "till-7"]


# ---- logins, sessions, and what was used -----------------------------------------------------------------------------


def test_logins_of_which_nothing_came_are_forgotten_with_their_slots_and_those_that_brought_a_device_are_not(fleet_cluster):
    customer = factories.customer()
    ask(customer.secret, "first")
    [taken] = Slot.objects.of(customer.tenant)
    ann = factories.person(of=customer.tenant)
    home = Binding.objects.of(customer.tenant).get().cluster_id
    long_ago = ago(days=settings.REFUSAL_DAYS + 1)

    def login(state: str, *, at: Any = long_ago, slot: Slot | None = None) -> DeviceLogin:
        slot = slot or Slot.objects.create(tenant=customer.tenant, taken_at=at, released_at=at if state == "refused" else None)
        ended = {"settled_at": at} if state in ("refused", "registered") else {}
        node = {"node_id": 7} if state == "registered" else {}
        return DeviceLogin.objects.create(
            auth_digest=secrets.token_bytes(32), tenant=customer.tenant, cluster_id=home, user=ann, slot=slot, state=state, claimed_at=at, **ended, **node
        )  # fmt: skip

    refused = [login("refused") for _ in range(3)]
    on_a_taken_slot = login("refused", slot=taken)
    kept = [login("refused", at=ago(days=1)), login("registered"), login("claimed"), login("unknown")]
    released = Slot.objects.create(tenant=customer.tenant, taken_at=long_ago, released_at=long_ago)  # its device's, which is gone
    Device.objects.create(
        tenant=customer.tenant, cluster_id=home, node_id=9, slot=released, machine_key="m", node_key="n", name="d", joined_at=long_ago,
        seen_at=long_ago, gone_at=long_ago
    )  # fmt: skip
    on_a_devices_slot = login("refused", slot=released)
    tasks.forget_old_rows()
    assert set(DeviceLogin.objects.of(customer.tenant)) == set(kept)
    assert on_a_taken_slot not in kept
    assert on_a_devices_slot not in kept
    assert not Slot.objects.of(customer.tenant).filter(pk__in=[one.slot_id for one in refused]).exists()
    assert set(Slot.objects.of(customer.tenant)) == {taken, released, *(one.slot for one in kept)}


def test_sessions_that_are_over_and_used_tokens_that_ran_out_are_forgotten():
    customer = factories.customer()
    Session.objects.create(session_key="over", session_data="", expire_date=ago(seconds=1))
    Session.objects.create(session_key="held", session_data="", expire_date=ago(hours=-1))
    for number in range(4):
        SpentToken.objects.create(key=customer.key, jti=bytes([number]) * 32, expires_at=ago(minutes=2 - number, seconds=1))
    tasks.forget_old_rows()
    tasks.forget_spent()
    assert [session.session_key for session in Session.objects.all()] == ["held"]
    assert SpentToken.objects.count() == 1


def test_a_device_that_repeats_itself_with_ever_new_idempotency_keys_has_so_many(fleet_cluster, monkeypatch):
    monkeypatch.setattr(forgetting, "MOST_ECHOES", 3)
    customer = factories.customer(max_uses=1)
    told = {bootstrap(customer.secret, {"registration_id": "a"}, idempotency_key=f"key-{number}").json()["auth_key"] for number in range(6)}
    assert len(told) == 1
    grant = Grant.objects.of(customer.tenant).get()
    assert Echo.objects.filter(grant=grant).count() == 5
    tasks.forget_spent()
    assert sorted(Echo.objects.values_list("idempotency_key", flat=True)) == ["key-3", "key-4", "key-5"]
    Echo.objects.update(created_at=ago(hours=25))
    late = Echo.objects.create(
        enrolment_key=customer.key,
        idempotency_key="late",
        request_digest=hashlib.sha256(b"").digest(),
        grant=grant,
        created_at=timezone.now(),
    )
    tasks.forget_old_rows()
    assert list(Echo.objects.all()) == [late]
