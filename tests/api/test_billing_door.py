"""Prices and subscriptions by the operators' API."""

from __future__ import annotations

import pytest

from billing import catalogue
from tenants.models import Quota
from tests import factories
from tests.api.callers import operator, program_of, said
from tests.billing import sold

pytestmark = pytest.mark.django_db
ACCOUNT = {"name": "Acme", "email": "books@acme.example", "country": "DE", "currency": "EUR"}


@pytest.fixture
def chief():
    return operator("billing")


def test_a_version_is_drafted_priced_and_published(chief):
    plan = factories.plan(name="team")
    draft = chief.post("billing/versions", {"plan": plan.pk, "valid_from": "2026-01-01T00:00:00Z", "trial_days": 14})
    assert (draft.status_code, draft.json()["number"], draft.json()["published_at"]) == (201, 1, None)
    here = f"billing/versions/{draft.json()['id']}"
    base = {"currency": "EUR", "key": "base", "kind": "flat", "charged": "advance", "unit_price": "29.00"}
    assert said(chief.post(f"{here}/publish")) == (409, "wrong-state")
    assert chief.post(f"{here}/prices", base).status_code == 200
    tiers = [{"up_to": 100, "unit_price": "1.50"}, {"up_to": None, "unit_price": "1.00"}]
    devices = {"currency": "EUR", "key": "devices", "kind": "active_device", "charged": "arrears", "included": 20, "tiers": tiers}
    shown = chief.post(f"{here}/prices", devices).json()["components"]
    assert [(each["key"], each["unit_price"], len(each["tiers"])) for each in shown] == [
        ("base", "29.00000000", 0),
        ("devices", "0.00000000", 2),
    ]
    assert said(chief.post(f"{here}/prices", {**devices, "charged": "advance"})) == (400, "malformed-request")
    assert chief.post(f"{here}/prices", {**base, "key": "extra"}).status_code == 200
    assert chief.delete(f"{here}/prices/EUR/extra").status_code == 204
    assert chief.post(f"{here}/publish").json()["published_at"]
    assert said(chief.delete(here)) == (409, "wrong-state")
    assert len(chief.get("billing/versions").json()["results"]) == 1
    another = chief.post("billing/versions", {"plan": plan.pk, "valid_from": "2026-01-01T00:00:00Z"}).json()["id"]
    assert chief.delete(f"billing/versions/{another}").status_code == 204


def test_a_subscription_from_its_account_to_its_end(chief):
    acme, small, large = factories.tenant("acme"), sold.version("9"), sold.version("99", max_devices=90)
    assert said(chief.get("tenants/acme/subscription")) == (404, "not-found")
    assert said(chief.get("tenants/acme/billing-account")) == (404, "not-found")
    assert said(chief.post("tenants/acme/subscription", {"version": small.pk})) == (409, "no-billing-account")
    assert said(chief.patch("tenants/acme/billing-account", ACCOUNT)) == (422, "no-tax-rate")
    assert chief.post("billing/tax-rates", {"country": "DE", "valid_from": "2007-01-01", "percent": "19.00"}).status_code == 200
    assert said(chief.patch("tenants/acme/billing-account", {**ACCOUNT, "tax_id": "DE1"})) == (400, "malformed-request")
    assert chief.patch("tenants/acme/billing-account", {**ACCOUNT, "tax_id": "136695976"}).json()["tax_id"] == "DE136695976"
    assert said(chief.patch("tenants/acme/subscription", {"version": small.pk})) == (409, "no-subscription")
    started = chief.post("tenants/acme/subscription", {"version": small.pk})
    assert (started.status_code, started.json()["phases"][0]["plan"]) == (201, small.plan_id)
    assert len(chief.patch("tenants/acme/subscription", {"version": large.pk}).json()["phases"]) == 2
    assert Quota.objects.get(tenant=acme).limit == 90
    assert chief.delete("tenants/acme/subscription").json()["settle_at"]
    assert chief.post("tenants/acme/subscription/undo").json()["settle_at"] is None
    made = chief.post("tenants/acme/subscription/overrides", {"max_devices": 150, "reason": "a fair"})
    assert (made.status_code, Quota.objects.get(tenant=acme).limit) == (201, 150)
    assert chief.delete(f"tenants/acme/subscription/overrides/{made.json()['id']}").status_code == 204
    assert chief.post("billing/coupons", {"code": "SPRING", "percent": "20.00", "months": 3}).status_code == 201
    assert chief.post("tenants/acme/subscription/coupons", {"code": "SPRING"}).status_code == 201
    assert said(chief.post("tenants/acme/subscription/coupons", {"code": "SPRING"})) == (422, "coupon-refused")
    assert chief.post("tenants/acme/credits", {"amount": 2500, "reason": "an outage"}).json()["currency"] == "EUR"
    assert [entry["amount"] for entry in chief.get("tenants/acme/credits").json()["results"]] == [2500]
    assert chief.post("tenants/acme/subscription/end").status_code == 200
    assert Quota.objects.get(tenant=acme).limit == 0


def test_a_plan_without_a_price_in_the_tenants_currency_is_refused_by_name(chief):
    yen, sale = sold.tenant("JPY", "JP"), sold.version()
    answer = chief.post(f"tenants/{yen.account}/subscription", {"version": sale.pk})
    assert said(answer) == (422, "no-price-in-currency")
    assert "JPY" in answer.json()["detail"]
    acme = sold.subscriber(sold.version(currencies=("EUR", "USD")))
    dollars = catalogue.draft(sale.plan, valid_from=sold.BEGIN, **sold.TOLD)
    catalogue.price(dollars, currency="USD", key="base", kind="flat", charged="advance", **sold.TOLD)
    catalogue.publish(dollars, **sold.TOLD)
    assert said(chief.patch(f"tenants/{acme.account}/subscription", {"version": dollars.pk})) == (422, "no-price-in-currency")


def test_a_subscribers_plan_is_not_changed_behind_its_subscription():
    acme, other = sold.subscriber(), factories.plan()
    assert said(operator("tenants").patch(f"tenants/{acme.account}", {"plan": other.pk})) == (409, "wrong-state")


def test_it_is_for_operators_with_the_scope():
    acme = sold.subscriber()
    assert said(program_of(acme).get(f"tenants/{acme.account}/subscription")) == (404, "not-found")
    assert said(operator("tenants").get(f"tenants/{acme.account}/subscription")) == (403, "missing-scope")
    reader = operator("billing:read")
    assert reader.get(f"tenants/{acme.account}/subscription").status_code == 200
    assert said(reader.delete(f"tenants/{acme.account}/subscription")) == (403, "missing-scope")
