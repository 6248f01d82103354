"""A tenant that is closed ends its subscription, whoever closes it; reopened it goes on as agreed, and the time in between costs nothing."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import accounts, concessions, dunning, invoicing, settling, subscriptions
from billing.closing import close
from billing.metering import usage
from billing.models import Invoice, KeptPhase, Subscription, SubscriptionPhase
from billing.payments import ledger
from billing.payments.received import Received
from billing.phases import entitlement_of, phase_at, phases_of
from billing.rating.cycles import month_of
from billing.rating.rate import ranges, rate
from billing.rating.used import Used
from placement.models import Device
from tenants import lifecycle, plans
from tenants.errors import TenantError, WrongState
from tenants.models import AuditEvent, Quota, Tenant
from tests import factories
from tests.api.callers import operator
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.billing.invoices.used import after, into, lives, month_of_use, used
from tests.billing.rating.bills import JULY, JUNE

pytestmark = pytest.mark.django_db
TOLD = {"actor": "system:tests"}


@pytest.fixture(autouse=True)
def _seller(settings):
    settings.SELLER = SELLER
    settings.METERING_EVIDENCE_MONTHS = settings.METERING_DEVICE_DAY_MONTHS = 1200
    settings.DUNNING_DAYS = [14, 30, 60]


@pytest.fixture
def office(settings):
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    client = Client()
    client.force_login(User.objects.create_superuser("olga", password="only-in-tests-1"))
    return client


def bill(of: Tenant, period=JUNE) -> list[tuple[str, int]]:
    phases = phases_of(of, period)
    lines = rate(phases, {part: Used() for part in ranges(phases, period)}, period, "EUR")
    return [(line.component, line.amount) for line in lines]


def again(tenant: Tenant) -> Tenant:
    return Tenant.objects.select_related("plan").get(pk=tenant.pk)


def standing(tenant: Tenant) -> tuple[str, str, int]:
    held = again(tenant)
    return held.state, held.plan_id, Quota.objects.get(tenant=tenant).limit


def ended(tenant: Tenant) -> bool:
    return not SubscriptionPhase.objects.filter(subscription__tenant=tenant, during__endswith=None).exists()


# ---- whoever closes it --------------------------------------------------------------------------------------------------------


def by_api(tenant, office):
    assert operator("tenants").post(f"tenants/{tenant.account}/close", {"reason": "asked"}).status_code == 200


def by_page(tenant, office):
    assert office.post(reverse("admin:tenants_tenant_act", args=[tenant.pk, "close"]), {"reason": "asked"}).status_code == 302


def by_command(tenant, office):
    call_command("tenant", "close", tenant.account)


@pytest.mark.parametrize("way", [by_api, by_page, by_command])
def test_whoever_closes_a_tenant_ends_its_subscription_and_whoever_reopens_it_brings_it_back(way, office):
    tenant = sold.subscriber()
    before = standing(tenant)
    way(tenant, office)
    assert ended(tenant)
    assert phase_at(tenant, timezone.now()) is None
    verbs = AuditEvent.objects.of(tenant).filter(verb="subscription.end")
    assert verbs.get().detail["reason"] == "closed"
    assert operator("tenants").post(f"tenants/{tenant.account}/reopen", {"reason": "asked"}).status_code == 200
    assert standing(tenant) == before
    assert not ended(tenant)
    assert not KeptPhase.objects.exists()


def test_a_close_that_is_rolled_back_ends_nothing():
    tenant = sold.subscriber()
    with transaction.atomic():
        lifecycle.close(tenant, now=into(3), **TOLD)
        transaction.set_rollback(True)
    assert not ended(tenant)


def test_a_tenant_without_a_subscription_is_closed_and_reopened_as_before():
    tenant = factories.tenant()
    lifecycle.close(tenant, now=into(3), **TOLD)
    assert lifecycle.reopen(tenant, now=into(4), **TOLD).state == "active"
    assert standing(tenant)[2] == 10
    assert not AuditEvent.objects.of(tenant).filter(verb__startswith="subscription").exists()


# ---- what is billed -----------------------------------------------------------------------------------------------------------


def test_a_tenant_closed_in_mid_month_is_billed_for_what_it_had_once_and_never_after(fleet_cluster):
    tenant = sold.subscriber(sold.version("30.00"))
    lives(tenant, fleet_cluster)
    month_of_use(tenant, fleet_cluster, 120, "3000", days=15)
    lifecycle.close(tenant, now=into(15), **TOLD)
    for _ in range(2):
        close(JUNE, now=after(), **TOLD)
    made = Invoice.objects.of(tenant).get()
    lines = [(line.component, line.what, line.amount) for line in made.lines.order_by("position")]
    assert lines == [("base", "charge", 3000), ("base", "credit", -1500), ("devices", "charge", 6000), ("devices", "charge", 1000)]
    assert close(JULY, now=after(JULY), **TOLD).invoiced == 0
    assert Invoice.objects.of(tenant).count() == 1


def test_the_time_that_it_was_closed_is_not_billed():
    tenant = sold.subscriber(sold.version("30.00", max_devices=77))
    lifecycle.close(tenant, now=into(10), **TOLD)
    assert bill(tenant) == [("base", 3000), ("base", -2000)]
    lifecycle.reopen(tenant, now=into(20), **TOLD)
    assert bill(tenant) == [("base", 3000), ("base", -2000), ("base", 1000)]
    assert standing(tenant)[2] == 77
    assert bill(tenant, JULY) == [("base", 3000)]


def test_closed_over_the_end_of_a_month_it_pays_nothing_for_the_days_between():
    tenant = sold.subscriber(sold.version("31.00"))
    lifecycle.close(tenant, now=into(29), **TOLD)
    lifecycle.reopen(tenant, now=into(40), **TOLD)  # 11 July
    assert sum(amount for _name, amount in bill(tenant)) == 2997
    assert bill(tenant, JULY) == [("base", 2100)]


def test_a_year_goes_on_to_its_old_end():
    tenant = sold.subscriber(sold.version("365.00", interval="year"), now=sold.at(1))
    lifecycle.close(tenant, now=sold.at(11), **TOLD)
    lifecycle.reopen(tenant, now=sold.at(21), **TOLD)
    assert bill(tenant) == [("base", 36500), ("base", -35500), ("base", 34500)]
    assert bill(tenant, JULY) == []


def test_there_is_no_second_trial_and_the_first_one_ends_when_it_would_have():
    version = sold.version("30.00", trial_days=14)
    tenant, late = sold.subscriber(version, now=sold.at(1)), sold.subscriber(version, now=sold.at(1))
    for one, days in ((tenant, 4), (late, 19)):
        lifecycle.close(one, now=sold.at(4), **TOLD)
        lifecycle.reopen(one, now=sold.at(4) + timedelta(days=days), **TOLD)
    assert bill(tenant) == [("base", 1600)], "free until the 15th"
    assert bill(late) == [("base", 800)], "from the 23rd on"


def test_what_was_scheduled_comes_when_it_would_have_and_what_has_passed_counts():
    large, small = sold.version("500", max_devices=900), sold.version("30", max_devices=40)
    soon, late, gone = (sold.subscriber(large) for _ in range(3))
    for tenant in (soon, late):
        subscriptions.change_plan(tenant, small, now=into(5), **TOLD)
    subscriptions.cancel(gone, now=into(5), **TOLD)
    for tenant, back in ((soon, 20), (late, 31), (gone, 31)):
        lifecycle.close(tenant, now=into(10), **TOLD)
        assert Subscription.objects.of(tenant).get().settle_at is None
        lifecycle.reopen(tenant, now=into(back), **TOLD)
        assert (Subscription.objects.of(tenant).get().pk in settling.due(now=into(31))) == (tenant is soon)
        settling.settle(Subscription.objects.of(tenant).get().pk, now=into(31))
    assert [standing(tenant)[2] for tenant in (soon, late, gone)] == [40, 40, 0], "who had cancelled has nothing any more"
    assert bill(gone, JULY) == []


def test_overrides_that_last_hold_after_the_reopening():
    tenant = sold.subscriber(sold.version(max_devices=10))
    concessions.override(tenant, max_devices=15, max_members=3, until=into(25), now=into(1), **TOLD)
    lifecycle.close(tenant, now=into(5), **TOLD)
    lifecycle.reopen(tenant, now=into(8), **TOLD)
    quota = Quota.objects.get(tenant=tenant)
    assert (quota.limit, quota.max_members) == (15, 3)


def test_a_clock_that_stepped_back_before_a_close_bills_no_more_than_was_there():
    tenant = sold.subscriber(sold.version("30.00"), now=into(5))
    lifecycle.close(tenant, now=into(4), **TOLD)
    assert bill(tenant) == []
    lifecycle.reopen(tenant, now=into(10), **TOLD)
    assert bill(tenant) == [("base", 2000)]


def test_a_closed_tenant_subscribes_to_nothing_and_its_currency_stays():
    tenant = sold.subscriber()
    lifecycle.close(tenant, now=into(5), **TOLD)
    with pytest.raises(WrongState, match="closed"):
        subscriptions.start(tenant, sold.version(), now=into(6), **TOLD)
    with pytest.raises(WrongState, match="currency"):
        accounts.put(tenant, currency="JPY", now=into(6), **TOLD)
    assert bill(tenant, JULY) == []


def test_fees_go_on_while_a_tenant_is_suspended_and_its_use_falls_with_its_devices(fleet_cluster):
    tenant = sold.subscriber(sold.version("30.00"))
    lives(tenant, fleet_cluster)
    month_of_use(tenant, fleet_cluster, 40, "400", days=10)
    lifecycle.suspend(tenant, now=into(10), **TOLD)
    lifecycle.resume(tenant, now=into(25), **TOLD)
    close(JUNE, now=after(), **TOLD)
    made = Invoice.objects.of(tenant).get()
    assert [(line.component, line.amount) for line in made.lines.order_by("position")] == [("base", 3000), ("devices", 3000)]


def test_a_tenant_and_devices_deleted_within_the_month_are_billed_for_what_they_used(fleet_cluster):
    tenant = sold.subscriber(sold.version("30.00"))
    lives(tenant, fleet_cluster)
    device = Device.objects.create(
        tenant=tenant, cluster=fleet_cluster.row, node_id=1, machine_key="m", node_key="n", name="d", joined_at=into(0), seen_at=into(9)
    )
    used(tenant, fleet_cluster, into(3), 40, "100")
    Device.objects.of(tenant).filter(pk=device.pk).update(gone_at=into(9))
    lifecycle.close(tenant, now=into(15), retention=timedelta(days=1), **TOLD)
    assert usage.used(again(tenant), JUNE.start, JUNE.end).active_devices == 40
    close(JUNE, now=after(), **TOLD)
    amounts = [(line.component, line.amount) for line in Invoice.objects.of(tenant).get().lines.order_by("position")]
    assert amounts == [("base", 3000), ("base", -1500), ("devices", 1500)]


# ---- dunning ------------------------------------------------------------------------------------------------------------------


def unpaid() -> Invoice:
    tenant = sold.subscriber(sold.version("30.00", max_devices=7))
    made = invoicing.draft(Subscription.objects.of(tenant).get(), JUNE, now=after())
    return invoicing.finalise(made, now=after(), **TOLD)


def dun(made: Invoice, *days: float) -> None:
    for number in days:
        dunning.review(again(made.tenant), now=made.due_at + timedelta(days=number))


def pay(made: Invoice, days: float) -> None:
    now = made.due_at + timedelta(days=days)
    ledger.enter(Invoice.objects.of(made.tenant).get(pk=made.pk), Received("bank", f"X{days}", made.payable, "EUR", now), now=now, **TOLD)


def test_who_is_closed_for_not_paying_is_billed_to_that_day_and_back_with_the_payment():
    made = unpaid()  # due on 15 July
    dun(made, 1, 15, 31, 62)
    tenant = made.tenant
    assert again(tenant).state == "closed"
    assert ended(tenant)
    closed_at = again(tenant).closed_at
    september = month_of(closed_at)
    paid_before = sum(amount for _name, amount in bill(tenant, september))
    assert 0 < paid_before < 3000
    pay(made, 72)
    assert standing(tenant)[::2] == ("active", 7)
    lines = bill(tenant, september)
    assert len(lines) == 3
    assert sum(amount for _name, amount in lines) == 2000, "ten days of thirty were closed"
    assert entitlement_of(tenant, at=closed_at + timedelta(days=5)) is None


def test_an_operators_suspension_outlasts_a_close_by_dunning_and_its_payment():
    made = unpaid()
    lifecycle.suspend(again(made.tenant), now=made.due_at + timedelta(days=2), reason="abuse", **TOLD)
    dun(made, 1, 15, 31, 62)
    assert again(made.tenant).state == "closed"
    pay(made, 63)
    assert again(made.tenant).state == "suspended"


def test_dunnings_own_suspension_does_not_outlast_its_close():
    made = unpaid()
    dun(made, 1, 15, 31, 62)
    pay(made, 63)
    assert again(made.tenant).state == "active"


# ---- whatever happens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_in_whatever_order_a_closed_tenant_is_entitled_to_nothing_and_no_month_is_charged_more_than_its_days(seed):
    chance, now = random.Random(seed), sold.BEGIN
    versions = [sold.version("30"), sold.version("60", trial_days=9), sold.version("90", max_devices=50)]
    acme, open_days = sold.subscriber(versions[0]), 0.0
    for _ in range(40):
        step = timedelta(seconds=chance.choice([60, 7200, 3 * 86400]))
        if again(acme).state != "closed":
            open_days += step / timedelta(days=1)
        now += step
        for pk in settling.due(now=now):
            settling.settle(pk, now=now)
        act = {"now": now, **TOLD}
        choices = [
            lambda act=act: lifecycle.close(acme, retention=timedelta(days=900), **act),
            lambda act=act: lifecycle.reopen(acme, **act),
            lambda act=act: lifecycle.reopen(acme, **act),
            lambda act=act: subscriptions.change_plan(acme, chance.choice(versions), **act),
            lambda act=act: subscriptions.cancel(acme, **act),
            lambda act=act: subscriptions.undo(acme, **act),
            lambda act=act: subscriptions.start(acme, versions[0], **act),
        ]
        with suppress(TenantError):
            chance.choice(choices)()
        if again(acme).state == "closed":
            assert phase_at(acme, now) is None
            assert not SubscriptionPhase.objects.filter(subscription__tenant=acme, during__endswith__gt=now).exists()
        else:
            assert not KeptPhase.objects.exists()
            entitled = entitlement_of(acme, at=now)
            assert Quota.objects.get(tenant=acme).limit == (entitled.quota if entitled else 0)
    total, month = 0, month_of(sold.BEGIN)
    while month.start < now:
        total += sum(amount for _name, amount in bill(acme, month))
        month = month_of(month.end)
    assert total <= (open_days + 31) * 9000 / 28 + 100


@pytest.mark.django_db(transaction=True)
def test_a_close_and_a_change_of_plan_at_once_wait_for_each_other():
    tenant, larger = sold.subscriber(), sold.version("90")
    held, outcome = threading.Event(), []

    def change() -> None:
        try:
            with transaction.atomic():
                Subscription.objects.of(tenant).select_for_update(of=("self",)).get()
                held.set()
                threading.Event().wait(0.5)
                subscriptions.change_plan(tenant, larger, now=into(2), **TOLD)
            outcome.append("changed")
        finally:
            connection.close()

    changing = threading.Thread(target=change)
    changing.start()
    assert held.wait(10)
    lifecycle.close(tenant, now=into(3), **TOLD)
    changing.join(10)
    assert outcome == ["changed"]
    assert ended(tenant)
    assert KeptPhase.objects.get().version_id == larger.pk


@pytest.mark.django_db(transaction=True)
def test_an_account_that_is_changed_while_its_tenant_is_dunned_waits():
    made = unpaid()
    held, outcome = threading.Event(), []

    def dunned() -> None:
        try:
            with transaction.atomic():
                invoicing.lock(made.subscription)
                held.set()
                threading.Event().wait(0.5)
                lifecycle.restrict(made.tenant, now=into(40), **TOLD)
            outcome.append("restricted")
        finally:
            connection.close()

    dunning_it = threading.Thread(target=dunned)
    dunning_it.start()
    assert held.wait(10)
    accounts.put(made.tenant, name="Acme & Sons", now=into(40), **TOLD)
    dunning_it.join(10)
    assert outcome == ["restricted"]


def test_who_has_ended_its_subscription_gets_no_keys_by_a_change_of_the_plans_limits():
    version = sold.version(max_devices=10)
    gone, by_hand = sold.subscriber(version), sold.subscriber(version)
    for tenant in (gone, by_hand):
        subscriptions.end(tenant, now=into(3), **TOLD)
    lifecycle.change_plan(by_hand, version.plan, now=into(4), **TOLD)
    plans.change(version.plan, max_devices=20, now=into(5), **TOLD)
    assert (standing(gone)[2], standing(by_hand)[2]) == (0, 20)


def test_a_fee_of_a_promised_price_ends_and_comes_back_too():
    tenant = sold.subscriber(sold.version("30.00"))
    concessions.override(tenant, component="base", unit_price=Decimal(15), until=None, now=into(0), **TOLD)
    lifecycle.close(tenant, now=into(10), **TOLD)
    lifecycle.reopen(tenant, now=into(20), **TOLD)
    assert bill(tenant) == [("base", 1500), ("base", -1000), ("base", 500)]
