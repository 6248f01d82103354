"""Fees by time: flat ones and those of dedicated clusters, in advance with credits for time that did not come, or in arrears.

A fee in advance falls due when its tenure begins and at the start of every cycle, for the rest of that cycle; when the tenure ends within a cycle, the
rest is credited at once. A tenure is the time for which somebody pays: a phase, or a dedicated cluster within it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.rating import money
from billing.rating.cycles import Range
from billing.rating.lines import Line, What
from billing.rating.terms import Charged, Kind, Phase, PriceComponent
from billing.rating.used import Used


@dataclass(frozen=True)
class Tenure:
    """[start, end) within a phase, end None: until further notice."""

    start: datetime
    end: datetime | None
    cluster_id: str = ""


def fee_lines(phase: Phase, component: PriceComponent, used: Used | None, period: Range) -> Iterator[Line]:
    """What of a fee falls due in the period. `used` is needed for dedicated clusters alone."""
    for tenure in _tenures(phase, component, used):
        for cycle in _cycles(phase, period):
            if component.charged == Charged.ADVANCE:
                yield from _in_advance(phase, component, tenure, cycle, period)
            else:
                yield from _in_arrears(phase, component, tenure, cycle, period)


def _tenures(phase: Phase, component: PriceComponent, used: Used | None) -> Iterator[Tenure]:
    if component.kind == Kind.FLAT or used is None:
        yield Tenure(phase.start, phase.end)
        return
    for cluster_id, start, end in sorted(used.dedicated, key=lambda held: (held[1], held[0])):
        first = max(start, phase.start)
        last = min((moment for moment in (end, phase.end) if moment is not None), default=None)
        if last is None or first < last:
            yield Tenure(first, last, cluster_id)


def _cycles(phase: Phase, period: Range) -> Iterator[Range]:
    cycle = phase.cycle(period.start)
    while cycle.start < period.end:
        yield cycle
        cycle = phase.cycle(cycle.end)


def _in_advance(phase: Phase, component: PriceComponent, tenure: Tenure, cycle: Range, period: Range) -> Iterator[Line]:
    begin = max(tenure.start, cycle.start)
    if begin >= cycle.end or (tenure.end is not None and tenure.end <= begin):
        return
    if period.start <= begin < period.end:
        yield _line(phase, component, tenure, what=What.CHARGE, time=Range(begin, cycle.end), cycle=cycle, due=begin)
    if tenure.end is not None and period.start < tenure.end <= period.end and tenure.end < cycle.end:
        yield _line(phase, component, tenure, what=What.CREDIT, time=Range(tenure.end, cycle.end), cycle=cycle, due=tenure.end)


def _in_arrears(phase: Phase, component: PriceComponent, tenure: Tenure, cycle: Range, period: Range) -> Iterator[Line]:
    time = cycle.clipped(tenure.start, tenure.end)
    if time and period.start < time.end <= period.end:
        yield _line(phase, component, tenure, what=What.CHARGE, time=time, cycle=cycle, due=period.end)


def _line(phase: Phase, component: PriceComponent, tenure: Tenure, *, what: What, time: Range, cycle: Range, due: datetime) -> Line:
    share = time.seconds / cycle.seconds
    amount = money.rounded(money.in_minor(component.unit_price, phase.terms.currency) * share)
    return Line(
        what=what,
        component=component.key,
        kind=component.kind,
        charged=component.charged,
        plan=phase.terms.plan,
        version=phase.terms.version,
        phase=phase.start,
        time=time,
        due=due,
        quantity=Decimal(1 if what == What.CHARGE else -1),
        unit="cluster" if component.kind == Kind.DEDICATED_CLUSTER else phase.terms.interval,
        unit_price=component.unit_price,
        amount=amount if what == What.CHARGE else -amount,
        share=share,
        inclusive=phase.terms.inclusive,
        cluster_id=tenure.cluster_id,
        begun=max(tenure.start, cycle.start) if what == What.CREDIT else None,
    )
