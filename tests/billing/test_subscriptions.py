"""Subscriptions through their verbs: what is agreed, what plan and quota become of it, and what rating makes of that."""

from __future__ import annotations

import threading
from decimal import Decimal

import psycopg
import pytest
from django.db import connection, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.utils import IntegrityError

from billing import accounts, concessions, settling, subscriptions
from billing.errors import CouponRefused, NoBillingAccount, NoPriceInCurrency, NoSubscription
from billing.models import CreditEntry, PlanVersion, Subscription, SubscriptionPhase
from billing.phases import UNLIMITED, entitlement_of, phases_of
from billing.rating.cycles import month_of
from billing.rating.rate import ranges, rate
from billing.rating.used import Used
from tenants import lifecycle, plans
from tenants.errors import MalformedRequest, WrongState
from tenants.models import AuditEvent, Quota, Tenant
from tests import factories
from tests.billing.sold import BEGIN, at, subscriber, tenant, told, version

pytestmark = pytest.mark.django_db
JUNE, JULY = month_of(at(1)), month_of(at(1, month=7))


def bill(of: Tenant, period=JUNE) -> list[tuple[str, int]]:
    phases = phases_of(of, period)
    lines = rate(phases, {part: Used() for part in ranges(phases, period)}, period, "EUR")
    return [(line.component, line.amount) for line in lines]


def standing(of: Tenant) -> tuple[str, int]:
    """Plan and limit, as admission and placement read them."""
    return Tenant.objects.get(pk=of.pk).plan_id, Quota.objects.get(tenant=of).limit


def test_who_subscribes_is_on_the_plan_at_once_with_its_quota():
    sold = version(max_devices=77)
    acme = subscriber(sold)
    assert standing(acme) == (sold.plan_id, 77)
    assert bill(acme) == [("base", 2900)]
    assert set(AuditEvent.objects.of(acme).values_list("verb", flat=True)) >= {"subscription.start", "tenant.change_plan"}


def test_a_tenant_subscribes_once_and_needs_an_account_and_a_price_in_its_currency():
    sold = version(currencies=("EUR", "JPY"))
    with pytest.raises(NoBillingAccount):
        subscriptions.start(factories.tenant(), sold, **told(BEGIN))
    with pytest.raises(NoPriceInCurrency, match="USD"):
        subscriptions.start(tenant("USD"), sold, **told(BEGIN))
    with pytest.raises(WrongState):
        subscriptions.start(tenant(), version(publish=False), **told(BEGIN))
    acme = subscriber(sold)
    with pytest.raises(WrongState):
        subscriptions.start(acme, sold, **told(at(3)))
    yen = tenant("JPY", "JP")
    subscriptions.start(yen, sold, **told(BEGIN))
    assert phases_of(yen, JUNE)[0].terms.currency == "JPY"


def test_an_upgrade_is_at_once_and_prorated_to_the_second():
    acme, larger = subscriber(), version("500", max_devices=900)
    change = subscriptions.change_plan(acme, larger, **told(at(11, 6)))
    assert change.at == at(11, 6)
    assert standing(acme) == (larger.plan_id, 900)
    assert bill(acme) == [("base", 2900), ("base", -1909), ("base", 32917)]


def test_a_downgrade_waits_for_the_end_of_the_month_and_comes_by_itself():
    large, small = version("500", max_devices=900), version("29", max_devices=40)
    acme = subscriber(large)
    assert subscriptions.change_plan(acme, small, **told(at(11))).at == JUNE.end
    assert standing(acme) == (large.plan_id, 900)
    assert bill(acme) == [("base", 50000)]
    (pk,) = settling.due(now=JUNE.end)
    assert settling.due(now=at(30)) == []
    assert settling.settle(pk, now=JUNE.end)
    assert not settling.settle(pk, now=JUNE.end), "delivered twice"
    assert standing(acme) == (small.plan_id, 40)
    assert bill(acme, JULY) == [("base", 2900)]
    assert Subscription.objects.of(acme).get().settle_at is None


def test_a_scheduled_change_is_undone_or_replaced():
    acme = subscriber(version("500"))
    small, smaller = version("29"), version("9")
    subscriptions.change_plan(acme, small, **told(at(11)))
    subscriptions.change_plan(acme, smaller, **told(at(12)))
    assert bill(acme, JULY) == [("base", 900)]
    subscriptions.undo(acme, **told(at(13)))
    assert bill(acme, JULY) == [("base", 50000)]
    with pytest.raises(WrongState):
        subscriptions.undo(acme, **told(at(13)))
    subscriptions.cancel(acme, **told(at(14)))
    with pytest.raises(WrongState):
        subscriptions.cancel(acme, **told(at(15)))
    subscriptions.undo(acme, **told(at(15)))
    assert bill(acme, JULY) == [("base", 50000)]


def test_the_operator_may_decide_otherwise_when():
    acme = subscriber(version("500"))
    assert subscriptions.change_plan(acme, version("29"), when="now", **told(at(11))).at == at(11)
    assert subscriptions.change_plan(acme, version("900"), when="period_end", **told(at(12))).at == JUNE.end


def test_who_cancels_keeps_devices_and_gets_no_new_keys_when_the_month_ends():
    acme = subscriber(version(max_devices=9))
    assert subscriptions.cancel(acme, **told(at(11))).at == JUNE.end
    assert standing(acme)[1] == 9
    assert bill(acme) == [("base", 2900)]
    settling.settle(settling.due(now=JUNE.end)[0], now=JUNE.end)
    assert standing(acme)[1] == 0
    assert bill(acme, JULY) == []
    with pytest.raises(NoSubscription):
        subscriptions.change_plan(acme, version(), **told(at(2, month=7)))
    subscriptions.start(acme, version("5"), **told(at(16, month=7)))
    assert bill(acme, JULY) == [("base", 258)]


def test_an_end_at_once_gives_back_what_was_paid():
    acme = subscriber(version("30"))
    subscriptions.end(acme, reason="closed", **told(at(16)))
    assert bill(acme) == [("base", 3000), ("base", -1500)]


def test_a_trial_costs_nothing_and_is_had_once():
    sold = version("32.00", trial_days=14)
    acme = subscriber(sold, now=at(1))
    assert [(phase.start, phase.end, phase.trial) for phase in phases_of(acme, JUNE)] == [(at(1), at(15), True), (at(15), None, False)]
    assert bill(acme) == [("base", 1707)]
    assert subscriptions.change_plan(acme, version("64"), **told(at(3))).at == at(3)
    assert bill(acme) == [("base", 3413)], "the trial goes on with the other plan"
    assert subscriptions.cancel(acme, **told(at(4))).at == at(15)
    assert bill(acme) == []
    subscriptions.start(acme, sold, **told(at(16)))
    assert bill(acme) == [("base", 1600)]


def test_a_year_is_left_when_it_ends():
    plan = factories.plan(name="yearly")
    monthly, yearly = version("10", of=plan), version("100", of=plan, interval="year")
    acme = subscriber(yearly, now=at(11))
    assert subscriptions.change_plan(acme, monthly, **told(at(12))).at == at(1).replace(year=2027)
    assert bill(acme)[0][1] == 9726
    assert bill(acme, JULY) == []


def test_overrides_expire_and_a_price_that_changes_within_the_month_is_rated_in_two_parts():
    acme = subscriber(version("30"))
    concessions.override(acme, component="base", unit_price=Decimal(15), until=at(21), **told(at(11)))
    assert bill(acme) == [("base", 3000), ("base", -2000), ("base", 1000), ("base", -500), ("base", 1000)]
    assert bill(acme, JULY) == [("base", 3000)]
    concessions.override(acme, component="devices", included=50, until=None, **told(at(1, month=7)))
    phases = phases_of(acme, JULY)
    assert phases[-1].components[1].included == 50


def test_a_promised_quota_holds_until_it_expires_or_is_ended():
    acme = subscriber(version(max_devices=10))
    promise = concessions.override(acme, max_devices=15, until=at(9), reason="a fair", **told(at(2)))
    assert standing(acme)[1] == 15
    settling.settle(settling.due(now=at(9))[0], now=at(9))
    assert standing(acme)[1] == 10
    with pytest.raises(WrongState):
        concessions.end_override(promise, **told(at(9)))
    later = concessions.override(acme, max_devices=99, until=None, **told(at(10)))
    concessions.end_override(later, **told(at(11)))
    assert standing(acme)[1] == 10


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"component": "base"},
        {"component": "base", "max_devices": 3},
        {"unit_price": Decimal(3)},
        {"component": "nothing", "unit_price": Decimal(3)},
        {"component": "base", "unit_price": Decimal(-3)},
        {"max_devices": 3, "until": at(1)},
    ],
)
def test_an_override_that_makes_no_sense_is_refused(nonsense):
    acme = subscriber()
    with pytest.raises(MalformedRequest):
        concessions.override(acme, **{"until": None, **nonsense}, **told(at(2)))


def test_a_soft_limit_refuses_nobody():
    acme = subscriber(version(max_devices=10, enforcement="soft"))
    assert standing(acme)[1] == UNLIMITED
    entitled = entitlement_of(acme, at=at(1))
    assert (entitled.max_devices, entitled.enforcement, entitled.warn_at) == (10, "soft", 80)
    assert entitlement_of(tenant(), at=at(1)) is None


def test_a_coupon_counts_from_the_first_of_its_month_over_whole_months():
    acme = subscriber(version("30"))
    concessions.make_coupon("spring", percent=Decimal(50), months=1, max_redemptions=1, **told(BEGIN))
    concessions.redeem(acme, "spring", **told(at(20)))
    assert bill(acme) == [("base", 3000), ("spring", -1500)]
    assert bill(acme, JULY) == [("base", 3000)]
    for other in (acme, subscriber()):
        with pytest.raises(CouponRefused):
            concessions.redeem(other, "spring", **told(at(20)))


def test_coupons_of_another_currency_or_too_late_are_refused():
    acme = subscriber()
    concessions.make_coupon("dollars", amount=500, currency="USD", **told(BEGIN))
    concessions.make_coupon("early", percent=Decimal(5), redeem_by=at(2), **told(BEGIN))
    for code in ("dollars", "early", "unknown"):
        with pytest.raises(CouponRefused):
            concessions.redeem(acme, code, **told(at(2)))
    for nonsense in ({}, {"percent": Decimal(5), "amount": 5}, {"amount": 5}, {"amount": 5, "currency": "XX"}, {"percent": Decimal(101)}):
        with pytest.raises(MalformedRequest):
            concessions.make_coupon("nonsense", **nonsense, **told(BEGIN))


def test_the_ledger_of_credit_only_grows_and_is_never_below_nothing():
    acme = tenant()
    concessions.credit(acme, 500, reason="an outage", **told(at(2)))
    entry = concessions.credit(acme, -300, reason="invoice", reference="invoice 7", **told(at(3)))
    assert concessions.credit(acme, -300, reason="invoice", reference="invoice 7", **told(at(3))) == entry
    assert concessions.balance_of(acme, "EUR") == 200
    assert concessions.balance_of(acme, "USD") == 0
    with pytest.raises(WrongState):
        concessions.credit(acme, -201, reason="more", **told(at(4)))
    with pytest.raises(Exception, match=r"permission denied|Cannot update"), transaction.atomic():
        CreditEntry.objects.of(acme).update(amount=1)


def test_an_account_is_checked_before_it_is_kept():
    wrong = {
        "currency": {"currency": "EURO"},
        "country": {"country": "XX"},
        "tax_id": {"tax_id": "DE136695978"},
        "email": {"email": "nobody"},
        "language": {"language": "fr"},
        "name": {"name": "   "},
        "address": {"address": "Ring 1\n\u202e1 gniR"},
    }
    for field, change in wrong.items():
        with pytest.raises(MalformedRequest) as refused:
            tenant(**change)
        assert field in refused.value.errors
    for name in ("Acme\nBcc: eve@evil.example", "Acme\r", "\u202eecremmoC", "Ac\x00me", "A\x1b[31m", "A\udcff", "A\u2028B"):
        with pytest.raises(MalformedRequest, match="name"):
            tenant(name=f"{name} Ltd")
    kept = accounts.account_of(tenant(name=" شركة 😀 Ltd ", address="Ring 1\r\n10115 Berlin"))
    assert (kept.name, kept.address) == ("شركة 😀 Ltd", "Ring 1\n10115 Berlin")
    with pytest.raises(MalformedRequest, match="reverse charge"):
        tenant(tax_treatment="reverse_charge")
    business = tenant(tax_id="136695976", tax_treatment="reverse_charge")
    assert accounts.account_of(business).tax_id == "DE136695976"
    assert accounts.treatment_of(accounts.account_of(business)).percent(at(1).date()) == 0
    assert accounts.treatment_of(accounts.account_of(tenant())).percent(at(1).date()) == 19


def test_the_currency_stays_while_a_subscription_is_in_force():
    acme = subscriber()
    with pytest.raises(WrongState):
        accounts.put(acme, currency="JPY", **told(at(2)))
    subscriptions.end(acme, **told(at(3)))
    accounts.put(acme, currency="JPY", **told(at(4)))
    assert bill(acme) == [("base", 2900), ("base", -2707)], "what was agreed in euro stays in euro"


def test_a_closed_tenant_is_left_alone():
    acme = subscriber(version("500", max_devices=9))
    concessions.override(acme, max_devices=4, until=at(20), **told(at(11)))
    lifecycle.close(acme, **told(at(12)))
    before = standing(acme)
    assert settling.settle(settling.due(now=at(20))[0], now=at(20))
    assert standing(acme) == before
    with pytest.raises(WrongState, match="closed"):
        subscriptions.start(acme, version(), **told(at(21)))


def test_phases_that_overlap_are_refused_by_the_database():
    acme = subscriber()
    (phase,) = SubscriptionPhase.objects.filter(subscription__tenant=acme)
    with pytest.raises(IntegrityError, match="phases_of_a_subscription_do_not_overlap"), transaction.atomic():
        SubscriptionPhase.objects.create(
            subscription=phase.subscription, version=phase.version, currency="EUR", during=DateTimeTZRange(at(3), at(4)), anchor=at(3)
        )


@pytest.mark.django_db(transaction=True)
def test_of_two_transactions_that_race_for_the_same_time_one_commits(database_urls):
    acme = subscriber(now=BEGIN)
    subscriptions.end(acme, **told(at(2)))
    subscription, sold = Subscription.objects.of(acme).get(), PlanVersion.objects.get()
    connection.commit()
    put = (
        "insert into billing_subscriptionphase (subscription_id, version_id, currency, during, anchor)"
        f" values ({subscription.pk}, {sold.pk}, 'EUR', '[2026-07-{{day}},2026-08-01)', now())"
    )
    outcomes = []

    def second() -> None:
        with psycopg.connect(database_urls["web"]) as other:
            try:
                other.execute(put.format(day="09"))
                outcomes.append("committed")
            except psycopg.errors.ExclusionViolation:
                outcomes.append("refused")

    with psycopg.connect(database_urls["web"]) as first:
        first.execute(put.format(day="03"))
        racing = threading.Thread(target=second)
        racing.start()
        racing.join(0.3)
        assert racing.is_alive(), "it waits for the first one's outcome"
        first.commit()
        racing.join(10)
    assert outcomes == ["refused"]


def test_other_limits_of_a_plan_do_not_touch_what_subscribers_agreed_to():
    sold = version(max_devices=10)
    acme, other = subscriber(sold, now=BEGIN), lifecycle.create("freelance", plan=sold.plan, **told(BEGIN))
    plans.change(sold.plan, max_devices=3, **told(at(2)))
    assert (standing(acme)[1], standing(other)[1]) == (10, 3)
