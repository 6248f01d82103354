"""Whatever is agreed in whatever order: phases stay apart, plan and quota follow, every month can be rated; and each process has the rights it needs."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from django.db import connection

from billing import concessions, settling, subscriptions
from billing.models import Override, Subscription, SubscriptionPhase
from billing.phases import entitlement_of, phases_of
from billing.rating.cycles import month_of
from billing.rating.lines import What
from billing.rating.rate import ranges, rate
from billing.rating.used import Used
from tenants.errors import TenantError
from tenants.models import Quota, Tenant
from tests.billing.sold import BEGIN, at, subscriber, told, version

pytestmark = pytest.mark.django_db


def agree(chance: random.Random, acme: Tenant, versions: list, now: datetime) -> None:
    """Something that somebody might do now; most refusals are fine, no other error is."""
    act = told(now)
    choices = [
        lambda: subscriptions.change_plan(acme, chance.choice(versions), when=chance.choice([None, None, "now", "period_end"]), **act),
        lambda: subscriptions.change_plan(acme, chance.choice(versions), **act),
        lambda: subscriptions.cancel(acme, **act),
        lambda: subscriptions.undo(acme, **act),
        lambda: subscriptions.end(acme, **act),
        lambda: subscriptions.start(acme, chance.choice(versions), **act),
        lambda: concessions.override(acme, max_devices=chance.randrange(90), until=now + timedelta(days=chance.randrange(1, 40)), **act),
        lambda: concessions.override(
            acme, component="base", unit_price=Decimal(chance.randrange(50)), until=now + timedelta(days=9), **act
        ),
    ]
    with suppress(TenantError):
        chance.choice(choices)()


@pytest.mark.parametrize("seed", range(3))
def test_phases_plan_and_quota_agree_after_whatever_happens(seed):
    chance, now = random.Random(seed), BEGIN
    versions = [version("9"), version("29", trial_days=10), version("290", interval="year"), version("99", max_devices=50)]
    acme = subscriber(versions[1])
    for _ in range(25):
        now += timedelta(seconds=chance.choice([1, 3600, 5 * 86400, 20 * 86400]))
        for pk in settling.due(now=now):
            settling.settle(pk, now=now)
        agree(chance, acme, versions, now)
        entitled = entitlement_of(acme, at=now)
        assert Quota.objects.get(tenant=acme).limit == (entitled.quota if entitled else 0)
        if entitled:
            assert Tenant.objects.get(pk=acme.pk).plan_id == entitled.plan
        spans = sorted((row.during for row in SubscriptionPhase.objects.all()), key=lambda during: during.lower)
        assert all(earlier.upper and earlier.upper <= later.lower for earlier, later in pairwise(spans))
        settle_at = Subscription.objects.of(acme).get().settle_at
        edges = [
            edge
            for during in [*spans, *(row.during for row in Override.objects.filter(component=""))]
            for edge in (during.lower, during.upper)
        ]
        assert settle_at == min((edge for edge in edges if edge and edge > now), default=None)
    month = month_of(BEGIN)
    while month.start < now:
        phases = phases_of(acme, month)
        lines = rate(phases, {part: Used() for part in ranges(phases, month)}, month, "EUR")
        assert all((line.amount > 0) == (line.what == What.CHARGE) for line in lines)
        month = month_of(month.end)


@pytest.mark.django_db(transaction=True)
def test_the_web_agrees_and_the_worker_settles_with_their_own_rights():
    large, small = version("500", max_devices=90), version("29", max_devices=40)
    with connection.cursor() as cursor:
        try:
            cursor.execute("set role acs_web")
            acme = subscriber(large)
            subscriptions.change_plan(acme, small, **told(at(11)))
            concessions.credit(acme, 5, reason="an outage", **told(at(11)))
            concessions.override(acme, max_devices=95, until=at(20), **told(at(12)))
            cursor.execute("set role acs_worker")
            for moment in (at(20), month_of(at(20)).end):
                (pk,) = settling.due(now=moment)
                assert settling.settle(pk, now=moment)
        finally:
            cursor.execute("reset role")
    assert (Tenant.objects.get(pk=acme.pk).plan_id, Quota.objects.get(tenant=acme).limit) == (small.plan_id, 40)
