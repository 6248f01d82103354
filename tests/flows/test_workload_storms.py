"""Tokens against real web processes under the web role's rights: one of many that carry the same token wins, and a slow issuer stops nobody else."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from placement.models import Slot
from tenants import trust
from tests import factories
from tests.fakes.oidc import AUDIENCE, Issuer, issuing
from tests.live import LiveService, race, run_web, wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]


@pytest.fixture
def issuers(settings: Any) -> Iterator[tuple[Issuer, Issuer]]:
    with issuing() as quick, issuing() as slow:
        settings.OUTBOUND_ALLOWED = [issuer.url.removeprefix("http://") for issuer in (quick, slow)]
        yield quick, slow


@pytest.fixture
def service(issuers: tuple[Issuer, Issuer], tmp_path: Any, settings: Any) -> Iterator[LiveService]:
    with run_web(tmp_path, workers=2, threads=8, ACS_OUTBOUND_ALLOWED=",".join(settings.OUTBOUND_ALLOWED)) as running:
        yield running


def trusted(issuer: Issuer, **wish: Any) -> Any:
    tenant = factories.tenant(max_devices=100)
    wish = {"issuer": issuer.url, "audience": AUDIENCE, "subject": "repo:acme/*", "registration_claim": "run_id", **wish}
    trust.make(tenant, "ci", now=timezone.now(), actor="system:tests", **wish)
    return tenant


def test_of_many_that_carry_one_token_one_gets_in(fleet_cluster, issuers, service):
    tenant = trusted(issuers[0])
    assert service.bootstrap(issuers[0].token(), account=tenant.account).status == 200
    token = issuers[0].token()
    answers = race(16, lambda _: service.bootstrap(token, account=tenant.account))
    assert Counter(answer.status for answer in answers) == {200: 1, 401: 15}
    token = issuers[0].token()
    answers = race(16, lambda _: service.bootstrap(token, account=tenant.account, idempotency_key="once"))
    assert Counter(answer.status for answer in answers) == {200: 16}, [answer.body for answer in answers if answer.status != 200]
    assert len({answer.auth_key for answer in answers}) == 1
    assert Slot.objects.of(tenant).count() == 3
    assert issuers[0].asked == ["/.well-known/openid-configuration", "/keys"]


def test_a_burst_of_jobs_after_the_keys_came_is_admitted_whole(fleet_cluster, issuers, service):
    from acs.tasks import refresh_issuers

    tenant = trusted(issuers[0])
    refresh_issuers()
    tokens = [issuers[0].token() for _ in range(32)]
    answers = race(32, lambda n: service.bootstrap(tokens[n], account=tenant.account, idempotency_key=f"job-{n}"))
    assert Counter(answer.status for answer in answers) == {200: 32}, [answer.body for answer in answers if answer.status != 200]
    assert len({answer.auth_key for answer in answers}) == 32


def test_an_issuer_that_never_answers_holds_up_nobody_else(fleet_cluster, issuers, service):
    quick, slow = issuers
    fast, late = trusted(quick).account, trusted(slow).account
    customer = factories.customer(max_devices=100)
    assert service.bootstrap(customer.secret).status == 200
    assert service.bootstrap(quick.token(), account=fast).status == 200
    slow.delay = 30.0
    waiting = [threading.Thread(target=service.bootstrap, args=(slow.token(),), kwargs={"account": late}) for _ in range(16)]
    for thread in waiting:
        thread.start()
    wait_for(lambda: slow.asked, "somebody asks the slow issuer")
    spent = []
    for _ in range(10):
        begun = time.monotonic()
        assert service.bootstrap(customer.secret).status == 200
        assert service.bootstrap(quick.token(), account=fast).status == 200
        spent.append(time.monotonic() - begun)
    assert max(spent) < 2.5, spent
    assert any(thread.is_alive() for thread in waiting)
    for thread in waiting:
        thread.join(20)
    assert slow.asked == ["/.well-known/openid-configuration"]
    slow.delay = 0.0
