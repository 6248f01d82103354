"""How `manage.py policy` tells what it found: plain lines, a fact each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from placement.management.telling import table, when
from placement.policies.compiling import Statement
from placement.policies.explaining import Explanation
from placement.policies.matrix import Alike, Change, Matrix
from placement.policies.preview import Preview
from placement.policies.storing import Stored, Verdict
from tenants.models import NetworkPolicy, PolicyVersion
from tenants.policies.document import Service

SHOWN = 4  # devices of a class by name
CHANGES = 40  # lines of gained or lost pairs


def standing(account: str, policy: NetworkPolicy | None) -> Iterator[str]:
    if policy is None:
        yield f"{account} has the default policy: every device reaches every other"
        return
    running = f"version {policy.running.number}" if policy.running else "none of its versions yet"
    yield f"version {policy.current.number} counts, by {policy.current.author} at {when(policy.current.created_at)}; its server runs {running}"
    if policy.trouble:
        yield f"trouble since {when(policy.trouble_at)}: {policy.trouble}"


def versions(found: Iterable[PolicyVersion]) -> Iterator[str]:
    rows = [(each.number, when(each.created_at), each.author, "-" if each.restores is None else each.restores, each.note) for each in found]
    yield from table(("version", "stored", "by", "restores", "note"), rows) if rows else ["no version yet: the default policy"]


def verdict(found: Verdict) -> Iterator[str]:
    where = f"proven on {found.proven_on}" if found.proven_on else "nothing to prove it on yet: the tenant lives nowhere"
    yield f"the policy can be stored; {where}; {found.passed} of its own tests pass"
    for fault in found.unproven:
        yield f"  unproven: {fault}"


def stored(done: Stored) -> Iterator[str]:
    restores = f", which restores {done.version.restores}" if done.version.restores is not None else ""
    yield f"version {done.version.number} counts{restores}"
    yield from verdict(done.verdict)


def preview(found: Preview) -> Iterator[str]:
    yield from matrix(found.matrix)
    yield from _changes("gained", found.difference.gained)
    yield from _changes("lost", found.difference.lost)
    if not found.difference:
        yield "nobody gains or loses anything"
    for one in found.warnings:
        yield f"warning: line {one.place.line}, column {one.place.column}: {one.reason} [{one.path}]"
    for fault in found.tests.failed:
        yield f"test fails: {fault} [{fault.path}]"
    for fault in found.tests.unproven:
        yield f"test is unproven: {fault} [{fault.path}]"
    if found.cost is not None:
        yield f"one peer calculation of its server: {found.cost.seconds_now:.3f} s ({found.cost.form_now}) -> {found.cost.seconds:.3f} s ({found.cost.form})"


def matrix(found: Matrix) -> Iterator[str]:
    yield "who reaches what:"
    rows = [
        (class_name(found.classes[src]), class_name(found.classes[dst]), _services(services))
        for (src, dst), services in found.cells.items()
    ]
    yield from (f"  {line}" for line in table(("from", "to", "services"), sorted(rows))) if rows else ["  nobody reaches anybody"]


def explanation(told: Explanation) -> Iterator[str]:
    service = f" on {told.service}" if told.service else ""
    yield f"{'yes' if told.admitted else 'no'}: {told.meaning}" + (f" Asked{service}." if service and not told.admitted else "")
    for words, rules in (
        ("by", told.rules),
        ("joins them on other services:", told.near),
        ("has the source:", told.from_source),
        ("has the destination:", told.to_destination),
    ):
        for rule in rules:
            yield f"  {words} {_rule(rule)}"


def class_name(alike: Alike) -> str:
    """A word of the policy, or the first names and how many more."""
    count = f" ({len(alike.points)})" if len(alike.points) > 1 else ""
    if alike.word:
        return alike.word + count
    more = len(alike.points) - SHOWN
    return ", ".join(alike.labels[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _changes(word: str, changes: tuple[Change, ...]) -> Iterator[str]:
    for change in changes[:CHANGES]:
        yield f"{word}: {class_name(change.src)} -> {class_name(change.dst)}: {_services(change.services)}"
    if len(changes) > CHANGES:
        yield f"{word}: and {len(changes) - CHANGES} more"


def _services(services: Iterable[Service]) -> str:
    return ", ".join(map(str, services))


def _rule(rule: Statement) -> str:
    place = f" (line {rule.place.line})" if not rule.peering and rule.path != "default" else ""
    return f"{rule.path}{place}: {_services(rule.services)}"
