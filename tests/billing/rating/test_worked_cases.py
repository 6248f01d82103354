"""The four worked cases of the specification, to the cent, and the sentences beside them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from billing.rating.lines import ClusterShare, What
from billing.rating.tax import Kind as TaxKind
from billing.rating.tax import Treatment
from billing.rating.terms import Charged, Kind, PriceComponent
from billing.rating.totals import totals
from billing.rating.used import Used
from tests.billing.rating.bills import ENTERPRISE, JUNE, amounts, at, bill, hours, phase, terms, total

GERMANY = Treatment(TaxKind.STANDARD, ((date(2007, 1, 1), Decimal(19)),))
JAPAN = Treatment(TaxKind.STANDARD, ((date(2019, 10, 1), Decimal(10)),))
REVERSE = Treatment(TaxKind.REVERSE_CHARGE)


def test_case_1_a_month_of_pro_with_vat():
    lines = bill([phase(terms())], hours("71234.25", devices=137))
    assert amounts(lines) == [2900, 12000, 3700, 10247]
    foot = totals(lines, GERMANY)
    assert (foot.net, [tax.amount for tax in foot.taxes], foot.gross, foot.payable) == (28847, [5481], 34328, 34328)


def test_case_2_an_upgrade_within_the_month_under_reverse_charge():
    switch = at(11, 6)
    pro, enterprise = phase(terms(), end=switch), phase(terms(ENTERPRISE, plan="enterprise"), switch)
    lines = bill([pro, enterprise], hours("9000", devices=60), hours("2000", devices=60, dedicated=[("own", switch, None)]))
    now = [line for line in lines if line.due == switch]
    assert [(line.what, line.plan, line.amount) for line in now] == [
        (What.CREDIT, "pro", -1909),
        (What.CHARGE, "enterprise", 32917),
        (What.CHARGE, "enterprise", 26333),
    ]
    assert {line.time.seconds for line in now} == {1_706_400}
    assert now[2].cluster_id == "own"
    foot = totals(now, REVERSE)
    assert (foot.net, foot.payable, [tax.amount for tax in foot.taxes]) == (57341, 57341, [0])
    arrears = [line for line in lines if line.charged == Charged.ARREARS]
    assert [(line.kind, line.amount) for line in arrears] == [(Kind.ACTIVE_DEVICE, 2050), (Kind.DEVICE_HOURS, 433)]
    assert sum(amounts(arrears)) == 2483
    assert {line.due for line in arrears} == {JUNE.end}


def test_case_3_hours_on_two_clusters_are_split_by_largest_remainder():
    over = (PriceComponent("hours", Kind.DEVICE_HOURS, Charged.ARREARS, Decimal("0.002")),)
    used = Used(1000, 3_510_000, {"a": 1_780_000, "b": 1_730_000})
    (line,) = bill([phase(terms(over))], used)
    assert (line.quantity, line.amount) == (975, 195)
    assert line.clusters == (ClusterShare("a", 1_780_000, 99), ClusterShare("b", 1_730_000, 96))


def test_case_4_a_trial_in_a_currency_without_decimals():
    yen = terms(
        (
            PriceComponent("base", Kind.FLAT, Charged.ADVANCE, Decimal(3200)),
            PriceComponent("hours", Kind.DEVICE_HOURS, Charged.ARREARS, Decimal("0.3")),
        ),
        currency="JPY",
    )
    phases = [phase(yen, at(1), at(15), trial=True), phase(yen, at(15))]
    lines = bill(phases, hours("333.5", devices=9), currency="JPY")
    assert amounts(lines) == [1707, 100]
    foot = totals(lines, JAPAN)
    assert (foot.net, foot.taxes[0].amount, foot.payable) == (1807, 181, 1988)


def test_100_devices_cost_120_and_101_cost_121():
    base = total(bill([phase(terms())], Used()))
    assert total(bill([phase(terms())], Used(100))) - base == 12000
    assert total(bill([phase(terms())], Used(101))) - base == 12100


def test_a_free_plan_has_no_lines():
    free = terms(
        (
            PriceComponent("base", Kind.FLAT, Charged.ADVANCE),
            PriceComponent("devices", Kind.ACTIVE_DEVICE, Charged.ARREARS, included=100),
        ),
        plan="free",
    )
    assert bill([phase(free)], hours("1000", devices=3000)) == ()
