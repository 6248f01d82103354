"""The queue of an external cluster: a place that a device keeps while it asks, in order, whatever stops or dies meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from acs.sweep import sweep
from placement import lineup, refill
from placement.models import Cluster, Grant, Minting, Slot
from tenants import credentials, lifecycle, quota
from tenants.models import EnrolmentKey
from tests import factories
from tests.doors import bootstrap
from tests.fakes.minter import external_of, full_lanes
from tests.placement.test_stock import look_again, minter, put_by, resident

__all__ = ["minter"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def home(minter):
    """The cluster_id of an external cluster whose lanes are taken by other processes throughout the test."""
    cluster_id = external_of(minter)
    with full_lanes(cluster_id):
        yield cluster_id


def ask(customer: factories.Customer, name: str):
    return bootstrap(customer.secret, {"registration_id": name})


def queued(customer: factories.Customer) -> list[str]:
    waiting = Grant.objects.of(customer.tenant).filter(state="queued").order_by("created_at")
    return list(waiting.values_list("slot__registration_id", flat=True))


def test_a_device_that_cannot_be_served_keeps_one_place_however_often_it_asks(home, minter):
    customer = resident(home)
    for _ in range(3):
        answer = ask(customer, "till-1")
        assert (answer.status_code, answer.json()["code"]) == (503, "cluster-busy")
        assert 1 <= int(answer["Retry-After"]) <= 300
    assert queued(customer) == ["till-1"]
    assert customer.quota().used == 1
    assert refill.refill(home, seconds=5) is False
    assert ask(customer, "till-1").json()["auth_key"] == minter.secret_of(1)
    assert (customer.quota().used, Grant.objects.of(customer.tenant).count()) == (1, 1)


def test_an_idempotency_key_keeps_a_place_too(home, minter):
    customer = resident(home)
    assert bootstrap(customer.secret, idempotency_key="k").status_code == 503
    assert bootstrap(customer.secret, idempotency_key="k").status_code == 503
    assert bootstrap(customer.secret, {"hostname": "other"}, idempotency_key="k").json()["code"] == "idempotency-mismatch"
    assert customer.quota().used == 1
    refill.refill(home, seconds=5)
    assert bootstrap(customer.secret, idempotency_key="k").json()["auth_key"] == minter.secret_of(1)


def test_a_device_without_a_name_holds_nothing(home):
    customer = resident(home)
    for first in (True, False):
        answer = bootstrap(customer.secret)
        assert (answer.json()["code"], customer.quota().used) == ("cluster-busy", 0 if first else 1)
        assert int(answer["Retry-After"]) >= 1
        ask(customer, "till-1")  # now somebody queues, and the next one is told before anything is promised
    assert not Slot.objects.of(customer.tenant).filter(released_at=None, registration_id=None).exists()
    customer.key.refresh_from_db()
    assert customer.key.uses == 1


def test_the_queue_is_served_in_the_order_of_arrival_across_tenants_and_nobody_overtakes(home, minter):
    one, two = resident(home), resident(home)
    came = [(customer, f"till-{n}") for n in range(3) for customer in (one, two)]
    for customer, name in came:
        assert ask(customer, name).status_code == 503
    refill.refill(home, seconds=10)
    told = [ask(customer, name).json()["auth_key"] for customer, name in came]
    assert told == [minter.secret_of(number) for number in range(1, 7)]


def test_who_queues_takes_from_the_stock_before_any_newcomer(home, minter):
    customer = resident(home)
    assert ask(customer, "earlier").status_code == 503
    put_by(home, customer, 1)
    assert ask(customer, "later").status_code == 503
    refill.refill(home, seconds=5)
    assert ask(customer, "earlier").json()["auth_key"] == minter.secret_of(1)
    assert ask(customer, "later").json()["auth_key"] == minter.secret_of(2)


def test_the_first_of_the_queue_mints_for_itself_when_a_lane_is_free_and_no_refill_runs(minter):
    home = external_of(minter)
    customer = resident(home)
    names = [f"till-{n}" for n in range(4)]
    with full_lanes(home):
        assert [ask(customer, name).status_code for name in names] == [503] * 4
    assert ask(customer, names[3]).status_code == 503, "it is not its turn"
    assert [ask(customer, name).json()["auth_key"] for name in names] == [minter.secret_of(n) for n in range(1, 5)]


def test_a_complete_poll_releases_no_place_and_a_silence_gives_it_back(home, minter):
    customer = resident(home)
    ask(customer, "till-1")
    Grant.objects.of(customer.tenant).update(created_at=timezone.now() - timedelta(minutes=10))
    look_again(home)
    assert queued(customer) == ["till-1"]
    minter.mode = "lost"
    refill.refill(home, seconds=2)
    assert Grant.objects.of(customer.tenant).get().state == "unknown"
    look_again(home)
    assert Grant.objects.of(customer.tenant).get().state == "unknown", (
        "the server was asked a moment ago, however long the device has waited"
    )
    look_again(home, minutes=3)
    assert queued(customer) == ["till-1"]


def test_a_server_that_is_down_costs_nobody_a_place(home, minter):
    customer = resident(home)
    ask(customer, "till-1")
    Cluster.objects.filter(pk=home).update(admin_url="http://127.0.0.1:9")
    refill.refill(home, seconds=2)
    assert queued(customer) == ["till-1"]
    Cluster.objects.filter(pk=home).update(admin_url=minter.url)
    refill.refill(home, seconds=5)
    assert ask(customer, "till-1").status_code == 200


def test_one_tenant_that_the_server_refuses_does_not_hold_up_the_others(home, minter):
    refused, served = resident(home), resident(home)
    for customer in (refused, served):
        ask(customer, "till-1")
    minter.users[minter.users.index(refused.account)] = "somebody-else"
    minter.refused = "somebody-else"
    refill.refill(home, seconds=5)
    assert ask(served, "till-1").status_code == 200
    assert (queued(refused), refused.quota().used) == ([], 0)


def test_a_place_that_nobody_asks_for_is_released_but_not_for_the_time_in_which_nobody_served(home, minter):
    customer = resident(home)
    for name in ("gone", "there"):
        ask(customer, name)
    long_ago = timezone.now() - lineup.HELD - timedelta(minutes=1)
    Grant.objects.of(customer.tenant).filter(slot__registration_id="gone").update(asked_at=long_ago)
    Minting.objects.update_or_create(pk=home, defaults={"seconds": 0.1, "serving_since": timezone.now() - timedelta(minutes=5)})
    sweep(home, now=timezone.now())
    assert queued(customer) == ["gone", "there"]
    Minting.objects.update(serving_since=long_ago)
    sweep(home, now=timezone.now())
    assert queued(customer) == ["there"]
    assert customer.quota().used == 1


def test_the_places_of_the_no_longer_entitled_are_released_and_never_served(home, minter):
    suspended, revoked = resident(home), resident(home)
    for customer in (suspended, revoked):
        ask(customer, "till-1")
    late = resident(home)
    ask(late, "till-1")
    EnrolmentKey.objects.of(late.tenant).update(expires_at=timezone.now())
    lifecycle.suspend(suspended.tenant, reason="unpaid", now=timezone.now(), actor="system:tests")
    credentials.revoke(revoked.key, now=timezone.now(), actor="system:tests")
    assert refill.refill(home, seconds=2) is False
    assert minter.keys == {}
    sweep(home, now=timezone.now())
    assert [customer.quota().used for customer in (suspended, revoked, late)] == [0, 0, 0]


def test_metrics_tell_stock_queue_and_pace_of_each_external_cluster(home, minter):
    customer = resident(home)
    put_by(home, customer, 2)
    first = ask(customer, "till-1")
    assert first.status_code == 200
    fleeting = factories.enrolment_key(customer.tenant, ephemeral=True)[1]
    assert bootstrap(fleeting, {"registration_id": "till-2"}).status_code == 503
    text = Client().get("/metrics").content.decode()
    for line in (
        f'acs_stock_keys{{cluster_id="{home}"}} 1.0',
        f'acs_stock_wanted{{cluster_id="{home}"}} 2.0',
        f'acs_queue_devices{{cluster_id="{home}"}} 1.0',
    ):
        assert line in text
    assert f'acs_mint_seconds{{cluster_id="{home}"}}' in text
    assert f'acs_bootstraps_total{{cluster_id="{home}",code="cluster-busy"}}' in text


def test_who_has_not_paid_gets_no_key_that_was_queued_before_and_its_key_after_the_payment(home, minter):
    customer, told = resident(home), {"actor": "system:tests"}
    assert ask(customer, "till-1").status_code == 503
    lifecycle.restrict(customer.tenant, now=timezone.now(), **told)
    assert refill.refill(home, seconds=2) is False
    assert minter.keys == {}
    for _ in range(2):
        answer = ask(customer, "till-1")
        assert (answer.status_code, answer.json()["code"]) == (403, "payment-overdue")
        sweep(home, now=timezone.now())
    assert (queued(customer), customer.quota().used) == ([], 0)
    lifecycle.lift(customer.tenant, now=timezone.now(), **told)
    assert ask(customer, "till-1").status_code == 503
    refill.refill(home, seconds=5)
    assert ask(customer, "till-1").json()["auth_key"] == minter.secret_of(1)


def test_a_payment_that_comes_before_any_sweep_finds_the_place_kept(home, minter):
    customer, other, told = resident(home), resident(home), {"now": timezone.now(), "actor": "system:tests"}
    ask(customer, "till-1")
    ask(other, "till-1")
    lifecycle.restrict(customer.tenant, **told)
    lifecycle.lift(customer.tenant, **told)
    refill.refill(home, seconds=5)
    assert ask(customer, "till-1").json()["auth_key"] == minter.secret_of(1)


@pytest.mark.parametrize("swept", [True, False])
def test_a_limit_that_was_lowered_serves_those_of_the_queue_who_still_fit_and_tells_the_others(home, minter, swept):
    customer = resident(home)
    for name in ("first", "second", "third"):
        assert ask(customer, name).status_code == 503
    quota.set_limit(customer.tenant.pk, 1)
    assert refill.refill(home, seconds=2) is False
    assert minter.keys == {}, "more are promised than there is room for"
    if swept:
        sweep(home, now=timezone.now())
        assert queued(customer) == ["first"]
    for name in ("third", "second"):
        answer = ask(customer, name)
        assert (answer.status_code, answer.json()["code"]) == (403, "quota-exceeded")
    assert (queued(customer), customer.quota().used) == (["first"], 1)
    refill.refill(home, seconds=5)
    assert ask(customer, "first").json()["auth_key"] == minter.secret_of(1)
    quota.set_limit(customer.tenant.pk, 2)
    assert ask(customer, "second").status_code == 503


def test_no_key_is_made_ahead_for_who_has_not_paid(minter):
    home = external_of(minter)
    customer = resident(home)
    for number in range(3):
        assert ask(customer, f"till-{number}").status_code == 200
    made = len(minter.keys)
    assert [each.wanted for each in refill.demands(home, now=timezone.now())] == [3]
    lifecycle.restrict(customer.tenant, now=timezone.now(), actor="system:tests")
    assert refill.demands(home, now=timezone.now()) == []
    refill.refill(home, seconds=2)
    assert len(minter.keys) == made
