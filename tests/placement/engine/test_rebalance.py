"""Plans of moves: laws for any pool, then the rules one by one."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from placement.engine.choice import NOBODY
from placement.engine.eligibility import objection
from placement.engine.facts import ClusterFacts, Newcomer, Pool
from placement.engine.ledger import cap
from placement.engine.moves import REASONS, Limits, Lodger, Move, Plan, carried_out
from placement.engine.rebalance import plan_drain, plan_rebalance
from placement.engine.shelf import heat
from tests.placement.engine.worlds import KEY

NOW = datetime(2026, 11, 24, tzinfo=UTC)
AT_ONCE = Limits(at_once=True)


def pool(*loads, capacity=1000, size=10, **fields):
    """Clusters with so much load, in tenants of `size` devices."""
    clusters, lodgers = [], []
    for number, load in enumerate(loads):
        name = f"c{number}"
        mine = [Lodger(f"{name}-{n}", name, size) for n in range(load // size)]
        lodgers += mine
        clusters.append(ClusterFacts(name, capacity=capacity, committed=size * len(mine), tenants=len(mine), **fields))
    return clusters, lodgers


def somewhere():
    """A cluster as the database could tell it, healthy more often than not, and the tenants on it."""
    return st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["shared"] * 6 + ["dedicated"]),
            "residency": st.sampled_from(["", "", "de"]),
            "capacity": st.sampled_from([0, 100, 250, 500, 500, 1000, 1000]),
            "state": st.sampled_from(["active", "active", "active", "cordoned", "draining", "offline"]),
            "measured": st.none() | st.floats(0, 1.2),
            "age": st.sampled_from([0.0, 0.0, 1.0, 3.0, 40.0]),
            "promised_since": st.sampled_from([0, 0, 20]),
            "breaker_open": st.sampled_from([False] * 8 + [True]),
            "max_tenants": st.sampled_from([None, None, 3, 30]),
            "sessions": st.sampled_from([0, 0, 0, 480]),
        }
    )


residents = st.lists(
    st.tuples(st.integers(0, 30), st.booleans(), st.sampled_from([None, None, NOW - timedelta(hours=3), NOW - timedelta(hours=30)])),
    max_size=20,
)
worlds = st.lists(st.tuples(somewhere(), residents), min_size=1, max_size=7)
limits = st.builds(
    Limits,
    at_once=st.just(True),
    most_moves=st.none() | st.integers(0, 9),
    most_from=st.none() | st.integers(0, 3),
    most_to=st.none() | st.integers(0, 3),
)


def world(described):
    clusters, lodgers = [], []
    for number, (fields, living) in enumerate(described):
        name = f"c{number}"
        lodgers += [
            Lodger(f"{name}-{n}", name, size, fields["residency"] if bound else "", at) for n, (size, bound, at) in enumerate(living)
        ]
        unsampled = {"age": None, "promised_since": 0} if fields["measured"] is None else {}
        clusters.append(ClusterFacts(name, committed=sum(size for size, *_ in living), tenants=len(living), **{**fields, **unsampled}))
    return clusters, lodgers


def blind(clusters):
    return Pool.of(KEY, NOBODY, clusters).blind


def check(plan, clusters, lodgers, leaving=()):
    """What holds of every plan: it may be carried out move by move, each to a cluster that the engine would give a newcomer of that size."""
    homes = {lodger.tenant_id: lodger for lodger in lodgers}
    assert len({move.tenant_id for move in plan.moves}) == len(plan.moves)
    now, living = clusters, lodgers
    for move in plan.moves:
        lodger = homes[move.tenant_id]
        assert (lodger.cluster_id, lodger.load) == (move.source, move.load)
        assert move.reason in REASONS
        assert objection_of(lodger, move.target, now, leaving) == ""
        now, living = carried_out(replace(plan, moves=(move,)), now, living, at=NOW)
    at_once, moved = carried_out(plan, clusters, lodgers, at=NOW)
    assert moved == living
    assert all(
        one.committed == other.committed and abs(one.utilisation() - other.utilisation()) < 1e-9
        for one, other in zip(now, at_once, strict=True)
    )
    assert sum(cluster.committed for cluster in now) == sum(cluster.committed for cluster in clusters)
    assert Plan.from_document(json.loads(json.dumps(plan.as_document()))) == plan
    return now, living


def objection_of(lodger, target, clusters, leaving):
    """By the engine's own rules for newcomers, in a pool without those that leave; above the hard cap by what is measured is too hot."""
    pool = Pool.of(KEY, NOBODY, [one for one in clusters if one.cluster_id not in leaving and (lodger.residency in ("", one.residency))])
    if target not in pool.clusters:
        return "keeps_residency" if target not in leaving else "is_active"
    cluster, newcomer = pool.clusters[target], Newcomer(lodger.tenant_id, lodger.load, residency=lodger.residency)
    pool = replace(pool, blind=blind(clusters))
    if reason := objection(newcomer, cluster, pool):
        return reason
    if not cluster.capacity:
        return "has_room_for"
    if cluster.is_stale and not pool.blind:
        return "was_heard_from"
    return "would_be_too_hot" if heat(cluster, pool.blind) * cluster.capacity + lodger.load > cap(cluster.capacity, "shared") + 1e-6 else ""


def shuffled(rows):
    return random.Random(1).sample(rows, len(rows))


@settings(max_examples=150, deadline=None)
@given(worlds)
def test_a_rebalance_makes_nothing_worse_and_leaves_nothing_to_plan(described):
    clusters, lodgers = world(described)
    plan = plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE)
    assert plan == plan_rebalance(shuffled(clusters), shuffled(lodgers), now=NOW, limits=AT_ONCE)
    after, moved = check(plan, clusters, lodgers)
    seen = {cluster.cluster_id: heat(cluster, blind(clusters)) for cluster in clusters}
    line = max(1.05 * plan.before.mean, 0.10)
    for was, now in zip(clusters, after, strict=True):
        assert now.committed <= was.committed or heat(now, blind(clusters)) <= line + 1e-6
    for move in plan.moves:
        [target] = [heat(cluster, blind(clusters)) for cluster in after if cluster.cluster_id == move.target]
        assert target <= seen[move.source] + 1e-6
        assert next(one for one in lodgers if one.tenant_id == move.tenant_id).moved_at != NOW - timedelta(hours=3)
    again = plan_rebalance(after, moved, now=NOW + timedelta(minutes=1), limits=AT_ONCE)
    assert again.moves == ()


@settings(max_examples=150, deadline=None)
@given(worlds, st.integers(0, 6))
def test_a_drain_takes_everybody_away_or_says_why_not(described, number):
    clusters, lodgers = world(described)
    leaving = {clusters[number % len(clusters)].cluster_id}
    plan = plan_drain(leaving, clusters, lodgers, now=NOW)
    assert plan == plan_drain(leaving, shuffled(clusters), shuffled(lodgers), now=NOW)
    after, moved = check(plan, clusters, lodgers, leaving)
    residents = {lodger.tenant_id: lodger for lodger in lodgers if lodger.cluster_id in leaving}
    assert {move.tenant_id for move in plan.moves if move.source in leaving} | {stay.tenant_id for stay in plan.stays} == residents.keys()
    assert all(move.source in leaving or move.reason == "makes_room" for move in plan.moves)
    for stay in plan.stays:
        refusals = {objection_of(residents[stay.tenant_id], cluster.cluster_id, after, leaving) for cluster in after}
        assert "" not in refusals, "it could have gone"
        assert stay.why in refusals | {"no_cluster_is_open"}
    assert plan_drain(leaving, after, moved, now=NOW).moves == ()


@settings(max_examples=100, deadline=None)
@given(worlds, limits, st.booleans())
def test_limits_are_kept(described, limits, drained):
    clusters, lodgers = world(described)
    plan = (
        plan_drain({"c0"}, clusters, lodgers, now=NOW, limits=limits)
        if drained
        else plan_rebalance(clusters, lodgers, now=NOW, limits=limits)
    )
    check(plan, clusters, lodgers, {"c0"} if drained else ())
    for most, found in (
        (limits.most_moves, [len(plan.moves)]),
        (limits.most_from, Counter(move.source for move in plan.moves).values()),
        (limits.most_to, Counter(move.target for move in plan.moves).values()),
    ):
        assert most is None or max(found, default=0) <= most
    if drained:
        assert len([move for move in plan.moves if move.source == "c0"]) + len(plan.stays) == sum(one.cluster_id == "c0" for one in lodgers)


# ---- rules -----------------------------------------------------------------------------------------------------------


def test_a_cluster_sheds_after_a_quarter_of_an_hour_above_the_watermark():
    clusters, lodgers = pool(600, 400, 400, 400)
    assert plan_rebalance(clusters, lodgers, now=NOW).moves == ()
    recent = {"c0": NOW - timedelta(minutes=14)}
    assert plan_rebalance(clusters, lodgers, now=NOW, hot_since=recent).moves == ()
    long = {"c0": NOW - timedelta(minutes=15)}
    plan = plan_rebalance(clusters, lodgers, now=NOW, hot_since=long)
    assert {move.source for move in plan.moves} == {"c0"}
    assert plan.after.ratio <= 1.05


def test_between_the_watermarks_nothing_starts():
    clusters, lodgers = pool(430, 400, 400, 400)
    assert plan_rebalance(clusters, lodgers, now=NOW, hot_since={"c0": NOW - timedelta(hours=1)}).moves == ()


def test_added_clusters_are_filled_at_once_when_asked():
    clusters, lodgers = pool(*[500] * 10, 0, size=1)
    plan = plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE)
    assert plan.after.ratio <= 1.05
    assert plan.load <= 1.05 * plan.least
    assert {move.target for move in plan.moves} == {"c10"}


def test_the_largest_tenant_that_fits_goes_first():
    clusters, _ = pool(600, 100, 200, 200)
    lodgers = [Lodger(f"t{size}", "c0", size) for size in (400, 150, 30, 12, 8)]
    plan = plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE)
    assert plan.moves[0].load == 150
    assert all(move.load != 400 for move in plan.moves)


def test_nobody_moves_for_less_than_half_of_what_the_move_costs():
    clusters, _ = pool(320, 300, 300, 280)
    assert plan_rebalance(clusters, [Lodger("large", "c0", 60)], now=NOW, limits=AT_ONCE).moves == ()


def test_a_tenant_that_was_moved_rests_a_day_unless_its_cluster_is_emptied():
    clusters, lodgers = pool(600, 200)
    tired = [lodger._replace(moved_at=NOW - timedelta(hours=23)) for lodger in lodgers]
    assert plan_rebalance(clusters, tired, now=NOW, limits=AT_ONCE).moves == ()
    assert len(plan_drain({"c1"}, clusters, tired, now=NOW).moves) == 20
    assert plan_rebalance(clusters, tired, now=NOW + timedelta(hours=1), limits=AT_ONCE).moves


def test_above_four_fifths_a_cluster_sheds_although_it_is_near_the_mean():
    clusters, lodgers = pool(820, 750, 750, 750)
    long = {"c0": NOW - timedelta(hours=1)}
    plan = plan_rebalance(clusters, lodgers, now=NOW, hot_since=long)
    assert (plan.before.ratio < 1.1, plan.load, plan.after.ratio <= 1.05) == (True, 20, True)


def test_after_adding_clusters_those_just_below_the_watermark_shed_too():
    clusters, lodgers = pool(*[500] * 10, 0, size=1)
    long = {cluster.cluster_id: NOW - timedelta(hours=1) for cluster in clusters}
    assert plan_rebalance(clusters, lodgers, now=NOW, hot_since=long).moves == ()
    assert plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE).moves


def test_half_of_the_cost_is_worth_it_and_a_device_less_is_not():
    for excess, moves in ((10, 1), (9, 0)):
        clusters, _ = pool(315 + excess, 300, 300, 300 - excess - 15, size=1)
        plan = plan_rebalance(clusters, [Lodger("t", "c0", 20)], now=NOW, limits=AT_ONCE)
        assert (plan.least, len(plan.moves)) == (excess, moves)


def test_room_that_a_cluster_gains_by_shedding_is_given_in_the_same_plan():
    clusters = [
        ClusterFacts("hottest", residency="de", committed=285, tenants=2),
        ClusterFacts("hot", residency="de", committed=273, tenants=2),
        ClusterFacts("cool", committed=192),
    ]
    lodgers = [Lodger("bound", "hottest", 9, "de"), Lodger("free", "hot", 20)]
    plan = plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE)
    after = carried_out(plan, clusters, lodgers, at=NOW)
    assert plan.moves == (Move("free", "hot", "cool", 20, "covers_the_rest"), Move("bound", "hottest", "hot", 9, "fits_the_excess"))
    assert plan_rebalance(*after, now=NOW, limits=AT_ONCE).moves == ()


def test_silence_is_no_heat_and_takes_nobody():
    clusters, lodgers = pool(300, 300, 300)
    silent = [replace(cluster, measured=0.3, age=40.0 if cluster.cluster_id == "c0" else 0.0) for cluster in clusters]
    assert plan_rebalance(silent, lodgers, now=NOW, limits=AT_ONCE).moves == ()
    assert {move.target for move in plan_drain({"c1"}, silent, lodgers, now=NOW).moves} == {"c2"}


def test_what_is_measured_is_shed_though_the_ledger_is_even():
    clusters, lodgers = pool(300, 300, 300)
    heated = [replace(cluster, measured=0.5 if cluster.cluster_id == "c0" else 0.3, age=0.0) for cluster in clusters]
    plan = plan_rebalance(heated, lodgers, now=NOW, limits=AT_ONCE)
    assert {move.source for move in plan.moves} == {"c0"}
    assert plan.after.ratio <= 1.05


def test_a_dedicated_cluster_neither_sheds_nor_takes():
    clusters, lodgers = pool(600, 300, 300)
    own = [replace(cluster, kind="dedicated" if cluster.cluster_id == "c0" else "shared") for cluster in clusters]
    assert plan_rebalance(own, lodgers, now=NOW, limits=AT_ONCE).moves == ()
    assert all(move.target == "c2" for move in plan_drain({"c1"}, own, lodgers, now=NOW).moves)


def test_a_tenant_of_more_than_a_twentieth_goes_to_the_largest_class_only():
    clusters = [
        ClusterFacts("old", capacity=2000, committed=60, tenants=1),
        ClusterFacts("small"),
        ClusterFacts("large", capacity=2000, committed=900),
    ]
    lodgers = [Lodger("t", "old", 60)]
    assert plan_drain({"old"}, clusters, lodgers, now=NOW).moves[0].target == "large"
    closed = [replace(cluster, breaker_open=cluster.cluster_id == "large") for cluster in clusters]
    assert plan_drain({"old"}, closed, lodgers, now=NOW).stays[0].why == "is_large_enough"
    assert plan_drain({"old"}, closed[:2], lodgers, now=NOW).moves[0].target == "small", "the largest there is"


def test_no_drain_heats_a_cluster_past_its_hard_cap_by_what_is_measured():
    clusters, lodgers = pool(100, 100)
    clusters[1] = replace(clusters[1], measured=0.82, age=0.0)
    plan = plan_drain({"c0"}, clusters, lodgers, now=NOW)
    assert plan.load == 30
    assert {stay.why for stay in plan.stays} == {"would_be_too_hot"}


def test_what_a_drain_brought_above_the_line_is_shed_again():
    clusters, lodgers = pool(300, 300, 300, 300, size=2)
    lodgers = [Lodger("large", "c0", 50), *(lodger for lodger in lodgers if lodger.cluster_id != "c0")]
    clusters[0] = replace(clusters[0], committed=50, tenants=1)
    plan = plan_drain({"c0"}, clusters, lodgers, now=NOW)
    assert plan.moves[0].reason == "leaves_within_caps"
    assert {(move.source, move.reason) for move in plan.moves[1:]} == {(plan.moves[0].target, "makes_room")}
    assert plan.after.ratio <= 1.05
    tired = [lodger._replace(moved_at=NOW) for lodger in lodgers]
    assert len(plan_drain({"c0"}, clusters, tired, now=NOW).moves) == 1


def test_who_came_after_the_sample_leaves_no_heat_behind():
    clusters = [
        ClusterFacts("c0", capacity=100, committed=60, tenants=1, measured=0.1, age=0.0, promised_since=50),
        ClusterFacts("c1", capacity=1000),
    ]
    lodgers = [Lodger("t", "c0", 60)]
    after, _ = carried_out(plan_drain({"c0"}, clusters, lodgers, now=NOW), clusters, lodgers, at=NOW)
    assert after[0].utilisation() == 0


def test_a_plan_of_before_reasons_were_told_can_be_read():
    document = plan_rebalance(*pool(600, 400, 400, 400), now=NOW, limits=AT_ONCE).as_document()
    for move in document["moves"]:
        del move["reason"]
    assert {move.reason for move in Plan.from_document(document).moves} == {""}


def test_a_plan_stops_at_its_limit():
    clusters, lodgers = pool(600, 200, size=1)
    assert len(plan_rebalance(clusters, lodgers, now=NOW, limits=Limits(at_once=True, most_moves=7)).moves) == 7


def test_a_residency_is_kept():
    clusters = [ClusterFacts("c0", committed=100, tenants=10), ClusterFacts("c1"), ClusterFacts("c2", residency="de", committed=40)]
    lodgers = [Lodger(f"t{n}", "c0", 10, "de") for n in range(10)]
    plan = plan_drain({"c0"}, clusters, lodgers, now=NOW)
    assert {move.target for move in plan.moves} == {"c2"}


def test_who_cannot_go_is_named_with_the_reason():
    clusters, lodgers = pool(100, 840)
    [*others] = plan_drain({"c0"}, clusters, lodgers, now=NOW).stays
    assert {stay.why for stay in others} == {"has_room_for"}
    assert {stay.why for stay in plan_drain({"c0", "c1"}, clusters, lodgers, now=NOW).stays} == {"no_cluster_is_open"}


def test_where_a_large_newcomer_brought_a_cluster_above_the_line_small_neighbours_make_room():
    clusters, lodgers = pool(40, 300, 300, size=1)
    large = [Lodger("large", "c0", 40)]
    rest = [lodger for lodger in lodgers if lodger.cluster_id != "c0"]
    plan = plan_drain({"c0"}, clusters, large + rest, now=NOW)
    assert plan.moves[0] == ("large", "c0", "c1", 40, "leaves_within_caps")
    assert {(move.source, move.target) for move in plan.moves[1:]} == {("c1", "c2")}
    assert plan.after.ratio <= 1.05


def test_an_almost_empty_pool_is_left_alone():
    clusters, lodgers = pool(90, 0, 0)
    assert plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE).moves == ()


def test_a_cluster_with_an_open_breaker_takes_nobody():
    clusters, lodgers = pool(600, 200, 200)
    clusters[1] = ClusterFacts("c1", capacity=1000, committed=200, breaker_open=True)
    plan = plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE)
    assert {move.target for move in plan.moves} == {"c2"}
