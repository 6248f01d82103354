"""Laws of rating that hold for whatever phases and usage there are, some of them against an oracle that integrates over time."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.rating import money
from billing.rating.cycles import Range
from billing.rating.lines import What
from billing.rating.rate import ranges, rate
from billing.rating.terms import Charged, Coupon, Kind, PriceComponent, Tier
from billing.rating.usage import graduated
from billing.rating.used import Used
from tests.billing.rating.bills import JUNE, MAY, phase, terms, total

examples = settings(max_examples=int(os.environ.get("ACS_EXAMPLES", "40")))
SECONDS = int(JUNE.seconds)
prices = st.decimals(0, 1000, places=2)
fine = st.decimals(0, 5, places=4)
moments = st.integers(1, SECONDS - 1).map(lambda second: JUNE.start + timedelta(seconds=second))


@st.composite
def tiers(draw):
    bounds = sorted(draw(st.sets(st.integers(1, 300), max_size=3)))
    return tuple(Tier(bound, draw(fine)) for bound in [*bounds, None])


@st.composite
def some_terms(draw, plan="p"):
    in_advance = draw(st.sampled_from(list(Charged)))
    return terms(
        (
            PriceComponent("base", Kind.FLAT, in_advance, draw(prices)),
            PriceComponent("clusters", Kind.DEDICATED_CLUSTER, draw(st.sampled_from(list(Charged))), draw(prices)),
            PriceComponent("devices", Kind.ACTIVE_DEVICE, Charged.ARREARS, included=draw(st.integers(0, 50)), tiers=draw(tiers())),
            PriceComponent("hours", Kind.DEVICE_HOURS, Charged.ARREARS, draw(fine), included=draw(st.integers(0, 5000))),
        ),
        plan=f"{plan}-{draw(st.integers(0, 10**9))}",
        inclusive=draw(st.booleans()),
    )


@st.composite
def some_used(draw):
    seconds = draw(st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**8), max_size=3))
    start = draw(st.one_of(st.just(MAY), moments))
    held = draw(st.lists(st.tuples(st.sampled_from("xyz"), st.just(start), st.none()), max_size=2, unique=True))
    return Used(draw(st.integers(0, 400)), sum(seconds.values()), seconds, tuple(held))


@st.composite
def histories(draw):
    """Phases without a gap from May on, the last one without an end."""
    cuts = sorted(draw(st.sets(moments, max_size=3)))
    edges = [MAY, *cuts, None]
    return [phase(draw(some_terms(plan=f"p{n}")), start, end, trial=draw(st.booleans())) for n, (start, end) in enumerate(pairwise(edges))]


def rated(phases, draw_used):
    return rate(phases, {part: draw_used(part) for part in ranges(phases, JUNE)}, JUNE, "EUR")


@examples
@given(histories(), moments, st.data())
def test_cutting_a_phase_without_a_change_changes_nothing(phases, cut, data):
    kept: dict[Range, Used] = {}
    used = lambda part: kept.setdefault(part, data.draw(some_used()))  # noqa: E731 - drawn once a range
    at_once = rated(phases, used)
    pieces = []
    for one in phases:
        inside = one.start < cut and (one.end is None or cut < one.end)
        pieces += [replace(one, end=cut), replace(one, start=cut)] if inside else [one]
    assert rated(pieces, used) == at_once


@examples
@given(histories(), st.data())
def test_order_does_not_matter(phases, data):
    kept: dict[Range, Used] = {}
    used = lambda part: kept.setdefault(part, data.draw(some_used()))  # noqa: E731
    at_once = rated(phases, used)
    shuffled = [
        replace(one, terms=replace(one.terms, components=tuple(data.draw(st.permutations(one.terms.components)))))
        for one in data.draw(st.permutations(phases))
    ]
    assert rated(shuffled, used) == at_once


@examples
@given(histories(), st.data())
def test_nothing_is_negative_without_a_credit_or_a_coupon_and_splits_sum(phases, data):
    for line in rated(phases, lambda _: data.draw(some_used())):
        assert (line.amount > 0) == (line.what == What.CHARGE)
        assert 0 < line.share <= 1
        if line.clusters:
            assert sum(share.amount for share in line.clusters) == line.amount
        exact = Fraction(line.quantity) * Fraction(line.unit_price) * line.share * 100
        assert abs(exact - line.amount) <= Fraction(51, 100), "what a line shows is what it charges"


@examples
@given(tiers(), st.integers(0, 60), st.integers(0, 500), st.integers(0, 500))
def test_more_units_never_cost_less_and_tiers_add_up(steps, included, few, more):
    few, more = sorted([few, more])
    cost = lambda units: sum(part * Fraction(price) for part, price in graduated(Fraction(units), Fraction(included), steps))  # noqa: E731
    assert cost(few) <= cost(more)
    one_by_one = (
        next(Fraction(step.unit_price) for step in steps if step.up_to is None or unit <= step.up_to) for unit in range(1, more + 1)
    )
    assert cost(more) == sum(price for unit, price in enumerate(one_by_one, start=1) if unit > included)


@examples
@given(prices, prices, moments, st.sampled_from(list(Charged)))
def test_a_price_change_within_the_month_costs_what_the_two_parts_cost(before, after, switch, charged):
    def fee(price, plan):
        return terms((PriceComponent("base", Kind.FLAT, charged, price),), plan=plan)

    first = Fraction((switch - JUNE.start).total_seconds()) / SECONDS
    exact = first * Fraction(before) * 100 + (1 - first) * Fraction(after) * 100
    lines = rated([phase(fee(before, "a"), end=switch), phase(fee(after, "b"), switch)], lambda _: Used())
    assert abs(total(lines) - exact) <= Fraction(3, 2), "half a unit for each line at most"
    alone = money.rounded(first * Fraction(before) * 100) + money.rounded((1 - first) * Fraction(after) * 100)
    assert abs(total(lines) - alone) <= 1


@examples
@given(histories(), st.data())
def test_coupons_never_take_more_than_was_charged(phases, data):
    percent = Coupon("A", data.draw(moments), None, percent=data.draw(st.decimals(Decimal("0.01"), 100, places=2)))
    amount = Coupon("B", MAY, data.draw(moments), amount=data.draw(st.integers(1, 10**6)))
    whole = Coupon("C", MAY, None, percent=Decimal(100))
    held = tuple(data.draw(st.sets(st.sampled_from([percent, amount, whole]))))
    kept: dict[Range, Used] = {}
    used = lambda part: kept.setdefault(part, data.draw(some_used()))  # noqa: E731
    plain = rated(phases, used)
    lines = rated([replace(one, coupons=held) for one in phases], used)
    assert [line for line in lines if line.what != What.COUPON] == list(plain)
    for key in {(line.due, line.inclusive) for line in lines}:
        charged, left = (sum(line.amount for line in of if (line.due, line.inclusive) == key) for of in (plain, lines))
        assert 0 <= left <= charged or charged <= left <= 0
        if whole in held:
            assert left == 0
