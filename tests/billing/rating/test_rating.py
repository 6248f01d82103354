"""Rules of rating, one by one: advance and arrears, cycles of years, overrides, coupons, what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.rating.cycles import Interval, Range, cycle_of, month_of, months_after
from billing.rating.lines import Evidence, What
from billing.rating.rate import NotRateable, ranges, rate, stretches
from billing.rating.terms import Charged, Coupon, Kind, Override, PriceComponent, Tier
from billing.rating.used import Used
from tests.billing.rating.bills import ENTERPRISE, JULY, JUNE, MAY, A, M, amounts, at, bill, flat, phase, terms, total

MARCH = datetime(2026, 3, 17, 9, tzinfo=UTC)


def yearly(price: str = "1200"):
    return terms(flat(price), interval=Interval.YEAR)


def test_a_fee_in_advance_falls_due_when_the_month_begins_and_one_in_arrears_when_it_ends():
    (before,) = bill([phase(terms(flat("10")))])
    (after,) = bill([phase(terms(flat("10", M)))])
    assert (before.due, after.due) == (JUNE.start, JUNE.end)
    assert before.time == after.time == JUNE
    assert before.amount == after.amount == 1000


def test_who_starts_within_the_month_pays_for_the_rest_of_it():
    (line,) = bill([phase(terms(flat("30")), at(16))])
    assert (line.amount, line.due, line.share) == (1500, at(16), Decimal("0.5"))


def test_who_ends_within_the_month_gets_the_rest_back():
    lines = bill([phase(terms(flat("30")), end=at(16))])
    assert [(line.what, line.amount, line.quantity) for line in lines] == [(What.CHARGE, 3000, 1), (What.CREDIT, -1500, -1)]
    assert bill([phase(terms(flat("30")), end=JUNE.end)])[-1].what == What.CHARGE


def test_a_year_is_charged_once_in_advance_from_the_month_in_which_the_subscription_began():
    started = [phase(yearly(), MARCH, anchor=MARCH)]
    (first,) = bill(started, period=month_of(MARCH))
    assert first.time == Range(MARCH, datetime(2027, 3, 1, tzinfo=UTC))
    assert first.amount == 114_616
    assert bill(started) == ()
    (again,) = bill(started, period=month_of(datetime(2027, 3, 5, tzinfo=UTC)))
    assert (again.amount, again.time.end) == (120_000, datetime(2028, 3, 1, tzinfo=UTC))


def test_a_year_that_ends_early_is_credited_to_the_second():
    begun = datetime(2026, 3, 1, tzinfo=UTC)
    (line,) = bill([phase(yearly("365"), begun, at(11, 12), anchor=begun)])
    assert (line.what, line.amount) == (What.CREDIT, -26250)  # 262.5 days are left
    at_the_first = phase(yearly("365"), begun, JUNE.end, anchor=begun)
    assert amounts(bill([at_the_first])) == [-24300], "it belongs to the month that it ends"
    assert bill([at_the_first], period=JULY) == ()


def test_a_year_in_arrears_falls_due_with_its_last_month():
    begun = datetime(2026, 3, 1, tzinfo=UTC)
    late = [phase(terms(flat("1200", M), interval=Interval.YEAR), begun, anchor=begun)]
    assert bill(late) == ()
    assert amounts(bill(late, period=month_of(datetime(2027, 2, 5, tzinfo=UTC)))) == [120_000]


def test_a_dedicated_cluster_that_comes_and_goes_is_paid_to_the_second():
    used = Used(dedicated=(("x", at(4), at(10)), ("y", MAY, None), ("z", at(1, month=7), None)))
    lines = [line for line in bill([phase(terms(ENTERPRISE))], used) if line.kind == Kind.DEDICATED_CLUSTER]
    assert [(line.cluster_id, line.amount) for line in lines] == [("y", 40_000), ("x", 36_000), ("x", -28_000)]
    assert lines[0].evidence == Evidence.PLACEMENT


def test_a_month_in_which_nothing_changes_has_one_range_however_its_phases_are_cut():
    whole, cut = [phase(terms())], [phase(terms(), end=at(7)), phase(terms(), at(7), at(9)), phase(terms(), at(9))]
    assert ranges(cut, JUNE) == ranges(whole, JUNE) == (JUNE,)
    assert stretches(reversed(cut)) == whole


def test_an_override_takes_the_place_of_prices_and_of_what_is_included():
    held = (Override("base", unit_price=Decimal("19.00")), Override("devices", included=30), Override("devices", unit_price=Decimal(1)))
    assert amounts(bill([phase(terms(), overrides=held)], Used(50))) == [1900, 2000]


def test_what_changes_for_one_component_cuts_no_other_in_two():
    cheaper = (Override("hours", unit_price=Decimal("0.001")),)
    phases = [phase(terms(), end=at(16)), phase(terms(), at(16), overrides=cheaper)]
    assert ranges(phases, JUNE) == (Range(JUNE.start, at(16)), JUNE, Range(at(16), JUNE.end))
    halves = Used(30, 3600 * 20_000, {"a": 3600 * 20_000})
    whole = Used(40, 3600 * 40_000, {"a": 3600 * 40_000})
    assert amounts(bill(phases, halves, whole, halves)) == [2900, 3000, 2000, 1000]


def coupon(code="C", start=JUNE.start, end=JUNE.end, **what):
    return Coupon(code, start, end, **what)


def test_a_percentage_counts_for_the_part_of_a_line_in_which_it_is_good():
    half_the_time = coupon(percent=Decimal(50), end=at(16))
    assert amounts(bill([phase(terms(flat("30")), coupons=(half_the_time,))])) == [3000, -750]


def test_a_credit_gives_back_only_what_was_paid():
    free = coupon(percent=Decimal(100))
    lines = bill([phase(terms(flat("30")), end=at(16), coupons=(free,))])
    assert amounts(lines, what=What.COUPON) == [-3000, 1500]
    assert total(lines) == 0


def test_two_percentages_never_take_more_than_there_is():
    pair = (coupon("A", percent=Decimal(50)), coupon("B", percent=Decimal(100)))
    assert total(bill([phase(terms(flat("0.01")), coupons=pair)])) == 0
    assert total(bill([phase(terms(flat("10")), coupons=pair)])) == 0


def test_an_amount_is_taken_off_once_a_period_and_at_most_all():
    ten = coupon(amount=1000)
    assert total(bill([phase(terms(flat("30")), coupons=(ten,))])) == 2000
    assert total(bill([phase(terms(flat("3")), coupons=(ten,))])) == 0
    two = [phase(terms(flat("6")), end=at(16), coupons=(ten,)), phase(terms(flat("60"), plan="x"), at(16), coupons=(ten,))]
    assert total(bill(two)) == 600 - 300 + 3000 - 1000


def test_an_amount_is_given_back_with_the_fee_that_it_paid():
    whole = coupon(amount=3000)
    assert total(bill([phase(terms(flat("30")), end=at(16), coupons=(whole,))])) == 0


def test_an_amount_comes_after_percentages():
    pair = (coupon("A", amount=1000), coupon("B", percent=Decimal(50)))
    assert amounts(bill([phase(terms(flat("30")), coupons=pair)]), what=What.COUPON) == [-1500, -1000]


def test_what_cannot_be_rated_says_why():
    with pytest.raises(NotRateable, match="USD"):
        bill([phase(terms(currency="USD"))])
    with pytest.raises(NotRateable, match="overlap"):
        ranges([phase(terms(), end=at(9)), phase(terms(), at(8))], JUNE)
    with pytest.raises(NotRateable, match="overlap"):
        ranges([phase(terms()), phase(terms(plan="x"), at(8))], JUNE)
    with pytest.raises(NotRateable, match="nobody has counted"):
        rate([phase(terms())], {}, JUNE, "EUR")
    with pytest.raises(ValueError, match="3600"):
        Used(1, 3600, {"a": 1})


@pytest.mark.parametrize(
    "nonsense",
    [
        {"kind": Kind.ACTIVE_DEVICE, "charged": A},
        {"kind": Kind.FLAT, "charged": A, "included": 3},
        {"kind": Kind.FLAT, "charged": A, "unit_price": Decimal(-1)},
        {"kind": Kind.ACTIVE_DEVICE, "charged": M, "tiers": (Tier(10, Decimal(1)),)},
        {"kind": Kind.ACTIVE_DEVICE, "charged": M, "tiers": (Tier(10, Decimal(1)), Tier(10, Decimal(1)), Tier(None, Decimal(1)))},
        {"kind": Kind.ACTIVE_DEVICE, "charged": M, "tiers": (Tier(0, Decimal(1)), Tier(None, Decimal(1)))},
        {"kind": Kind.ACTIVE_DEVICE, "charged": M, "tiers": (Tier(None, Decimal(1)), Tier(None, Decimal(1)))},
    ],
)
def test_a_component_that_makes_no_sense_is_refused(nonsense):
    with pytest.raises(ValueError, match=r"usage|negative|tier"):
        PriceComponent("x", **nonsense)


def test_coupons_and_terms_that_make_no_sense_are_refused():
    for nonsense in ({}, {"percent": Decimal(101)}, {"amount": 0}, {"percent": Decimal(5), "amount": 5}):
        with pytest.raises(ValueError, match="coupon"):
            coupon(**nonsense)
    with pytest.raises(ValueError, match="same key"):
        terms((*flat("1"), *flat("2")))


def test_cycles_are_calendar_months_in_utc_and_years_of_twelve():
    assert month_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == Range(
        datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    )
    year = cycle_of(Interval.YEAR, MARCH, datetime(2028, 2, 29, tzinfo=UTC))
    assert (year.start, year.end) == (datetime(2027, 3, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC))
    assert months_after(MARCH, 11) == datetime(2027, 2, 1, tzinfo=UTC)


def test_the_kind_of_a_line_says_where_its_evidence_is():
    lines = bill([phase(terms(), coupons=(coupon(percent=Decimal(10)),))], Used(30, 3600 * 30_000, {"a": 3600 * 30_000}))
    assert [line.evidence for line in lines] == [Evidence.PHASE, Evidence.DEVICES, Evidence.SESSIONS, Evidence.LINES, Evidence.LINES]
    assert {line.charged for line in lines} == {Charged.ADVANCE, Charged.ARREARS}
    assert replace(lines[0], kind=None).evidence == Evidence.LINES
