"""What operators may agree to by a slip, and what becomes of the month then: it is refused at the door, or that one tenant is not billed; never everybody."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from billing import accounts, catalogue, concessions, corrections, invoicing, subscriptions
from billing.books import checks
from billing.closing import close, dry_run
from billing.models import Invoice
from billing.rating.cycles import month_of
from tenants.errors import MalformedRequest, WrongState
from tests import factories
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.billing.invoices.used import after, lives, month_of_use
from tests.billing.rating.bills import JULY, JUNE

pytestmark = pytest.mark.django_db
TOLD = {"actor": "system:tests"}
DONE = {"now": after(), **TOLD}


def test_a_fee_has_no_included_quantity():
    tenant = sold.subscriber()
    with pytest.raises(MalformedRequest, match="only usage"):
        concessions.override(tenant, component="base", included=5, until=None, **sold.told(sold.at(2)))
    concessions.override(tenant, component="hours", included=5, until=None, **sold.told(sold.at(2)))
    assert close(JUNE, **DONE).refused == ()


def test_what_was_included_of_usage_leaves_a_fee_of_the_same_name_alone():
    """Versions need not agree in what a key is."""
    tenant = sold.subscriber()
    concessions.override(tenant, component="hours", included=5, until=None, **sold.told(sold.at(2)))
    other = catalogue.draft(factories.plan(max_devices=1000), valid_from=sold.BEGIN, **sold.TOLD)
    catalogue.price(other, currency="EUR", key="hours", kind="flat", charged="advance", unit_price=Decimal(60), **sold.TOLD)
    subscriptions.change_plan(tenant, catalogue.publish(other, **sold.TOLD), **sold.told(sold.at(16)))
    close(JUNE, **DONE)
    assert [(line.component, line.amount) for line in Invoice.objects.of(tenant).get().lines.order_by("position")] == [
        ("base", 2900), ("base", -1450), ("hours", 3000),
    ]  # fmt: skip


def test_a_price_that_no_column_holds_keeps_nobody_else_from_being_billed(fleet_cluster):
    slipped, other = sold.subscriber(), sold.subscriber()
    lives(slipped, fleet_cluster)
    month_of_use(slipped, fleet_cluster, 300, "190000")
    concessions.override(slipped, component="hours", unit_price=Decimal(999_999_999_999), included=0, until=None, **sold.told(sold.at(1)))
    assert [each.code for each in dry_run(JUNE, now=after()).refused] == ["NotRateable"]
    report = close(JUNE, **DONE)
    assert [(each.account, each.code) for each in report.refused] == [(slipped.account, "NotRateable")]
    assert Invoice.objects.of(other).count() == 1


@pytest.mark.parametrize("price", ["NaN", "Infinity", "0.0000000012", "1E+20"])
def test_a_tier_has_a_price_like_any_other(price):
    version = catalogue.draft(factories.plan(), valid_from=sold.BEGIN, **sold.TOLD)
    facts = {"currency": "EUR", "key": "devices", "kind": "active_device", "charged": "arrears", **sold.TOLD}
    with pytest.raises(MalformedRequest, match="tiers"):
        catalogue.price(version, tiers=[(10, Decimal(1)), (None, Decimal(price))], **facts)
    with pytest.raises(MalformedRequest, match="tiers"):
        catalogue.price(version, tiers=[(10**30, Decimal(1)), (None, Decimal(1))], **facts)


def test_another_currency_begins_with_another_month():
    """No invoice is in two: the month would never be billed."""
    version = sold.version(currencies=("EUR", "JPY"))
    tenant = sold.subscriber(version)
    subscriptions.end(tenant, **sold.told(sold.at(10)))
    accounts.put(tenant, currency="JPY", **sold.told(sold.at(10, 1)))
    with pytest.raises(WrongState, match="another currency"):
        subscriptions.start(tenant, version, **sold.told(sold.at(11)))
    subscriptions.start(tenant, version, **sold.told(JULY.start))
    assert close(JUNE, **DONE).totals == {"EUR": 1035}  # 29.00 less 20 days of 30 of it, and tax
    assert close(JULY, now=after(JULY), **TOLD).totals == {"JPY": 35}


def test_a_credit_note_is_of_the_entity_that_issued_the_invoice(settings):
    tenant = sold.subscriber()
    settings.SELLER = {**SELLER, "entity": "DE"}
    close(JUNE, **DONE)
    made = Invoice.objects.of(tenant).get()
    settings.SELLER = {**SELLER, "name": "Fleet Inc.", "country": "US", "entity": "US"}
    note = corrections.credit_whole(made, reason="the wrong company", now=after() + timedelta(days=1), **TOLD).credit_note
    assert (note.name, note.seller) == ("DE-CN-2026-000001", made.seller)
    close(JULY, now=after(JULY), **TOLD)
    assert Invoice.objects.of(tenant).get(kind="invoice", period_start=JULY.start).name == "US-INV-2026-000001"
    assert checks.check(now=after(JULY)) == []


@pytest.mark.parametrize("first", ["standard", "reverse_charge"])
def test_what_is_given_back_of_a_year_is_taxed_as_it_was_charged(first):
    """However the customer is taxed by now: nobody gets tax back that was not charged, or loses what was."""
    then = {"standard": "reverse_charge", "reverse_charge": "standard"}[first]
    tenant = sold.subscriber(sold.version("365.00", interval="year"))
    accounts.put(tenant, tax_id="DE136695976", tax_treatment=first, **sold.TOLD)
    concessions.make_coupon("TENTH", percent=Decimal(10), **sold.TOLD)
    concessions.redeem(tenant, "TENTH", **sold.TOLD)
    close(month_of(sold.BEGIN), **DONE)
    accounts.put(tenant, tax_treatment=then, **sold.told(sold.at(5)))
    subscriptions.end(tenant, **sold.told(sold.at(10)))
    before = invoicing.preview(tenant, JUNE, after()).invoice
    close(JUNE, **DONE)
    made = Invoice.objects.of(tenant).get(period_start=JUNE.start)
    tax = -5558 if first == "standard" else 0  # 19 % of the 292.50 that are given back
    assert (made.net, made.tax, made.gross) == (-29250, tax, -29250 + tax) == (before.net, before.tax, before.gross)
    assert set(made.lines.values_list("percent", flat=True)) == {Decimal(19) if first == "standard" else Decimal(0)}
    assert corrections.correct(made, reason="nothing has changed", now=after() + timedelta(days=1), **TOLD).difference == 0
    assert checks.check(now=after()) == []


def test_a_dry_run_of_a_closed_month_counts_no_invoice_that_was_void():
    """The close leaves it alone, too: whoever wants it billed after all drafts it anew."""
    tenant = sold.subscriber()
    close(JUNE, **DONE)
    invoicing.void(Invoice.objects.of(tenant).get(), **DONE)
    assert (dry_run(JUNE, now=after()).totals, close(JUNE, now=after() + timedelta(hours=1), **TOLD).totals) == ({}, {})
    assert dry_run(month_of(sold.BEGIN), now=after()).totals == {"EUR": 3451}
