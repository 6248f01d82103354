"""What phases and usage cost in a period: the one function behind previews, invoices and corrections.

A period is a calendar month in UTC. Charges come first as they fall due, then coupons; a tenant's balance is spent on the total (billing/rating/totals.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from billing.rating.cycles import Range
from billing.rating.discounts import discounts
from billing.rating.fees import fee_lines
from billing.rating.lines import Line
from billing.rating.terms import USAGE, Coupon, Kind, Phase
from billing.rating.usage import usage_lines
from billing.rating.used import Used

FAR = datetime.max.replace(tzinfo=UTC)


class NotRateable(ValueError):
    """Phases overlap, are in another currency, or nobody has counted what was used in one of their ranges."""


def rate(phases: Iterable[Phase], usage: Mapping[Range, Used], period: Range, currency: str) -> tuple[Line, ...]:
    """Every line that falls due in the period, ordered by when, coupons last. `usage` has an entry for each of `ranges(phases, period)`.

    What comes to nothing has no line, so that a free plan has none. Raises: NotRateable.
    """
    lines: list[tuple[Line, tuple[Coupon, ...]]] = []
    for phase in _by_component(phases):
        if phase.terms.currency != currency:
            raise NotRateable(f"the terms are in {phase.terms.currency}, the lines were to be in {currency}")
        lines += [(line, phase.coupons) for line in _charges(phase, usage, period) if line.amount]
    lines.sort(key=lambda pair: _order(pair[0]))
    return (*(line for line, _ in lines), *discounts(lines, currency))


def ranges(phases: Iterable[Phase], period: Range) -> tuple[Range, ...]:
    """The ranges of the period for which usage is wanted, in order: for each component that needs it one for each stretch in which nothing of it
    changes, so that they may overlap. None for a trial. Raises: NotRateable."""
    wanted = {period.clipped(phase.start, phase.end) for phase in _by_component(phases) if phase.components[0].kind != Kind.FLAT}
    return tuple(sorted(part for part in wanted if part))


def stretches(phases: Iterable[Phase]) -> list[Phase]:
    """Phases in order, those that go on without a change joined. Raises: NotRateable when two overlap."""
    joined: list[Phase] = []
    for phase in sorted(phases, key=lambda each: (each.start, each.end or FAR)):
        before = joined[-1] if joined else None
        if before and (before.end is None or before.end > phase.start):
            raise NotRateable(f"two phases overlap at {phase.start}")
        if before and before.goes_on_as(phase):
            joined[-1] = replace(before, end=phase.end)
        else:
            joined.append(phase)
    return joined


def _by_component(phases: Iterable[Phase]) -> list[Phase]:
    """Phases of one component each, overrides applied, joined where nothing of it changes: a promise about hours cuts no fee in two."""
    whole = stretches(phases)
    keys = dict.fromkeys(component.key for phase in whole for component in phase.components)
    return [part for key in keys for part in stretches(only for phase in whole for only in _only(phase, key))]


def _only(phase: Phase, key: str) -> Iterator[Phase]:
    held = tuple(component for component in phase.components if component.key == key)
    if held and not phase.trial:
        yield replace(phase, terms=replace(phase.terms, components=held), overrides=())


def _charges(phase: Phase, usage: Mapping[Range, Used], period: Range) -> Iterator[Line]:
    time, (component,) = period.clipped(phase.start, phase.end), phase.components
    if time is None:
        return
    if component.kind == Kind.FLAT:
        yield from fee_lines(phase, component, None, period)
        return
    if time not in usage:
        raise NotRateable(f"nobody has counted what was used from {time.start} to {time.end}")
    if component.kind in USAGE:
        yield from usage_lines(phase, component, usage[time], time, period)
    else:
        yield from fee_lines(phase, component, usage[time], period)


def _order(line: Line) -> tuple[object, ...]:
    place = list(Kind).index(line.kind) if line.kind else 0
    return line.due, line.phase, place, line.component, line.cluster_id, line.time, -line.unit_price
