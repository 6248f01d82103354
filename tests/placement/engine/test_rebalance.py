"""Plans of moves: laws for any pool, then the rules one by one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from placement.engine.facts import ClusterFacts
from placement.engine.ledger import cap
from placement.engine.moves import Limits, Lodger, Plan, carried_out
from placement.engine.rebalance import plan_drain, plan_rebalance

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


worlds = st.lists(
    st.tuples(
        st.sampled_from([100, 250, 500, 1000]),
        st.lists(st.integers(1, 30), max_size=20),
        st.sampled_from(["active", "active", "active", "cordoned", "draining"]),
        st.none() | st.floats(0, 1.2),
        st.sampled_from([None, 3, 30]),
    ),
    min_size=1,
    max_size=6,
)


def world(described):
    clusters, lodgers = [], []
    for number, (capacity, sizes, state, measured, most) in enumerate(described):
        name = f"c{number}"
        lodgers += [Lodger(f"{name}-{n}", name, size) for n, size in enumerate(sizes)]
        clusters.append(
            ClusterFacts(
                name, state=state, capacity=capacity, committed=sum(sizes), tenants=len(sizes), measured=measured,
                age=None if measured is None else 0.0, max_tenants=most,
            )
        )  # fmt: skip
    return clusters, lodgers


def check(plan, clusters, lodgers):
    """What holds of every plan."""
    known = {cluster.cluster_id: cluster for cluster in clusters}
    homes = {lodger.tenant_id: lodger for lodger in lodgers}
    after, moved = carried_out(plan, clusters, lodgers, at=NOW)
    assert len({move.tenant_id for move in plan.moves}) == len(plan.moves)
    for move in plan.moves:
        assert (homes[move.tenant_id].cluster_id, homes[move.tenant_id].load) == (move.source, move.load)
        assert move.target != move.source
        assert known[move.target].state == "active"
    for cluster in after:
        before = known[cluster.cluster_id]
        if cluster.committed > before.committed:
            assert cluster.committed <= cap(cluster.capacity, "shared")
            assert cluster.max_tenants is None or cluster.tenants <= cluster.max_tenants
    assert sum(cluster.committed for cluster in after) == sum(cluster.committed for cluster in clusters)
    assert sum(lodger.load for lodger in moved) == sum(lodger.load for lodger in lodgers)
    assert Plan.from_document(json.loads(json.dumps(plan.as_document()))) == plan
    return after, moved


@settings(max_examples=300, deadline=None)
@given(worlds)
def test_a_rebalance_makes_nothing_worse_and_leaves_nothing_to_plan(described):
    clusters, lodgers = world(described)
    plan = plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE)
    assert plan == plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE)
    after, moved = check(plan, clusters, lodgers)
    line = max(1.05 * plan.before.mean, 0.10)
    for was, now in zip(clusters, after, strict=True):
        grown = now.utilisation() - was.utilisation()
        assert grown <= 1e-9 or now.utilisation() <= line + 1e-9 or was.state not in ("active", "cordoned")
    again = plan_rebalance(after, moved, now=NOW + timedelta(minutes=1), limits=AT_ONCE)
    assert again.moves == ()


@settings(max_examples=300, deadline=None)
@given(worlds, st.integers(0, 5))
def test_a_drain_takes_everybody_away_or_says_why_not(described, number):
    clusters, lodgers = world(described)
    leaving = {clusters[number % len(clusters)].cluster_id}
    plan = plan_drain(leaving, clusters, lodgers)
    check(plan, clusters, lodgers)
    residents = {lodger.tenant_id for lodger in lodgers if lodger.cluster_id in leaving}
    assert {move.tenant_id for move in plan.moves} | {stay.tenant_id for stay in plan.stays} == residents
    assert all(stay.why for stay in plan.stays)
    assert all(move.target not in leaving for move in plan.moves)


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
    assert len(plan_drain({"c1"}, clusters, tired).moves) == 20
    assert plan_rebalance(clusters, tired, now=NOW + timedelta(hours=1), limits=AT_ONCE).moves


def test_a_plan_stops_at_its_limit():
    clusters, lodgers = pool(600, 200, size=1)
    assert len(plan_rebalance(clusters, lodgers, now=NOW, limits=Limits(at_once=True, most_moves=7)).moves) == 7


def test_a_residency_is_kept():
    clusters = [ClusterFacts("c0", committed=100, tenants=10), ClusterFacts("c1"), ClusterFacts("c2", residency="de", committed=40)]
    lodgers = [Lodger(f"t{n}", "c0", 10, "de") for n in range(10)]
    plan = plan_drain({"c0"}, clusters, lodgers)
    assert {move.target for move in plan.moves} == {"c2"}


def test_who_cannot_go_is_named_with_the_reason():
    clusters, lodgers = pool(100, 840)
    [*others] = plan_drain({"c0"}, clusters, lodgers).stays
    assert {stay.why for stay in others} == {"has_room_for"}
    assert {stay.why for stay in plan_drain({"c0", "c1"}, clusters, lodgers).stays} == {"no_cluster_is_open"}


def test_an_almost_empty_pool_is_left_alone():
    clusters, lodgers = pool(90, 0, 0)
    assert plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE).moves == ()


def test_a_cluster_with_an_open_breaker_takes_nobody():
    clusters, lodgers = pool(600, 200, 200)
    clusters[1] = ClusterFacts("c1", capacity=1000, committed=200, breaker_open=True)
    plan = plan_rebalance(clusters, lodgers, now=NOW, limits=AT_ONCE)
    assert {move.target for move in plan.moves} == {"c2"}
