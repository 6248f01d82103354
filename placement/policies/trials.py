"""A tenant's own tests, tried on paper: so they hold for tenants that live on no server yet too, and a failure is told where it stands. Pure.

A destination that must be reached has to be for every device of the source. One that must not is not for any: headscale itself would be content if a
single device of the source did not reach it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from placement.policies import spans
from placement.policies.compiling import Statement
from placement.policies.reach import Reach
from tenants.policies.document import Assertion, Fault, Service, Word


@dataclass(frozen=True)
class Trial:
    """What came of the tests: `failed`, and `unproven` ones, which speak of what has no device now. `passed` counts destinations."""

    passed: int
    failed: tuple[Fault, ...]
    unproven: tuple[Fault, ...]


@dataclass(frozen=True)
class Words:
    """What words of tests stand for, and what of it each statement has. A document has room for thousands of tests: everything is looked up once."""

    reach: Reach
    _known: dict[tuple[str, bool], tuple[tuple[str, ...], tuple[frozenset[str], ...]]] = field(default_factory=dict)
    _letting: dict[Service, tuple[int, ...]] = field(default_factory=dict)

    def keys(self, text: str, *, towards: bool) -> tuple[str, ...]:
        return self._look_up(text, towards)[0]

    def joined(self, src: str, dst: str, asked: Service) -> list[tuple[frozenset[str], frozenset[str]]]:
        """Of each statement that lets any of the service pass from one to the other: what of the two it has."""
        sources, destinations = self._look_up(src, False)[1], self._look_up(dst, True)[1]
        if asked not in self._letting:
            services = enumerate(one.services for one in self.reach.statements)
            self._letting[asked] = tuple(number for number, each in services if spans.touches(each, asked))
        sides = ((sources[number], destinations[number]) for number in self._letting[asked])
        return [(here, there) for here, there in sides if here and there]

    def _look_up(self, text: str, towards: bool) -> tuple[tuple[str, ...], tuple[frozenset[str], ...]]:
        if (text, towards) not in self._known:
            keys = self.reach.stand_for(text, towards=towards)
            devices, beyond = frozenset(keys), [key for key in keys if key not in self.reach.devices]
            held = tuple(self._held(one, devices, beyond, towards=towards) for one in self.reach.statements)
            self._known[text, towards] = keys, held
        return self._known[text, towards]

    def _held(self, one: Statement, devices: frozenset[str], beyond: list[str], *, towards: bool) -> frozenset[str]:
        side, account = (one.dst, one.host) if towards else (one.src, one.account)
        has = self.reach.has_destination if towards else self.reach.has_source
        own = side.devices & devices if account == self.reach.account else frozenset()
        return own | {key for key in beyond if has(one, key)}


def attempt(reach: Reach) -> Trial:
    passed, failed, unproven, words = 0, [], [], Words(reach)
    for test in reach.tenant.fact.document.tests:
        if not words.keys(test.src.text, towards=False):
            unproven.append(_fault(test, test.src, _("%(word)s has no device now, so this test proves nothing.") % {"word": test.src}))
            continue
        for word, port, wanted in _destinations(test):
            if not words.keys(word.text, towards=True):
                unproven.append(_fault(test, word, _("%(word)s has no device now, so this test proves nothing.") % {"word": word}))
            elif reason := _failure(words, test, word, port, wanted=wanted):
                failed.append(_fault(test, word, reason))
            else:
                passed += 1
    return Trial(passed, tuple(failed), tuple(unproven))


def _destinations(test: Assertion) -> Iterator[tuple[Word, int, bool]]:
    for word, port in test.accept:
        yield word, port, True
    for word, port in test.deny:
        yield word, port, False


def _failure(words: Words, test: Assertion, word: Word, port: int, *, wanted: bool) -> str:
    """Why the destination is not as the test wants it, or nothing."""
    joined = words.joined(test.src.text, word.text, Service(test.protocol, port, port))
    covered = frozenset[str]().union(*(sources for sources, _there in joined))
    src = next((key for key in words.keys(test.src.text, towards=False) if (key in covered) != wanted), None)
    if src is None:
        return ""
    told = {"src": words.reach.label_of(src), "dst": f"{word}:{port}"}
    if wanted:
        return _("%(src)s does not reach %(dst)s, and this test wants it to.") % told
    reached = {key for sources, there in joined if src in sources for key in there}
    first = words.reach.label_of(next(key for key in words.keys(word.text, towards=True) if key in reached))
    named = "" if first == word.text else f" ({first})"
    return _("%(src)s reaches %(dst)s, and this test wants it not to.") % {**told, "dst": told["dst"] + named}


def _fault(test: Assertion, word: Word, reason: str) -> Fault:
    return Fault(reason, word.place if word.path else test.place, word.path or test.path)
