"""The order of the tests loses none, and gives every worker its share of the longest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.order import LONGEST, longest_first

files = st.sampled_from([*LONGEST, "tests/test_house.py", "tests/api/test_openapi.py"])


@given(files=st.lists(files), workers=st.integers(1, 5))
def test_no_test_is_lost_and_none_runs_twice(files: list[str], workers: int) -> None:
    tests = list(enumerate(files))
    ordered = longest_first(tests, lambda test: test[1], workers)
    assert sorted(ordered) == tests
    for file in LONGEST:
        assert [test for test in ordered if test[1] == file] == [test for test in tests if test[1] == file]


def test_every_worker_begins_with_one_of_the_longest() -> None:
    tests = [*[("short", number) for number in range(95)], *[(file, number) for file in LONGEST for number in range(3)]]
    ordered = longest_first(tests, lambda test: test[0], 3)
    pieces = ordered[:38], ordered[38:77], ordered[77:]
    assert [piece[0] for piece in pieces] == [(file, 0) for file in LONGEST[:3]]


def test_the_longest_are_there() -> None:
    assert [file for file in LONGEST if not (ROOT / file).exists()] == []
