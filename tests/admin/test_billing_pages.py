"""The operators' pages of prices and subscriptions: what their buttons do."""

from __future__ import annotations

import pytest
from django.urls import reverse

from billing.models import BillingAccount, Coupon, CreditEntry, Override, PlanVersion, Redemption, Subscription, SubscriptionPhase, TaxRate
from billing.phases import entitlement_of
from tests import factories
from tests.billing import sold

pytestmark = pytest.mark.django_db


def page(model, name, *arguments):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=arguments)


def done(answer):
    assert answer.status_code == 302, answer.context["form"].errors
    return answer


def test_a_version_is_drafted_priced_and_published(office):
    plan = factories.plan(name="team")
    wish = {"plan": plan.pk, "valid_from": "2026-01-01 00:00", "interval": "month", "trial_days": 0, "tax_behaviour": "exclusive"}
    done(office.post(page(PlanVersion, "add"), {**wish, "enforcement": "hard", "warn_at": 80}))
    draft = PlanVersion.objects.get()
    price = {"currency": "EUR", "key": "base", "kind": "flat", "charged": "advance", "unit_price": "29.00", "included": 0}
    done(office.post(page(PlanVersion, "act", draft.pk, "price"), price))
    devices = {
        "key": "devices",
        "kind": "active_device",
        "charged": "arrears",
        "unit_price": 0,
        "included": 20,
        "tiers": "100: 1.50\n: 1.00",
    }
    done(office.post(page(PlanVersion, "act", draft.pk, "price"), {**price, **devices}))
    answer = office.post(page(PlanVersion, "act", draft.pk, "price"), {**price, **devices, "tiers": "some: money"})
    assert answer.status_code == 200
    assert answer.context["form"].errors
    answer = office.post(page(PlanVersion, "act", draft.pk, "price"), {**price, **devices, "charged": "advance"})
    assert "arrears" in answer.content.decode()
    text = office.get(page(PlanVersion, "change", draft.pk)).content.decode()
    assert "20 included; up to 100: 1.50; more: 1.00 EUR" in text
    done(office.post(page(PlanVersion, "act", draft.pk, "unprice"), {"currency": "EUR", "key": "devices"}))
    done(office.post(page(PlanVersion, "act", draft.pk, "publish")))
    assert "/act/" not in office.get(page(PlanVersion, "change", draft.pk)).content.decode()
    done(office.post(page(PlanVersion, "add"), {**wish, "enforcement": "hard", "warn_at": 80}))
    done(office.post(page(PlanVersion, "act", PlanVersion.objects.get(number=2).pk, "discard")))
    done(office.post(page(TaxRate, "add"), {"country": "DE", "percent": 19, "valid_from": "2007-01-01"}))


def test_a_subscription_is_started_changed_and_given_what_was_promised(office):
    sold.rates()
    acme, small, large = factories.tenant(), sold.version("9"), sold.version("99")
    account = {"name": "Acme", "email": "a@acme.example", "country": "DE", "currency": "EUR", "tax_treatment": "standard", "language": "en"}
    wrong = office.post(page(BillingAccount, "add"), {**account, "tenant": acme.pk, "tax_id": "DE1"})
    assert "tax_id" in wrong.context["form"].errors
    done(office.post(page(BillingAccount, "add"), {**account, "tenant": acme.pk}))
    done(office.post(page(BillingAccount, "act", acme.pk, "change"), {**account, "name": "Acme Inc."}))
    done(office.post(page(Subscription, "add"), {"tenant": acme.pk, "version": small.pk}))
    row = Subscription.objects.of(acme).get()
    act = lambda verb, **said: done(office.post(page(Subscription, "act", row.pk, verb), said))  # noqa: E731
    act("change", version=large.pk)
    act("change", version=small.pk, when="period_end")
    assert SubscriptionPhase.objects.count() >= 2
    act("undo")
    act("override", max_devices=77)
    assert entitlement_of(acme, at=Override.objects.get().during.lower).max_devices == 77
    done(office.post(page(Override, "act", Override.objects.get().pk, "end")))
    done(office.post(page(Coupon, "add"), {"code": "TEN", "amount": "10.00", "currency": "EUR"}))
    assert Coupon.objects.get().amount == 1000
    act("redeem", code="TEN")
    assert Redemption.objects.get().coupon_id == "TEN"
    done(office.post(page(CreditEntry, "add"), {"tenant": acme.pk, "amount": "2.50", "reason": "an outage"}))
    assert CreditEntry.objects.of(acme).get().amount == 250
    refused = office.post(page(Subscription, "act", row.pk, "redeem"), {"code": "TEN"})
    assert "already" in refused.content.decode()
    act("cancel")
    act("end", reason="closed")
    assert "in force" not in office.get(page(Subscription, "change", row.pk)).content.decode()
