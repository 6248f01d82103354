"""In which order the workers of one session run its tests: what takes longest begins first, so that no worker works alone at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

LONGEST = (
    "tests/flows/test_make_run.py",
    "tests/placement/test_grant_machine.py",
    "tests/flows/test_external_storm.py",
    "tests/flows/test_load_live.py",
    "tests/flows/test_real_join.py",
    "tests/flows/test_load_real.py",
    "tests/flows/test_reinstalled_devices.py",
)
Test = TypeVar("Test")


def longest_first(tests: Sequence[Test], file_of: Callable[[Test], str], workers: int) -> list[Test]:
    """The longest files in turn at the beginning of what each worker is given: xdist's worksteal deals the list out in as many pieces."""
    longest: list[list[Test]] = [[] for _ in range(workers)]
    for number, file in enumerate(LONGEST):
        longest[number % workers] += [test for test in tests if file_of(test) == file]
    others = [test for test in tests if file_of(test) not in LONGEST]
    ordered: list[Test] = []
    for number, first in enumerate(longest):
        piece = (len(tests) - len(ordered)) // (workers - number)
        more = max(piece - len(first), 0)
        ordered += [*first, *others[:more]]
        others = others[more:]
    return ordered + others
