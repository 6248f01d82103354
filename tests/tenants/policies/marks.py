"""A text with a mark where it is wrong: the mark is taken out before anybody reads it, and its place is where the fault must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenants.policies.document import Fault, Place, PolicyRefused

MARK = "¶"


def unmarked(text: str) -> tuple[str, Place]:
    """The text without its one mark, and the place of what stands behind the mark."""
    before, mark, after = text.partition(MARK)
    assert (bool(mark), MARK in after) == (True, False), "a text has one mark"
    return before + after, Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def faults(read: Callable[[str], Any], text: str) -> tuple[Fault, ...]:
    """What a reader has against a text: nothing where it reads it."""
    try:
        read(text)
    except PolicyRefused as refused:
        return refused.faults
    return ()
