"""The geometry of the pictures: the whole circle is drawn once, columns stand for every cluster, and both stay small."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from placement import pictures
from placement.engine.ring import Ring
from placement.pictures import Bar, Mark, columns, ring


def bar(promised, measured=None, *, takes=True, alarm=False, cluster_id="a"):
    return Bar(cluster_id, promised, measured, takes, alarm, cluster_id)


def marks(count):
    return {f"c{n}": Mark(f"heat-{n % 6}", f"c{n}") for n in range(count)}


def numbers(path):
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path)]


def test_one_cluster_owns_the_whole_circle():
    picture = ring(Ring.build({"c0": 1}).sketch(), marks(1))
    (whole,) = picture.slices
    assert whole.path.count("Z") == 2, "an arc to its own start would be none"
    assert whole.title == "c0"
    assert picture.point == ""


@given(st.integers(min_value=2, max_value=400), st.floats(min_value=0, max_value=1))
def test_a_ring_stays_within_its_picture_and_within_its_size(count, point):
    picture = ring(Ring.build({f"c{n}": 1 for n in range(count)}).sketch(180), marks(count), point=point)
    assert 2 <= len(picture.slices) <= 180
    assert all(abs(number) <= 124 for part in picture.slices for number in numbers(part.path))
    assert all(abs(number) <= 124 for number in numbers(picture.point))
    assert any(part.title for part in picture.slices) is (count <= pictures.TOLD_APART)


def test_what_stands_out_is_drawn_last_named_and_wide_enough_to_be_seen():
    many = {f"c{n}": 1 for n in range(200)}
    known = marks(200) | {"c7": Mark("chosen", "c7: chosen", raised=True)}
    picture = ring(Ring.build(many).sketch(), known)
    raised = [part for part in picture.slices if part.colour == "chosen"]
    assert raised
    assert picture.slices[-len(raised) :] == tuple(raised)
    assert all(part.title == "c7: chosen" for part in raised)
    for part in raised:
        x1, y1, *_rest = numbers(part.path)
        x2, y2 = numbers(part.path.split(" 1 ")[1])[:2]
        assert ((x1 - x2) ** 2 + (y1 - y2) ** 2) ** 0.5 > 3.5


def test_neighbours_of_one_colour_are_one_slice_where_no_eye_could_part_them():
    same = {f"c{n}": Mark("heat-1", f"c{n}") for n in range(100)}
    assert len(ring(Ring.build(dict.fromkeys(same, 1)).sketch(), same).slices) == 1


@given(st.lists(st.tuples(st.floats(0, 3), st.none() | st.floats(0, 3)), max_size=700))
def test_columns_fit_their_picture_however_full_and_however_many_clusters_are(loads):
    bars = sorted((bar(promised, measured) for promised, measured in loads), key=lambda one: -one.highest)
    picture = columns(bars, mean=0.5, bound=0.51)
    assert len(picture.columns) == -(-len(bars) // picture.each) <= pictures.COLUMNS
    assert 1.0 <= picture.scale <= 2.0
    for column in picture.columns:
        assert 0 <= column.x <= column.x + column.width <= pictures.WIDTH + 0.1
        assert 0 <= column.promised <= 100
        assert column.measured is None or 0 <= column.measured <= 100
    assert 0 <= picture.full <= picture.bound <= picture.mean <= 100


def test_a_column_of_several_clusters_shows_the_fullest_and_any_alarm():
    bars = [bar(0.9 - n / 1000, alarm=n == 1, cluster_id=f"c{n}") for n in range(480)]
    first = columns(bars, mean=0.5, bound=0.51).columns[0]
    assert (first.title, first.alarm, first.promised) == ("c0 ... c1", True, 10.0)


def test_colours_follow_utilisation_and_what_takes_nobody_has_none():
    assert [pictures.colour_of(used) for used in (0.0, 0.2, 0.59, 0.6, 0.99, 1.0, 3.0)] == [
        *("heat-0", "heat-1", "heat-2", "heat-3", "heat-4", "heat-5", "heat-5"),
    ]
    assert pictures.colour_of(0.9, takes=False) == "still"
