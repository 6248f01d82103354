"""The four worked cases of the specification as invoices, from what was used to what is to be paid, and previews that say the same before."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing import catalogue, concessions, invoicing, subscriptions
from billing.closing import close
from billing.models import ClosedPeriod, CreditEntry, Invoice, Subscription
from tests import factories
from tests.billing import sold
from tests.billing.invoices.used import after, into, lives, month_of_use, used
from tests.billing.rating.bills import JUNE

pytestmark = pytest.mark.django_db
TOLD = {"actor": "system:tests"}
DONE = {"now": after(), **TOLD}


def subscriber(version, *, now=sold.BEGIN, country="DE", currency="EUR", **account):
    made = sold.tenant(currency, country, **account)
    subscriptions.start(made, version, now=now, **TOLD)
    return made


def priced(*components, currency="EUR", **fields):
    made = catalogue.draft(factories.plan(max_devices=100_000), valid_from=sold.BEGIN, **fields, **sold.TOLD)
    for key, kind, price, more in components:
        charged = "advance" if kind in ("flat", "dedicated_cluster") else "arrears"
        catalogue.price(made, currency=currency, key=key, kind=kind, charged=charged, unit_price=Decimal(price), **more, **sold.TOLD)
    return catalogue.publish(made, **sold.TOLD)


def billed(tenant) -> Invoice:
    """The tenant's invoice of June: previewed, closed, and the same to the cent."""
    before = invoicing.preview(tenant, JUNE, after())
    report = close(JUNE, **DONE)
    assert report.refused == ()
    made = Invoice.objects.of(tenant).get()
    for name in ("net", "tax", "gross", "spent", "payable", "carried", "taxes", "terms", "buyer", "treatment"):
        assert getattr(made, name) == getattr(before.invoice, name), name
    stored = made.lines.order_by("position")
    assert [(line.component, line.amount, line.quantity) for line in stored] == [
        (line.component, line.amount, line.quantity) for line in before.lines
    ]
    return made


def amounts(made: Invoice) -> list[int]:
    return [line.amount for line in made.lines.order_by("position")]


def test_case_1_a_month_of_pro_with_vat(fleet_cluster):
    tenant = subscriber(sold.version())
    lives(tenant, fleet_cluster)
    month_of_use(tenant, fleet_cluster, 137, "71234.25", days=30)
    made = billed(tenant)
    assert amounts(made) == [2900, 12000, 3700, 10247]
    assert (made.net, made.tax, made.gross, made.payable) == (28847, 5481, 34328, 34328)
    assert made.taxes == [{"percent": "19.00", "inclusive": False, "net": 28847, "amount": 5481}]
    assert (made.state, made.name) == ("finalised", "INV-2026-000001")


def test_case_2_an_upgrade_within_the_month_under_reverse_charge(fleet_cluster, fleet_clusters):
    enterprise = priced(
        ("base", "flat", "500.00", {}),
        ("clusters", "dedicated_cluster", "400.00", {}),
        ("devices", "active_device", "1.00", {"included": 500}),
    )
    tenant = subscriber(sold.version(), tax_id="DE136695976", tax_treatment="reverse_charge")
    switch, own = sold.at(11, 6), fleet_clusters(kind="dedicated")
    lives(tenant, fleet_cluster, until=switch)
    lives(tenant, own, since=switch)
    month_of_use(tenant, fleet_cluster, 60, "9000", days=10)
    subscriptions.change_plan(tenant, enterprise, now=switch, **TOLD)
    made = billed(tenant)
    now = made.lines.filter(due=switch).order_by("position")
    assert [line.amount for line in now] == [-1909, 32917, 26333]
    assert sum(line.amount for line in now) == 57341
    arrears = made.lines.filter(charged="arrears").order_by("position")
    assert [line.amount for line in arrears] == [2050, 433]
    assert (made.net, made.tax, made.payable) == (2900 + 57341 + 2483, 0, 2900 + 57341 + 2483)
    assert made.treatment["kind"] == "reverse_charge"


def test_case_3_hours_of_a_move_are_split_over_both_clusters(fleet_clusters):
    first, second = fleet_clusters(), fleet_clusters()
    tenant = subscriber(priced(("hours", "device_hours", "0.002", {})))
    lives(tenant, first, until=into(4, 10))
    lives(tenant, second, since=into(4, 10))
    used(tenant, first, into(4), 1000, Decimal(1_780_000) / 3600)
    used(tenant, second, into(4), 1000, Decimal(1_730_000) / 3600)
    (line,) = billed(tenant).lines.all()
    assert (line.quantity, line.amount) == (975, 195)
    assert [(part["cluster_id"], part["seconds"], part["amount"]) for part in line.clusters] == [
        (first.cluster_id, 1_780_000, 99),
        (second.cluster_id, 1_730_000, 96),
    ]


def test_case_4_a_trial_in_a_currency_without_decimals(fleet_cluster):
    yen = priced(("base", "flat", "3200", {}), ("hours", "device_hours", "0.3", {}), currency="JPY", trial_days=14)
    tenant = subscriber(yen, now=JUNE.start, country="JP", currency="JPY")
    lives(tenant, fleet_cluster)
    month_of_use(tenant, fleet_cluster, 9, "500", days=14)
    month_of_use(tenant, fleet_cluster, 9, "333.5", start=into(14), days=10)
    made = billed(tenant)
    assert amounts(made) == [1707, 100]
    assert (made.net, made.tax, made.payable) == (1807, 181, 1988)


def test_a_free_plan_issues_no_invoice(fleet_cluster):
    tenant = subscriber(priced(("base", "flat", "0", {}), ("devices", "active_device", "0", {})))
    lives(tenant, fleet_cluster)
    month_of_use(tenant, fleet_cluster, 20, "1000")
    assert invoicing.preview(tenant, JUNE, after()) is None
    report = close(JUNE, **DONE)
    assert (report.invoiced, report.nothing, report.refused) == (0, 1, ())
    assert not Invoice.objects.of(tenant).exists()
    assert ClosedPeriod.objects.get().outcome == "nothing"


def test_credit_pays_last_what_tax_and_coupons_have_left():
    tenant = subscriber(sold.version())
    concessions.make_coupon("HALF", percent=Decimal(50), **sold.TOLD)
    concessions.redeem(tenant, "HALF", **sold.TOLD)
    concessions.credit(tenant, 1000, reason="outage", **sold.TOLD)
    made = billed(tenant)
    assert (made.net, made.tax, made.gross, made.spent, made.payable) == (1450, 276, 1726, 1000, 726)
    assert concessions.balance_of(tenant, "EUR") == 0
    assert CreditEntry.objects.of(tenant).get(reference=f"invoice:{made.pk}").amount == -1000


def test_what_the_balance_pays_whole_is_paid_at_once():
    tenant = subscriber(sold.version())
    concessions.credit(tenant, 10_000, reason="outage", **sold.TOLD)
    made = billed(tenant)
    assert (made.spent, made.payable, made.state) == (3451, 0, "paid")
    assert concessions.balance_of(tenant, "EUR") == 10_000 - 3451


def test_credits_beyond_the_charges_go_to_the_balance():
    yearly = sold.version("1200.00", interval="year")
    tenant = subscriber(yearly)
    subscriptions.end(tenant, now=sold.at(16), **TOLD)
    made = billed(tenant)
    assert made.gross < 0
    assert (made.payable, made.carried, made.state) == (0, -made.gross, "paid")
    assert concessions.balance_of(tenant, "EUR") == -made.gross
    assert Subscription.objects.of(tenant).exists()
