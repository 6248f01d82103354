"""POST /api/v1/bootstrap in one process: who gets what, and what it leaves in the database."""

from __future__ import annotations

from datetime import timedelta

import bcrypt
import pytest
import time_machine
from django.db import InternalError, connection
from django.utils import timezone

from placement.models import Binding, Grant, Slot
from tenants import credentials, lifecycle
from tests import factories
from tests.conftest import superuser
from tests.doors import bootstrap

pytestmark = pytest.mark.django_db


def keys_of(cluster_id: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(
            "select id, prefix, used, reusable, expiration from headscale.pre_auth_keys where cluster_id = %s order by id", [cluster_id]
        )
        return cursor.fetchall()


def test_a_credential_gets_a_cluster_a_key_and_a_command(fleet_cluster):
    customer = factories.customer("acme-inc")
    answer = bootstrap(customer.secret, {"registration_id": "till-7", "hostname": "till-7"})
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert body["cluster_id"] == fleet_cluster.cluster_id
    assert body["headscale_url"] == f"http://{fleet_cluster.cluster_id}.test:8080"
    assert body["derp_map"] == f"http://testserver/api/v1/derp/{fleet_cluster.cluster_id}.json"
    assert body["auth_mode"] == "authkey"
    assert body["auth_key"].startswith("hskey-auth-")
    assert f"--auth-key={body['auth_key']}" in body["command"]
    assert "--hostname=till-7" in body["command"]
    assert answer["Cache-Control"] == "no-store"


def test_the_key_in_the_database_is_the_one_that_was_answered(fleet_cluster, transactional_db):
    customer = factories.customer()
    text = bootstrap(customer.secret).json()["auth_key"]
    with superuser() as admin:
        rows = admin.execute("select prefix, hash, used, reusable, ephemeral, tags from headscale.pre_auth_keys").fetchall()
    [(prefix, hashed, used, reusable, ephemeral, tags)] = rows
    assert text[len("hskey-auth-") :][:12] == prefix
    assert bcrypt.checkpw(text[-64:].encode(), bytes(hashed))
    assert (used, reusable, ephemeral, tags) == (False, False, False, "[]")


def test_no_server_is_called_on_the_fleet_path(fleet_cluster, monkeypatch):
    import socket

    customer = factories.customer()
    real = socket.socket.connect

    def only_our_own(self, address):
        if isinstance(address, tuple) and address[1] == 9:
            raise AssertionError(f"the fleet path called {address}")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_our_own)
    assert bootstrap(customer.secret).status_code == 200


def test_the_first_device_binds_its_tenant_and_the_next_ones_follow(fleet_clusters):
    fleet_clusters(), fleet_clusters()
    customer = factories.customer()
    first, second = bootstrap(customer.secret).json(), bootstrap(customer.secret).json()
    assert first["cluster_id"] == second["cluster_id"]
    assert first["auth_key"] != second["auth_key"]
    assert Binding.objects.of(customer.tenant).count() == 1
    assert customer.quota().used == 2


def test_tenants_spread_by_free_capacity(fleet_clusters):
    clusters = [fleet_clusters(capacity=100), fleet_clusters(capacity=100)]
    homes = [bootstrap(factories.customer().secret).json()["cluster_id"] for _ in range(4)]
    assert sorted(homes) == sorted([cluster.cluster_id for cluster in clusters] * 2)


def test_the_same_registration_asks_twice_and_hears_the_same_key(fleet_cluster):
    customer = factories.customer()
    first = bootstrap(customer.secret, {"registration_id": "Till-7"}).json()
    again = bootstrap(customer.secret, {"registration_id": "till-7"}).json()
    assert first["auth_key"] == again["auth_key"]
    assert customer.quota().used == 1
    assert len(keys_of(fleet_cluster.cluster_id)) == 1


def test_a_registration_whose_key_was_used_gets_a_fresh_one_for_the_same_slot(fleet_cluster):
    customer = factories.customer()
    first = bootstrap(customer.secret, {"registration_id": "till-7"}).json()
    Grant.objects.of(customer.tenant).update(state="redeemed", redeemed_at=timezone.now(), settled_at=timezone.now())
    second = bootstrap(customer.secret, {"registration_id": "till-7"}).json()
    assert first["auth_key"] != second["auth_key"]
    assert customer.quota().used == 1
    assert Slot.objects.of(customer.tenant).count() == 1


def test_a_live_key_with_little_time_left_is_replaced_and_ends_at_once(fleet_cluster):
    customer = factories.customer(key_lifetime=timedelta(minutes=2))
    begin = timezone.now()
    first = bootstrap(customer.secret, {"registration_id": "till-7"}).json()
    with time_machine.travel(begin + timedelta(seconds=70)):
        second = bootstrap(customer.secret, {"registration_id": "till-7"}).json()
    assert first["auth_key"] != second["auth_key"]
    assert customer.quota().used == 1
    assert {grant.state for grant in Grant.objects.of(customer.tenant)} == {"issued", "expired"}


def test_another_credential_of_the_tenant_replaces_the_live_key(fleet_cluster):
    customer = factories.customer()
    _, other = factories.enrolment_key(customer.tenant, ephemeral=True)
    first = bootstrap(customer.secret, {"registration_id": "till-7"}).json()
    second = bootstrap(other, {"registration_id": "till-7"}).json()
    assert first["auth_key"] != second["auth_key"]
    assert customer.quota().used == 1
    live = [key for key in keys_of(fleet_cluster.cluster_id) if key[4] > timezone.now()]
    assert len(live) == 1


def test_the_same_idempotency_key_gets_the_same_answer_once(fleet_cluster):
    customer = factories.customer()
    answers = [bootstrap(customer.secret, {"hostname": "a"}, idempotency_key="k-1") for _ in range(3)]
    assert len({answer.content for answer in answers}) == 1
    assert customer.quota().used == 1


def test_the_same_idempotency_key_with_another_body_is_refused(fleet_cluster):
    customer = factories.customer()
    bootstrap(customer.secret, {"hostname": "a"}, idempotency_key="k-1")
    answer = bootstrap(customer.secret, {"hostname": "b"}, idempotency_key="k-1")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-mismatch")


def test_an_idempotency_key_answered_with_a_live_key_stands_for_that_request(fleet_cluster):
    customer = factories.customer()
    one = bootstrap(customer.secret, {"registration_id": "q1"}, idempotency_key="a").json()
    two = bootstrap(customer.secret, {"registration_id": "q1"}, idempotency_key="b").json()
    assert one["auth_key"] == two["auth_key"]
    assert bootstrap(customer.secret, {"registration_id": "q2"}, idempotency_key="b").json()["code"] == "idempotency-mismatch"
    assert bootstrap(customer.secret, {"registration_id": "q1"}, idempotency_key="b").json() == two
    assert customer.quota().used == 1


def test_an_idempotency_key_belongs_to_one_credential(fleet_cluster):
    customer = factories.customer()
    _, other = factories.enrolment_key(customer.tenant)
    one = bootstrap(customer.secret, idempotency_key="k-1").json()
    two = bootstrap(other, idempotency_key="k-1").json()
    assert one["auth_key"] != two["auth_key"]


def test_an_idempotency_key_is_forgotten_after_a_day(fleet_cluster):
    customer = factories.customer()
    one = bootstrap(customer.secret, idempotency_key="k-1").json()
    Grant.objects.of(customer.tenant).update(created_at=timezone.now() - timedelta(hours=25))
    assert bootstrap(customer.secret, idempotency_key="k-1").json()["auth_key"] != one["auth_key"]
    assert customer.quota().used == 2


def test_a_replay_is_checked_again_like_any_request(fleet_cluster):
    customer = factories.customer()
    bootstrap(customer.secret, idempotency_key="k-1")
    lifecycle.suspend(customer.tenant, now=timezone.now(), actor="system:tests")
    answer = bootstrap(customer.secret, idempotency_key="k-1")
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant-suspended")


def test_a_full_quota_refuses_and_keeps_its_count(fleet_cluster):
    customer = factories.customer(max_devices=1)
    assert bootstrap(customer.secret).status_code == 200
    answer = bootstrap(customer.secret)
    assert (answer.status_code, answer.json()["code"]) == (403, "quota-exceeded")
    assert customer.quota().used == 1
    assert len(keys_of(fleet_cluster.cluster_id)) == 1


def test_a_single_use_key_admits_one_device_and_answers_its_repeat(fleet_cluster):
    customer = factories.customer(max_uses=1)
    first = bootstrap(customer.secret, {"registration_id": "a"})
    assert first.status_code == 200
    assert bootstrap(customer.secret, {"registration_id": "a"}).json()["auth_key"] == first.json()["auth_key"]
    answer = bootstrap(customer.secret, {"registration_id": "b"})
    assert (answer.status_code, answer.json()["code"]) == (401, "bad-credential")
    assert customer.quota().used == 1


def refusals(customer: factories.Customer) -> list[bytes]:
    """The answers to every way of being wrong with a credential."""
    other = factories.customer()
    expired, expired_secret = factories.enrolment_key(customer.tenant, expires_at=timezone.now() + timedelta(hours=1))
    type(expired).objects.of(customer.tenant).filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    revoked, revoked_secret = factories.enrolment_key(customer.tenant)
    credentials.revoke(revoked, now=timezone.now(), actor="system:tests")
    asked = [
        ("acs-enrol-wrong", {}),
        ("acs-enrol-wrong", {"account": customer.account}),
        ("acs-enrol-wrong", {"account": "nobody-here"}),
        (expired_secret, {}),
        (revoked_secret, {}),
        (other.secret, {"account": customer.account}),
        (customer.secret, {"account": "nobody-here"}),
    ]
    return [bootstrap(secret, body) for secret, body in asked]


def test_every_wrong_credential_gets_one_and_the_same_answer(fleet_cluster):
    customer = factories.customer()
    for _ in range(2):  # before and after the tenant is placed
        answers = refusals(customer)
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.content for answer in answers}) == 1
        told = [{name: value for name, value in answer.headers.items() if name not in ("X-Request-ID", "RateLimit")} for answer in answers]
        assert told.count(told[0]) == len(told)
        bootstrap(customer.secret)


def test_a_suspended_tenant_is_told_so_only_to_its_holders(fleet_cluster):
    customer = factories.customer()
    lifecycle.suspend(customer.tenant, now=timezone.now(), actor="system:tests")
    assert bootstrap(customer.secret).json()["code"] == "tenant-suspended"
    assert bootstrap("acs-enrol-wrong", {"account": customer.account}).json()["code"] == "bad-credential"


def test_nobody_hears_where_a_known_account_lives_and_gets_no_secret(fleet_cluster):
    customer = factories.customer()
    bootstrap(customer.secret)
    body = bootstrap(None, {"account": customer.account}).json()
    assert body["auth_mode"] == "oidc"
    assert body["cluster_id"] == fleet_cluster.cluster_id
    assert "auth_key" not in body


def test_nobody_places_no_tenant(fleet_cluster):
    customer = factories.customer()
    answer = bootstrap(None, {"account": customer.account})
    assert (answer.status_code, answer.json()["code"]) == (503, "no-cluster-available")
    assert not Binding.objects.of(customer.tenant).exists()


def test_nobody_asking_for_an_unknown_account_gets_404(db):
    answer = bootstrap(None, {"account": "nobody-here"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-account")


def test_a_setting_closes_the_anonymous_door(db, settings):
    settings.ANONYMOUS_BOOTSTRAP = False
    assert bootstrap(None, {"account": "nobody-here"}).json()["code"] == "bad-credential"


def test_a_region_outside_the_plan_is_refused_and_one_inside_honoured(fleet_clusters):
    fleet_clusters(region="eu")
    us = fleet_clusters(region="us")
    plan_fields = {"regions": ["eu", "us"]}
    answer = bootstrap(factories.customer(plan_fields=plan_fields).secret, {"want_region": "mars"})
    assert (answer.status_code, answer.json()["code"]) == (403, "region-not-in-plan")
    assert bootstrap(factories.customer(plan_fields=plan_fields).secret, {"want_region": "us"}).json()["cluster_id"] == us.cluster_id


def test_without_room_anywhere_the_answer_is_503_with_retry_after(fleet_clusters):
    fleet_clusters(capacity=4)
    fleet_clusters(state="cordoned")
    answer = bootstrap(factories.customer().secret)
    assert (answer.status_code, answer.json()["code"]) == (503, "no-cluster-available")
    assert int(answer["Retry-After"]) > 0


def test_keyring_rotation_does_not_break_a_promised_key(fleet_cluster, settings):
    import base64
    import os

    from tenants.keyring import Keyring

    customer = factories.customer()
    before = bootstrap(customer.secret, {"registration_id": "a"}).json()
    settings.KEYRING = Keyring({"t2": base64.b64decode(base64.b64encode(os.urandom(32))), **settings.KEYRING.keys})
    assert bootstrap(customer.secret, {"registration_id": "a"}).json()["auth_key"] == before["auth_key"]
    assert bootstrap(customer.secret, {"registration_id": "b"}).status_code == 200


def test_an_old_client_that_knows_the_minimal_request_and_answer_is_still_served(fleet_cluster):
    customer = factories.customer("acme-inc")
    asked = {"account": "acme-inc", "plan": "whatever-it-was-told", "want_region": "eu"}
    answer = bootstrap(customer.secret, asked)
    assert answer.status_code == 200
    known = ("cluster_id", "headscale_url", "derp_map", "auth_mode", "note")
    assert all(isinstance(answer.json()[name], str) and answer.json()[name] for name in known)
    plan = customer.tenant.plan_id
    assert type(customer.tenant).objects.get(pk=customer.tenant.pk).plan_id == plan
    nobody = bootstrap(None, asked)
    assert set(nobody.json()) == set(known)
    assert nobody.json()["auth_mode"] == "oidc"


def test_a_used_up_credential_is_said_to_be_bad_though_it_has_all_its_devices_too(fleet_cluster):
    customer = factories.customer(max_uses=1)
    type(customer.key).objects.of(customer.tenant).update(max_devices=1)
    assert bootstrap(customer.secret, {"registration_id": "a"}).status_code == 200
    Grant.objects.of(customer.tenant).update(state="redeemed", redeemed_at=timezone.now(), settled_at=timezone.now())
    answer = bootstrap(customer.secret, {"registration_id": "a"})  # it has its slot: how many devices there may be is not the matter
    assert (answer.status_code, answer.json()["code"]) == (401, "bad-credential")


def test_a_used_up_key_places_nobody(fleet_cluster):
    customer = factories.customer(max_uses=1)
    type(customer.key).objects.of(customer.tenant).update(uses=1)
    for body in ({}, {"account": customer.account}):
        answer = bootstrap(customer.secret, body)
        assert (answer.status_code, answer.json()["code"]) == (401, "bad-credential")
    assert not Binding.objects.of(customer.tenant).exists()


@pytest.mark.parametrize(("times", "status"), [(1, 200), (9, 503)])
def test_a_statement_that_postgresql_itself_gave_up_is_tried_again_and_then_told_to_come_back(fleet_cluster, times, status):
    """ "new multixact has more than one updating member": seen where many were refused, and rolled back, at once."""
    customer, left = factories.customer(), [times]

    def gives_up(execute, sql, *given):
        if "key_use" in str(sql) and left[0]:
            left[0] -= 1
            raise InternalError("new multixact has more than one updating member")
        return execute(sql, *given)

    with connection.execute_wrapper(gives_up):
        answer = bootstrap(customer.secret)
    assert answer.status_code == status
    assert customer.quota().used == (status == 200)
