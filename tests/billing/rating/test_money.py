"""Money: digits of currencies, one rounding, splits that sum; taxes and ids."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.rating import money, tax
from billing.rating.tax import Kind, Treatment, taxes
from billing.rating.totals import totals
from tests.billing.rating.bills import at, bill, flat, phase, terms

GERMANY = Treatment(Kind.STANDARD, ((date(2007, 1, 1), Decimal(19)), (date(2020, 7, 1), Decimal(16)), (date(2021, 1, 1), Decimal(19))))


def test_currencies_have_the_digits_that_they_have():
    assert [money.digits(code) for code in ("EUR", "USD", "JPY", "KRW", "KWD")] == [2, 2, 0, 0, 3]
    with pytest.raises(money.UnknownCurrency):
        money.digits("EURO")
    assert money.in_minor(Decimal("0.002"), "EUR") == Fraction(1, 5)
    assert (money.in_major(34328, "EUR"), money.in_major(1707, "JPY")) == (Decimal("343.28"), Decimal(1707))


def test_halves_go_up_and_a_credit_mirrors_its_charge():
    halves = [Fraction(1, 2), Fraction(3, 2), Fraction(5, 2), Fraction(249, 100)]
    assert [money.rounded(half) for half in halves] == [1, 2, 3, 2]
    assert [money.rounded(-half) for half in halves] == [-1, -2, -3, -2]


@given(st.integers(-(10**12), 10**12), st.dictionaries(st.text("abc", min_size=1), st.integers(0, 10**9), min_size=1))
def test_shares_sum_to_the_amount_and_are_within_one_unit_of_exact(amount, weights):
    total = sum(weights.values())
    if not total:
        with pytest.raises(ValueError, match="weights"):
            money.split(amount, weights)
        return
    shares = money.split(amount, weights)
    assert sum(shares.values()) == amount
    assert all(abs(shares[name] - Fraction(amount * weight, total)) < 1 for name, weight in weights.items())
    assert money.split(amount, dict(reversed(weights.items()))) == shares
    assert money.split(-amount, weights) == {name: -share for name, share in shares.items()}


def lines(*prices: str, inclusive: bool = False):
    return [line for price in prices for line in bill([phase(terms(flat(price), inclusive=inclusive))])]


def test_tax_is_reckoned_once_per_rate_and_not_per_line():
    (one,) = taxes(lines("0.10", "0.10", "0.10"), GERMANY)
    assert (one.percent, one.net, one.amount) == (19, 30, 6)


def test_prices_with_tax_in_them_stay_what_they_are():
    foot = totals(lines("119.00", inclusive=True), GERMANY)
    assert (foot.net, foot.taxes[0].amount, foot.gross) == (10000, 1900, 11900)
    both = totals([*lines("119.00", inclusive=True), *lines("100.00")], GERMANY)
    assert (both.gross, len(both.taxes)) == (23800, 2)


def test_the_rate_is_the_one_of_the_day():
    assert [GERMANY.percent(date(2020, 6, 30)), GERMANY.percent(date(2020, 7, 1)), GERMANY.percent(date(2026, 6, 1))] == [19, 16, 19]
    with pytest.raises(tax.NoTaxRate):
        GERMANY.percent(date(2006, 12, 31))


@pytest.mark.parametrize("kind", [Kind.REVERSE_CHARGE, Kind.EXEMPT])
def test_nobody_is_charged_tax_who_accounts_for_it_or_is_exempt(kind):
    assert totals(lines("100"), Treatment(kind)).gross == 10000


def test_a_balance_pays_before_the_customer_and_credits_beyond_charges_are_carried():
    charged = lines("100")
    assert (totals(charged, GERMANY, balance=5000).spent, totals(charged, GERMANY, balance=5000).payable) == (5000, 6900)
    assert (totals(charged, GERMANY, balance=50_000).spent, totals(charged, GERMANY, balance=50_000).payable) == (11900, 0)
    back = [line for line in bill([phase(terms(flat("30")), end=at(16))]) if line.amount < 0]
    foot = totals(back, GERMANY, balance=100)
    assert (foot.gross, foot.spent, foot.payable, foot.carried) == (-1785, 0, 0, 1785)


def test_ids_are_checked_by_their_countrys_form():
    assert tax.check_id("DE", "DE 136 695 976") == "DE136695976"
    assert tax.check_id("DE", "136695976") == "DE136695976"
    assert tax.check_id("GR", "094259216") == "EL094259216"
    assert tax.check_id("CH", "CHE-107.787.577 IVA").startswith("CHE107787577")
    assert tax.check_id("US", "12-3456789") == "12-3456789"
    wrong = [("DE", "DE136695978"), ("DE", "ATU13585627"), ("FR", ""), ("US", "x" * 31), ("CH", "CHE-107.787.578 IVA"), ("US", "é")]
    for country, text in wrong:
        with pytest.raises(tax.BadTaxId):
            tax.check_id(country, text)
    assert [tax.is_european(country) for country in ("DE", "GR", "CH", "GB")] == [True, True, False, False]
