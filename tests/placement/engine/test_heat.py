"""From counters to heat: rates, averages, the breaker. Laws first, then the cases that servers really show."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from placement.engine.heat import CEILING, CLOSES_AFTER, CLOSES_AT, Limits, Reading, Warmth, quantile, step

START = datetime(2026, 11, 24, tzinfo=UTC)
BOUNDS = (0.1, 1.0, 10.0, math.inf)
LIMITS = Limits(cores=2, max_sessions=100, max_queue=50, max_peer_seconds=2.0)


def reading(seconds, *, cpu=0.0, sessions=0, queue=0.0, counts=(0, 0, 0, 0), memory=1000):
    return Reading(START + timedelta(seconds=seconds), cpu, sessions, queue, tuple(zip(BOUNDS, counts, strict=True)), memory)


def after(*readings, limits=LIMITS):
    warmth = None
    for one in readings:
        warmth = step(warmth, one, limits)
    return warmth


counts = st.lists(st.integers(0, 1000), min_size=4, max_size=4).map(sorted)
readings = st.builds(
    reading,
    st.floats(0, 1e6),
    cpu=st.floats(0, 1e308),
    sessions=st.integers(0, 10**6),
    queue=st.floats(0, 1e308),
    counts=counts,
    memory=st.integers(0, 2**40),
)


@given(st.lists(readings, min_size=1, max_size=12))
def test_whatever_comes_in_whatever_order_heat_is_a_number_and_never_negative(several):
    warmth = None
    for one in several:
        before, warmth = warmth, step(warmth, one, LIMITS)
        for value in (warmth.cpu, warmth.sessions_smooth, warmth.queue, warmth.peer_seconds, warmth.measured):
            assert math.isfinite(value)
            assert value >= 0
        assert warmth.measured <= CEILING
        assert before is None or warmth.at >= before.at
        assert warmth.cool_since is None or warmth.breaker_open or warmth.cool_since <= warmth.at


@given(st.lists(readings, min_size=1, max_size=6), readings, st.floats(-1e6, 0.49))
def test_a_late_a_repeated_or_an_overhasty_reading_changes_nothing(several, other, seconds):
    warmth = after(*several)
    assert step(warmth, dataclasses.replace(other, at=warmth.at + timedelta(seconds=seconds)), LIMITS) is warmth


@given(st.lists(st.tuples(st.integers(1, 100), readings), min_size=1, max_size=12), st.data())
def test_whatever_is_delivered_late_or_twice_the_load_is_that_of_the_readings_in_order(several, data):
    seconds, ordered = 0, []
    for gap, one in several:
        seconds += gap
        ordered.append(dataclasses.replace(one, at=START + timedelta(seconds=seconds)))
    delivered = []
    for number, one in enumerate(ordered):
        delivered.append(one)
        delivered += data.draw(st.lists(st.sampled_from(ordered[: number + 1]), max_size=3))
    assert after(*delivered) == after(*ordered)


def test_the_first_reading_knows_no_rates():
    warmth = after(reading(0, cpu=5000, sessions=40, counts=(0, 0, 9, 9)))
    assert (warmth.cpu, warmth.peer_seconds, warmth.measured) == (0, 0, 0.4)


def test_cpu_is_measured_in_cores_against_seventy_percent_of_them():
    steady = [reading(10 * n, cpu=14 * n) for n in range(40)]  # 1.4 cores of 2
    warmth = after(*steady)
    assert math.isclose(warmth.cpu, 1.4, rel_tol=1e-3)
    assert math.isclose(warmth.measured, 1.0, rel_tol=1e-3)


def test_a_restart_is_no_negative_rate():
    busy = [reading(10 * n, cpu=10 * n + 500, counts=(n, n, n, n)) for n in range(20)]
    before = after(*busy)
    restarted = step(before, reading(200, cpu=2.0, counts=(1, 1, 1, 1)), LIMITS)
    assert 0 <= restarted.cpu <= before.cpu
    assert restarted.peer_seconds >= 0
    assert math.isclose(after(*busy, *[reading(200 + 10 * n, cpu=5 * n) for n in range(100)]).cpu, 0.5, rel_tol=0.02)


def test_a_restart_under_load_counts_what_the_new_process_used():
    before = after(reading(0, cpu=500), reading(100, cpu=520))
    assert math.isclose(step(before, reading(110, cpu=20), LIMITS).cpu, before.cpu + (1 - math.exp(-1)) * (2.0 - before.cpu))


def test_counters_of_a_server_that_has_run_for_long_elsewhere_tell_nothing_of_the_interval():
    before = after(reading(0, cpu=5000, counts=(9, 9, 9, 9)), reading(100, cpu=5020, counts=(19, 19, 19, 19)))
    swapped = step(before, reading(110, cpu=4000, counts=(0, 0, 0, 900)), LIMITS)
    assert (swapped.cpu, swapped.peer_seconds) == (before.cpu, before.peer_seconds)
    assert math.isclose(step(swapped, reading(600, cpu=4049, counts=(0, 0, 0, 900)), LIMITS).cpu, 0.1, rel_tol=0.05)


@pytest.mark.parametrize("jump", [{"cpu": 1e15}, {"queue": 1e15}, {"sessions": 10**15}], ids=str)
def test_a_number_that_no_server_reaches_is_forgotten_in_minutes(jump):
    warmth = after(reading(0), reading(10, **jump))
    assert warmth.measured > 1
    steady = {"cpu": jump.get("cpu", 0)}
    for number in range(2, 42):
        warmth = step(warmth, reading(10 * number, **steady), LIMITS)
    assert warmth.measured < 0.8


def test_it_rises_fast_and_falls_slowly():
    calm = after(reading(0), reading(10, sessions=0))
    risen = step(calm, reading(20, sessions=100), LIMITS)
    assert risen.measured > 0.6
    fallen = step(risen, reading(30, sessions=0), LIMITS)
    assert fallen.measured > 0.9 * risen.measured


def test_the_peer_calculations_of_the_interval_count_not_those_of_the_servers_whole_life():
    warmth = after(reading(0, counts=(10**6, 10**6, 10**6, 10**6)), reading(60, counts=(10**6, 10**6, 10**6 + 20, 10**6 + 20)))
    assert warmth.peer_seconds > 5
    quiet = step(warmth, reading(600, counts=(10**6, 10**6, 10**6 + 20, 10**6 + 20)), LIMITS)
    assert quiet.peer_seconds < 0.2 * warmth.peer_seconds


def test_past_the_largest_bound_a_duration_is_twice_the_bound():
    warmth = after(reading(0), reading(600, counts=(0, 0, 0, 9)))
    assert math.isclose(warmth.peer_seconds, 20.0, rel_tol=1e-6)


def test_memory_is_weighed_where_it_has_a_limit():
    assert after(reading(0, memory=900)).measured == 0
    assert after(reading(0, memory=900), limits=Limits(max_memory=1000)).measured == 0.9


def sessions(*values, every=10):
    return after(*[reading(every * number, sessions=value) for number, value in enumerate(values)])


def test_the_breaker_opens_on_two_hot_samples_in_a_row():
    assert not sessions(0, 10**5).breaker_open
    assert sessions(0, 10**5, 10**5).breaker_open
    assert not sessions(0, 101, 0, 0).breaker_open


def test_two_looks_at_one_moment_or_an_hour_apart_are_not_two_hot_samples_in_a_row():
    assert not sessions(150, 150, every=0.4).breaker_open
    assert not sessions(150, 150, every=3600).breaker_open
    assert sessions(150, 150, every=60).breaker_open


def open_breaker() -> Warmth:
    return sessions(150, 150, 150)


def test_the_breaker_closes_after_five_minutes_of_calm_and_not_before():
    warmth, closed_at, cool_at = open_breaker(), None, None
    for number in range(200):
        warmth = step(warmth, reading(30 + 10 * number, sessions=0), LIMITS)
        if cool_at is None and warmth.measured <= 0.8:
            cool_at = warmth.at
        if not warmth.breaker_open:
            closed_at = warmth.at
            break
    assert closed_at is not None
    assert closed_at - cool_at == timedelta(minutes=5)


def test_a_load_that_flaps_does_not_flap_the_breaker():
    warmth, flips, was_open = open_breaker(), 0, True
    for number in range(600):
        warmth = step(warmth, reading(30 + 10 * number, sessions=150 if number % 12 < 6 else 10), LIMITS)
        flips += warmth.breaker_open != was_open
        was_open = warmth.breaker_open
    assert flips == 0


spells = st.tuples(st.sampled_from([0, 40, 79, 85, 120, 300]), st.sampled_from([1, 10, 45, 70]), st.integers(1, 60))


@given(st.lists(spells, min_size=2, max_size=10))
@example([(300, 10, 5), (0, 10, 60), (300, 10, 5)])
def test_an_open_breaker_closes_only_on_five_minutes_of_nothing_but_calm(spells):
    loads = [(gap, online) for online, gap, times in spells for _ in range(times)]
    warmth, now, opened_at, hot_at = None, 0, None, None
    for gap, online in loads:
        now += gap
        was_open, warmth = warmth is not None and warmth.breaker_open, step(warmth, reading(now, sessions=online), LIMITS)
        if warmth.measured > CLOSES_AT:
            hot_at = warmth.at
        if warmth.breaker_open and not was_open:
            opened_at = warmth.at
        if was_open and not warmth.breaker_open:
            assert warmth.at - opened_at >= CLOSES_AFTER
            assert warmth.at - hot_at >= CLOSES_AFTER


def test_time_that_nobody_watched_is_no_calm():
    warmth = step(open_breaker(), reading(3600, sessions=0), LIMITS)
    assert warmth.measured < 0.1
    assert warmth.breaker_open
    assert step(warmth, reading(3600 + 3600, sessions=0), LIMITS).breaker_open
    seldom = dataclasses.replace(LIMITS, watched=timedelta(hours=2))
    assert not step(warmth, reading(3600 + 3600, sessions=0), seldom).breaker_open


def test_quantiles_are_those_of_prometheus():
    assert quantile([], 0.95) is None
    assert quantile([(1.0, 0), (math.inf, 0)], 0.95) is None
    assert quantile([(1.0, 10), (2.0, 20), (math.inf, 20)], 0.75) == 1.5
    assert quantile([(1.0, 0), (math.inf, 5)], 0.5) == math.inf
