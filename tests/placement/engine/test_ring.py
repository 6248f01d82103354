"""The ring: what uhashring builds, as a snapshot."""

from __future__ import annotations

import subprocess
import sys
import threading
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uhashring import HashRing
from xxhash import xxh3_64_intdigest

from placement.engine.ring import CIRCLE, POINTS, Ring, point_of, weight_of
from tests.placement.engine.worlds import memberships, names, tenant_id, tenant_ids

ROOT = Path(__file__).resolve().parents[3]
points = st.integers(0, CIRCLE - 1)
THOUSAND = [tenant_id(number) for number in range(1000)]


def first(ring: Ring, tenant: str) -> str:
    return next(ring.walk(point_of(tenant)))


@given(memberships(1), st.lists(tenant_ids, max_size=50))
def test_the_snapshot_answers_as_one_uhashring_over_all_clusters(weights, tenants):
    nodes = {member: {"weight": weight, "vnodes": POINTS} for member, weight in weights.items()}
    theirs = HashRing(nodes, hash_fn=lambda key: xxh3_64_intdigest(key.encode()))
    ours = Ring.build(weights)
    assert [first(ours, tenant) for tenant in tenants] == [theirs.get_node(tenant) for tenant in tenants]
    assert [list(ours.walk(point_of(tenant))) for tenant in tenants] == [list(theirs.iterate_nodes(tenant)) for tenant in tenants]


@given(memberships(), points)
def test_a_walk_offers_every_cluster_once(weights, point):
    assert sorted(Ring.build(weights).walk(point)) == sorted(weights)


@given(memberships(1), names(), st.integers(1, 8), st.lists(points, max_size=100))
def test_a_new_cluster_takes_points_to_itself_and_moves_none_between_the_others(weights, name, weight, wanted):
    before, after = Ring.build({k: v for k, v in weights.items() if k != name}), Ring.build({**weights, name: weight})
    for point in wanted:
        others = [member for member in after.walk(point) if member != name]
        assert others == list(before.walk(point))


@given(memberships(1), points)
def test_more_weight_takes_points_only_to_the_heavier_one(weights, point):
    name = min(weights)
    before, after = Ring.build(weights), Ring.build({**weights, name: weights[name] + 1})
    assert next(after.walk(point)) in (next(before.walk(point)), name)


def test_a_capacity_that_changes_within_its_class_moves_nobody():
    assert weight_of(1000) == weight_of(1999) == 4
    assert Ring.build({"a": weight_of(1000), "b": 2}).digest == Ring.build({"a": weight_of(1999), "b": 2}).digest


@pytest.mark.parametrize(
    ("capacity", "weight"),
    [(0, 1), (100, 1), (250, 1), (499, 1), (500, 2), (999, 2), (1000, 4), (8000, 32), (15_999, 32), (16_000, 64), (10**6, 64)],
)
def test_weights_are_powers_of_two_of_250_devices(capacity, weight):
    assert weight_of(capacity) == weight


@given(memberships())
def test_shares_are_the_whole_circle_and_the_arcs_add_up_to_them(weights):
    ring = Ring.build(weights)
    shares, drawn = ring.shares(), dict.fromkeys(weights, 0.0)
    arcs = list(ring.arcs())
    for arc in arcs:
        drawn[arc.cluster_id] += arc.end - arc.start
    assert sum(shares.values()) == pytest.approx(1.0 if weights else 0.0)
    assert drawn == pytest.approx(shares)
    assert all(one.end == other.start for one, other in pairwise(arcs))


def test_a_clusters_share_is_about_its_weight():
    weights = {f"eu{number}": 1 << number % 4 for number in range(40)}
    for member, share in Ring.build(weights).shares().items():
        assert share == pytest.approx(weights[member] / sum(weights.values()), rel=0.5)
    heavy = sum(share for member, share in Ring.build(weights).shares().items() if weights[member] == 8)
    assert heavy == pytest.approx(80 / 150, rel=0.05)


@given(memberships(1), st.integers(1, 200), st.data())
def test_a_sketch_shows_the_owner_of_each_slice_and_joins_neighbours(weights, slices, data):
    ring = Ring.build(weights)
    sketch = ring.sketch(slices)
    assert (sketch[0].start, sketch[-1].end) == (0.0, 1.0)
    assert all(one.end == other.start and one.cluster_id != other.cluster_id for one, other in pairwise(sketch))
    middle = (data.draw(st.integers(0, slices - 1)) + 0.5) / slices
    shown = next(arc.cluster_id for arc in sketch if arc.start <= middle < arc.end)
    assert shown == next(ring.walk(int(middle * CIRCLE)))


def test_an_empty_ring_offers_nobody():
    ring = Ring.build({})
    assert (len(ring), list(ring.walk(5)), ring.shares(), list(ring.arcs()), ring.sketch()) == (0, [], {}, [], [])


@pytest.mark.parametrize("weight", [0, -1, 1.5, 1.0, True])
def test_a_weight_is_a_whole_number_from_one(weight):
    with pytest.raises(ValueError, match="eu1 weighs"):
        Ring.build({"eu1": weight})


@given(st.permutations([("a", 1), ("b", 2), ("c", 4)]))
def test_equal_members_have_an_equal_digest_in_whatever_order(members):
    assert Ring.build(dict(members)).digest == Ring.build({"a": 1, "b": 2, "c": 4}).digest


def test_another_member_or_weight_has_another_digest():
    rings = [{}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, {"a": 1, "b": 2}]
    assert len({Ring.build(ring).digest for ring in rings}) == len(rings)


def test_another_process_finds_the_same_ring():
    program = "from placement.engine.ring import Ring, point_of; r = Ring.build({'a': 1, 'b': 2, 'c': 4}); print(r.digest, *r.walk(point_of('A0')))"
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    ring = Ring.build({"a": 1, "b": 2, "c": 4})
    assert told.stdout.split() == [ring.digest, *ring.walk(point_of("a0"))]


def test_the_case_of_a_tenants_id_changes_nothing():
    assert point_of("6F9619FF-8B86-4D01-B42D-00CF4FC964FF") == point_of("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")


def test_tenants_spread_over_clusters_by_weight():
    ring = Ring.build({"small": 1, "large": 3})
    assert sum(first(ring, tenant) == "large" for tenant in THOUSAND) == pytest.approx(1000 * ring.shares()["large"], abs=50)


def test_readers_go_on_while_rings_are_built_and_swapped():
    """What uhashring's own objects do not stand."""
    rings, wrong, done = [Ring.build({f"eu{number}": 2 for number in range(20)})], [], threading.Event()

    def read() -> None:
        while not done.is_set():
            ring = rings[0]
            if set(ring.walk(point_of("a"))) != set(ring.weights) or len(list(islice(ring.walk(0), 4))) != 4:
                wrong.append(ring.digest)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(60):
        rings[0] = Ring.build({f"eu{other}": 1 + other % 3 for other in range(10 + number % 17)})
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
