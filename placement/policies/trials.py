"""A tenant's own tests, tried on paper: so they hold for tenants that live on no server yet too, and a failure is told where it stands. Pure.

A destination that must be reached has to be for every device of the source. One that must not is not for any: headscale itself would be content if a
single device of the source did not reach it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from placement.policies.reach import Reach
from tenants.policies.document import Assertion, Fault, Service, Word


@dataclass(frozen=True)
class Trial:
    """What came of the tests: `failed`, and `unproven` ones, which speak of what has no device now. `passed` counts destinations."""

    passed: int
    failed: tuple[Fault, ...]
    unproven: tuple[Fault, ...]


def attempt(reach: Reach) -> Trial:
    passed, failed, unproven = 0, [], []
    for test in reach.tenant.fact.document.tests:
        sources = reach.stand_for(test.src.text, towards=False)
        if not sources:
            unproven.append(_fault(test, test.src, _("%(word)s has no device now, so this test proves nothing.") % {"word": test.src}))
            continue
        for word, port, wanted in _destinations(test):
            destinations = reach.stand_for(word.text, towards=True)
            if not destinations:
                unproven.append(_fault(test, word, _("%(word)s has no device now, so this test proves nothing.") % {"word": word}))
            elif reason := _failure(reach, test, sources, (word, port, destinations), wanted=wanted):
                failed.append(_fault(test, word, reason))
            else:
                passed += 1
    return Trial(passed, tuple(failed), tuple(unproven))


def _destinations(test: Assertion) -> Iterator[tuple[Word, int, bool]]:
    for word, port in test.accept:
        yield word, port, True
    for word, port in test.deny:
        yield word, port, False


def _failure(reach: Reach, test: Assertion, sources: tuple[str, ...], to: tuple[Word, int, tuple[str, ...]], *, wanted: bool) -> str:
    """Why the destination is not as the test wants it, or nothing."""
    word, port, keys = to
    asked = Service(test.protocol, port, port)
    destinations = tuple(group[0] for group in reach.alike(keys, towards=True))
    for src in (group[0] for group in reach.alike(sources, towards=False)):
        passes = reach.touches(src, destinations, asked)
        told = {"src": reach.label_of(src), "dst": f"{word}:{port}"}
        if wanted and not passes:
            return _("%(src)s does not reach %(dst)s, and this test wants it to.") % told
        if not wanted and passes:
            reached = next(dst for dst in destinations if reach.touches(src, (dst,), asked))
            named = "" if reach.label_of(reached) == word.text else f" ({reach.label_of(reached)})"
            return _("%(src)s reaches %(dst)s, and this test wants it not to.") % {**told, "dst": told["dst"] + named}
    return ""


def _fault(test: Assertion, word: Word, reason: str) -> Fault:
    return Fault(reason, word.place if word.path else test.place, word.path or test.path)
