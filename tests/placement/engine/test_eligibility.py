"""One rule, one sentence; and what is forgiven in a pool that is blind."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given

from placement.engine.eligibility import RULES, objection
from placement.engine.facts import ClusterFacts, Newcomer, Pool
from tests.placement.engine.worlds import alike, newcomer, newcomers, pool_of, some_clusters, tenant_id

GOOD = ClusterFacts("good", capacity=1000, max_sessions=1000, committed=100, sessions=90, measured=0.1, age=0.5)
BLIND = dataclasses.replace(pool_of([GOOD]), blind=True)


def verdict(comer: Newcomer | None = None, pool: Pool | None = None, **facts: object) -> str:
    cluster = dataclasses.replace(GOOD, **facts)
    return objection(comer or newcomer(), cluster, pool or pool_of([cluster]))


def test_nothing_is_to_be_said_against_a_healthy_cluster():
    assert verdict() == ""


@pytest.mark.parametrize("state", ["cordoned", "draining", "offline"])
def test_only_active_clusters_take_newcomers(state):
    assert verdict(state=state) == "is_active"


def test_shared_clusters_take_no_tenant_that_has_one_to_itself_and_dedicated_ones_no_other():
    assert verdict(newcomer(kind="dedicated")) == verdict(kind="dedicated") == "is_of_kind"


def test_a_cluster_serves_its_own_class_only():
    assert verdict(newcomer(service_class="premium")) == "serves_the_class"
    assert verdict(newcomer(service_class="premium"), service_class="premium") == ""


def test_a_tenant_with_a_residency_stays_in_it_and_one_without_may_live_anywhere():
    assert verdict(newcomer(residency="de")) == "keeps_residency"
    assert verdict(newcomer(residency="de"), residency="de") == verdict(residency="de") == ""


def test_a_dedicated_cluster_is_nobody_elses():
    comer = newcomer(7, kind="dedicated")
    empty = {"kind": "dedicated", "tenants": 0}
    assert verdict(comer, **empty) == verdict(comer, **empty, reserved_for=tenant_id(7)) == ""
    assert verdict(comer, **empty, reserved_for=tenant_id(8)) == "is_nobody_elses"
    assert verdict(comer, kind="dedicated", tenants=1) == "is_nobody_elses"


def test_a_tenant_above_a_twentieth_of_a_cluster_needs_a_larger_class():
    small, large = dataclasses.replace(GOOD, cluster_id="small", capacity=500), dataclasses.replace(GOOD, capacity=2000)
    pool = pool_of([small, large])
    assert objection(newcomer(load=25), small, pool) == ""
    assert objection(newcomer(load=26), small, pool) == "is_large_enough"
    assert objection(newcomer(load=100), large, pool) == ""


def test_where_no_cluster_is_large_enough_the_largest_class_takes_it():
    small, large, same_class = (
        dataclasses.replace(GOOD, cluster_id=name, capacity=capacity)
        for name, capacity in (("small", 999), ("large", 1900), ("other", 1000))
    )
    pool = pool_of([small, large, same_class])
    assert [objection(newcomer(load=200), cluster, pool) for cluster in (small, large, same_class)] == ["is_large_enough", "", ""]
    assert objection(newcomer(load=95), same_class, pool) == "is_large_enough", "1900 devices are enough for 95, 1000 are not"
    alone = pool_of([dataclasses.replace(large, state="cordoned"), small])
    assert objection(newcomer(load=200), small, alone) == "", "a cordoned cluster is nobody's hope"


def test_a_dedicated_cluster_may_be_filled_by_its_tenant():
    assert verdict(newcomer(load=900, kind="dedicated"), kind="dedicated") == ""
    assert verdict(newcomer(load=901, kind="dedicated"), kind="dedicated") == "has_room_for"


def test_a_shared_cluster_has_room_up_to_85_per_cent_of_its_capacity():
    assert verdict(committed=840) == ""
    assert verdict(committed=841) == "has_room_for"


def test_the_number_of_tenants_may_be_limited():
    assert verdict(tenants=9, max_tenants=10) == ""
    assert verdict(tenants=10, max_tenants=10) == "has_place_for_a_tenant"


def test_sessions_stay_within_nine_tenths_unless_nobody_knows_how_many_there_are():
    assert verdict(sessions=900) == ""
    assert verdict(sessions=901) == "has_sessions_left"
    seeing = pool_of(alike(3, measured=0.1, age=1.0))
    assert verdict(sessions=901, age=2.0, pool=seeing) == "has_sessions_left"
    assert verdict(sessions=901, age=2.1, pool=seeing) == verdict(sessions=901, pool=BLIND) == ""


def test_an_open_breaker_keeps_newcomers_out_even_where_nobody_sees():
    assert verdict(breaker_open=True) == verdict(breaker_open=True, pool=BLIND) == "breaker_is_closed"


def test_a_cluster_silent_for_more_than_five_intervals_takes_nobody_unless_most_are_silent():
    healthy = pool_of([GOOD, dataclasses.replace(GOOD, cluster_id="other")])
    assert verdict(age=5.0, pool=healthy) == verdict(age=None, pool=healthy) == ""
    assert verdict(age=5.1, pool=healthy) == "was_heard_from"
    assert verdict(age=5.1, pool=BLIND) == ""


def test_the_first_objection_of_the_list_is_the_one_that_is_told():
    assert verdict(state="offline", breaker_open=True, committed=1000) == "is_active"
    assert verdict(breaker_open=True, committed=1000) == "has_room_for"


def test_all_rules_are_in_the_list_and_each_has_a_name_of_its_own():
    assert len({rule.__name__ for rule in RULES}) == len(RULES) == 11


@given(newcomers, some_clusters())
def test_an_objection_names_a_rule_that_says_no_and_none_means_that_all_agree(comer, clusters):
    pool = pool_of(clusters)
    for cluster in clusters:
        against = [rule.__name__ for rule in RULES if not rule(comer, cluster, pool)]
        assert objection(comer, cluster, pool) == next(iter(against), "")


def test_a_pool_is_blind_when_more_than_half_of_its_samples_are_stale():
    half = alike(2, measured=0.2, age=2.1) + [
        dataclasses.replace(one, cluster_id=f"fresh-{one.cluster_id}", age=1.0) for one in alike(2, measured=0.2)
    ]
    assert not pool_of(half).blind
    assert pool_of(half[:3]).blind
    assert not pool_of(alike(3)).blind, "where there is nothing to sample nobody is blind"
