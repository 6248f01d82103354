"""SIGKILL of a web worker before and after every statement, commit and call of a bootstrap: no slot lost, no key without a grant.

Every third of these points, every one with ACS_EXAMPLES set.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from acs.poll import poll
from placement.models import Grant, Slot, Watch
from tests import factories
from tests.cluster_servers import serve_external
from tests.conftest import superuser
from tests.live import STEP, LiveService, run_web, wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]
CRASHING = {"workers": 3, "threads": 2, "application": "tests.crash_wsgi:application"}


def places() -> Iterator[tuple[int, str]]:
    """1 before, 1 after, 2 before, ... without end."""
    return ((number, when) for number in itertools.count(1) for when in ("before", "after"))


def crash(service: LiveService, customer: factories.Customer, number: int, when: str) -> bool:
    """Ask and have the worker kill itself at that point. False when the request has fewer points than that."""
    before = set(service.workers())
    answer = service.bootstrap(customer.secret, idempotency_key="once", crash_at=f"{number}:{when}")
    if answer.status == 200:
        return False
    assert answer.status == 0, answer
    wait_for(lambda: set(service.workers()) - before, "a new worker stands in", log=service.log)
    return True


def insist(service: LiveService, customer: factories.Customer) -> str:
    """The device asks again until it is answered, as devices do."""
    answer = wait_for(
        lambda: (got := service.bootstrap(customer.secret, idempotency_key="once")).status and got, "the door answers", log=service.log
    )
    assert answer.status == 200, answer.body
    return answer.auth_key


def test_on_the_fleet_a_kill_anywhere_loses_nothing_and_makes_nothing_twice(fleet_cluster, tmp_path):
    with run_web(tmp_path, **CRASHING) as service:
        for number, when in itertools.islice(places(), 0, None, STEP):
            customer = factories.customer(max_devices=1)
            crashed = crash(service, customer, number, when)
            key = insist(service, customer)
            assert customer.quota().used == 1, f"{number}:{when}"
            [grant] = Grant.objects.of(customer.tenant)
            assert key[len("hskey-auth-") :].startswith(grant.key_prefix)
            if not crashed:
                break
    with superuser() as connection:
        keys = connection.execute("select id from headscale.pre_auth_keys").fetchall()
    assert {key_id for (key_id,) in keys} == set(Grant.objects.across_tenants().values_list("key_id", flat=True))
    assert Slot.objects.across_tenants().count() == Grant.objects.across_tenants().count()
    assert number > 8, "places the tenant, then admits the device: more statements than that"
    print(f"killed at every {STEP}. of {number - 1} points, before and after")


def test_on_an_external_cluster_a_kill_anywhere_is_settled_by_the_sweeper(db, tmp_path):
    """What a killed request left behind is found by its expiration or released: no slot is lost, no unknown key stays redeemable."""
    with serve_external(tmp_path / "x") as (cluster_id, server), run_web(tmp_path, **CRASHING) as service:
        service.bootstrap(factories.customer().secret)  # the first one places and makes connections
        customers = []
        for number, when in itertools.islice(places(), 0, None, STEP):
            customer = factories.customer(max_devices=1)
            crashed = crash(service, customer, number, when)
            customers.append(customer)
            if not crashed:
                break
        assert number > 8
        look_again(cluster_id, timezone.now() + timedelta(minutes=3))  # finds or releases what fell silent
        look_again(cluster_id, timezone.now() + timedelta(minutes=4))  # settles what the first look expired
        for customer in customers:
            assert insist(service, customer)
            assert customer.quota().used == 1
        with server.admin() as admin:
            live = {key.id for key in admin.keys() if not key.used and key.expiration > timezone.now()}
        granted = Grant.objects.across_tenants().filter(state=Grant.State.ISSUED)
        assert live == set(granted.values_list("key_id", flat=True))


def look_again(cluster_id: str, now: datetime) -> None:
    Watch.objects.filter(pk=cluster_id).update(attempted_at=None)
    assert poll(cluster_id, now=now).outcome == "ok"
