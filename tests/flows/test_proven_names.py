"""A registration id that a group's signature or a trusted token has proven is not for a bearer key, which proves none."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from placement import device_verbs
from placement.models import Device, Grant, Refusal, Slot
from tenants import enrolments
from tests import factories
from tests.conftest import superuser
from tests.doors import bootstrap
from tests.fakes.fleet_server import FleetServer, serving
from tests.fakes.oidc import issuing
from tests.flows.test_signed_bootstrap import ACTED, Fleet, code
from tests.flows.test_workload_identity import trusted
from tests.live import together

pytestmark = pytest.mark.django_db
NAME = {"registration_id": "till-7"}


@pytest.fixture
def fleet(fleet_cluster: Any) -> Fleet:
    return Fleet()


@pytest.fixture
def bearer(fleet: Fleet) -> str:
    return factories.enrolment_key(fleet.tenant)[1]


def usable_keys() -> int:
    with superuser() as link:
        return link.execute("select count(*) from headscale.pre_auth_keys where not used and expiration > now()").fetchone()[0]


def test_a_bearer_key_gets_nothing_under_a_name_that_a_group_has_proven(fleet, bearer):
    told = fleet.ask().json()
    for name in ("till-7", "TILL-7"):
        assert code(bootstrap(bearer, {"registration_id": name})) == (403, "registration-refused")
    assert fleet.ask().json() == told, "its key is still the live one"
    assert [grant.state for grant in Grant.objects.of(fleet.tenant)] == ["issued"]
    assert Slot.objects.of(fleet.tenant).get().proven
    assert bootstrap(bearer, {"registration_id": "till-8"}).status_code == 200


def test_the_operator_reads_who_has_proven_the_name_and_the_device_does_not(fleet, bearer):
    fleet.ask()
    answer = bootstrap(bearer, NAME)
    assert "detail" not in answer.json()
    reason = f"the name was proven by the {fleet.group.key.hint}; a bearer key proves none"
    assert Refusal.objects.of(fleet.tenant).get().reason == reason
    out = StringIO()
    call_command("enrolment", "why", "till-7", "--account", fleet.tenant.account, stdout=out)
    assert reason in out.getvalue()


def test_a_name_that_a_token_has_proven_is_as_safe(fleet_cluster, settings):
    customer = factories.customer()
    with issuing() as issuer:
        settings.OUTBOUND_ALLOWED = [issuer.url.removeprefix("http://")]
        trusted(customer.tenant, issuer, registration_claim="run_id")
        assert bootstrap(issuer.token(run_id="till-7"), {"account": customer.account}).status_code == 200
    assert code(bootstrap(customer.secret, NAME)) == (403, "registration-refused")
    assert "the policy ci" in Refusal.objects.of(customer.tenant).get().reason


def test_bearer_keys_share_names_that_nobody_has_proven(fleet, bearer):
    other = factories.enrolment_key(fleet.tenant)[1]
    assert [bootstrap(secret, NAME).status_code for secret in (bearer, other, bearer)] == [200] * 3
    slot = Slot.objects.of(fleet.tenant).get()
    assert not slot.proven


@pytest.mark.django_db(transaction=True)
def test_who_proves_a_bearer_keys_name_takes_it_over_for_good(fleet, bearer):
    first = bootstrap(bearer, NAME, idempotency_key="boot").json()["auth_key"]
    taken_over = fleet.ask().json()["auth_key"]
    assert taken_over != first
    assert usable_keys() == 1, "the bearer key's own, which nobody had used, has ended"
    slot = Slot.objects.of(fleet.tenant).get()
    assert slot.proven
    for idempotency_key in ("", "boot"):
        assert code(bootstrap(bearer, NAME, idempotency_key=idempotency_key)) == (403, "registration-refused")
    assert fleet.ask().json()["auth_key"] == taken_over


def test_another_group_proves_names_too(fleet):
    fleet.ask()
    assert Fleet(fleet.tenant).ask().status_code == 200


def test_a_refused_bearer_key_does_not_get_into_the_queue_of_those_who_wait_for_an_admin(fleet):
    fleet.ask()
    approved = factories.enrolment_key(fleet.tenant, approval=True)[1]
    assert code(bootstrap(approved, NAME)) == (403, "registration-refused")
    assert code(bootstrap(approved, {"registration_id": "till-8"})) == (202, "approval-pending")


def test_what_an_admin_says_about_a_device_does_not_make_a_bearer_key_prove_its_name(fleet, bearer):
    fleet.ask()
    enrolments.put(fleet.tenant, "till-7", state="enabled", now=timezone.now(), **ACTED)
    assert code(bootstrap(bearer, NAME)) == (403, "registration-refused")


@pytest.fixture
def server(fleet_cluster: Any) -> Iterator[FleetServer]:
    with serving(fleet_cluster) as running:
        yield running


@pytest.mark.django_db(transaction=True)
def test_a_deleted_device_leaves_its_name_free(fleet, bearer, server):
    from tests.flows.test_events_and_polls import consume

    server.join(fleet.ask().json()["auth_key"], "m1")
    consume()
    assert code(bootstrap(bearer, NAME)) == (403, "registration-refused")
    device_verbs.delete(Device.objects.of(fleet.tenant).get(), now=timezone.now(), **ACTED)
    assert bootstrap(bearer, NAME).status_code == 200
    assert [slot.proven for slot in Slot.objects.of(fleet.tenant).filter(released_at=None)] == [False]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known", [False, True])
def test_of_a_bearer_key_and_a_signature_at_once_the_signature_has_the_name_in_the_end(fleet_cluster, known):
    fleet = Fleet(quota=100)
    secrets = [factories.enrolment_key(fleet.tenant)[1] for _ in range(3)]
    bootstrap(secrets[0], {"registration_id": "first"})  # places the tenant
    for number in range(12):
        name = f"till-{number}"
        if known:
            bootstrap(secrets[0], {"registration_id": name})
        begging = [lambda secret=secret, name=name: bootstrap(secret, {"registration_id": name}) for secret in secrets]
        *others, signed = together([*begging, lambda name=name: fleet.ask(name)])
        assert signed.status_code == 200, signed.content
        assert {code(answer) for answer in others} <= {(200, None), (403, "registration-refused")}
        [slot] = Slot.objects.of(fleet.tenant).filter(registration_id=name, released_at=None)
        live = Grant.objects.of(fleet.tenant).get(slot=slot, state="issued")
        assert (slot.proven, live.enrolment_key_id) == (True, fleet.group.pk)
        assert fleet.ask(name).json()["auth_key"] == signed.json()["auth_key"]
    assert usable_keys() == 13


def test_no_way_in_costs_a_statement_more(fleet, bearer):
    ways = (("bearer", 2, lambda name: bootstrap(bearer, {"registration_id": name})), ("signed", 4, fleet.ask))
    for way, most, ask in ways:
        ask(f"{way}-1")
        with CaptureQueriesContext(connection) as seen:
            assert ask(f"{way}-2").status_code == 200
        statements = [query["sql"] for query in seen if "SAVEPOINT" not in query["sql"]]
        assert len(statements) <= most, statements
