"""Whole devices: what may be promised, and what to expect."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement.engine.ledger import cap, expected, p95, policy_weight

DAY = [3] * 24


@pytest.mark.parametrize(("capacity", "shared"), [(0, 0), (1, 0), (19, 16), (100, 85), (500, 425), (999, 849)])
def test_a_shared_cluster_promises_85_per_cent_rounded_down_and_a_dedicated_one_all(capacity, shared):
    assert (cap(capacity, "shared"), cap(capacity, "dedicated")) == (shared, capacity)


@pytest.mark.parametrize(
    ("values", "percentile"), [([], 0), ([7], 7), (range(1, 21), 19), (range(1, 101), 95), ([1] * 19 + [9], 1), ([5, 1, 9], 9)]
)
def test_p95_is_by_nearest_rank(values, percentile):
    assert p95(values) == percentile


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_p95_is_a_value_that_occurred_and_leaves_no_more_than_a_twentieth_above(values):
    assert p95(values) in values
    assert 20 * sum(value > p95(values) for value in values) <= len(values)


def test_the_plan_speaks_until_a_day_of_peaks_is_known_and_the_tenant_itself_from_then_on():
    assert expected(50, [], 0) == expected(50, DAY[:23], 0) == 50
    assert expected(50, DAY, 0) == 3


def test_a_tenant_that_was_never_online_still_counts_for_one():
    assert expected(50, [0] * 24, 0) == 1


def test_own_rules_cost_a_third_each_up_to_four_times():
    assert [policy_weight(rules) for rules in (0, 1, 3, 9, 500)] == [1.0, pytest.approx(4 / 3), 2.0, 4.0, 4.0]
    assert policy_weight(5) == pytest.approx(1.7 / 0.725, rel=0.15), "five rules per tenant, as measured"
    assert expected(10, [], 1) == 14
    assert expected(50, DAY, 3) == 6


@given(st.integers(0, 5000), st.integers(0, 30))
def test_the_weight_is_applied_exactly_and_rounded_up(figure, rules):
    told = expected(figure, [], rules)
    assert figure <= told == math.ceil(round(figure * policy_weight(rules), 6))
