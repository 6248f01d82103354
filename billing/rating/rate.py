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
    for phase in stretches(phases):
        if phase.terms.currency != currency:
            raise NotRateable(f"the terms are in {phase.terms.currency}, the lines were to be in {currency}")
        if not phase.trial:
            lines += [(line, phase.coupons) for line in _charges(phase, usage, period) if line.amount]
    lines.sort(key=lambda pair: _order(pair[0]))
    return (*(line for line, _ in lines), *discounts(lines, currency))


def ranges(phases: Iterable[Phase], period: Range) -> tuple[Range, ...]:
    """The ranges of the period for which usage is wanted, in order: one for each stretch without a change. Raises: NotRateable."""
    parts = (period.clipped(phase.start, phase.end) for phase in stretches(phases))
    return tuple(part for part in parts if part)


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


def _charges(phase: Phase, usage: Mapping[Range, Used], period: Range) -> Iterator[Line]:
    time = period.clipped(phase.start, phase.end)
    if time is None:
        return
    for component in phase.components:
        if component.kind == Kind.FLAT:
            yield from fee_lines(phase, component, None, period)
            continue
        if time not in usage:
            raise NotRateable(f"nobody has counted what was used from {time.start} to {time.end}")
        if component.kind in USAGE:
            yield from usage_lines(phase, component, usage[time], time, period)
        else:
            yield from fee_lines(phase, component, usage[time], period)


def _order(line: Line) -> tuple[object, ...]:
    place = list(Kind).index(line.kind) if line.kind else 0
    return line.due, line.phase, place, line.component, line.cluster_id, line.time, -line.unit_price
