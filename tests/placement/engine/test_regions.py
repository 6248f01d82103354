"""Where a tenant's cluster is looked for: the wish, the nearest, the default, and the neighbours of what is full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement.engine.regions import NotAllowed, Wish, prefer

NEIGHBOURS = {"eu": ["uk", "us"], "us": ["eu"]}
names = st.sampled_from(["eu", "us", "ap", "uk"])


def test_a_wish_is_honoured_to_the_letter():
    assert prefer(Wish("us"), allowed=["eu", "us"], default="eu", neighbours=NEIGHBOURS).regions == ("us",)


def test_a_wish_that_the_plan_does_not_allow_is_refused():
    with pytest.raises(NotAllowed):
        prefer(Wish("us"), allowed=["eu"])


def test_without_a_wish_the_nearest_measured_region_comes_first_and_the_next_ones_follow():
    wish = Wish(latencies={"us": 104, "ap": 250.5, "eu": 21, "mars": 3})
    assert prefer(wish, allowed=["eu", "us", "ap"], default="ap").regions == ("eu", "us", "ap")


def test_measurements_win_over_the_operators_table_and_that_over_the_default():
    assert prefer(Wish(latencies={"us": 1}, near="eu"), allowed=["eu", "us"], default="eu").regions[0] == "us"
    assert prefer(Wish(near="us"), allowed=["eu", "us"], default="eu").regions[0] == "us"
    assert prefer(Wish(near="mars"), allowed=["eu", "us"], default="eu").regions[0] == "eu"


def test_what_is_full_is_left_for_its_neighbours_that_the_plan_allows():
    assert prefer(Wish(), allowed=["eu", "us"], default="eu", neighbours=NEIGHBOURS).regions == ("eu", "us")


def test_when_nothing_is_known_no_region_is_nearer():
    told = prefer(Wish(), allowed=["us", "eu"])
    assert (told.regions, told.level) == (("eu", "us"), True)


@given(st.lists(names, unique=True), st.dictionaries(names, st.floats(0, 60000)), names | st.just(""), names | st.just(""))
def test_only_allowed_regions_come_up_and_none_twice(allowed, latencies, near, default):
    told = prefer(Wish(latencies=latencies, near=near), allowed=allowed, default=default, neighbours=NEIGHBOURS)
    assert set(told.regions) <= set(allowed)
    assert len(set(told.regions)) == len(told.regions)
    assert bool(told.regions) == bool(allowed)
