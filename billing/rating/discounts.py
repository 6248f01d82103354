"""Coupons, taken off the lines that fell due together, so that what is charged now and what is charged later each have their own discount.

Percentages come first, then amounts, by code. A percentage counts for the part of a line's time in which the coupon is good, for credits too: what was not
paid is not given back. An amount is taken off once a period; a credit gives back of it what it was taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.rating import money
from billing.rating.cycles import Range
from billing.rating.lines import Line, What
from billing.rating.terms import Coupon


@dataclass
class Couponed:
    """A line with the coupons of its phase, and what of its amount is left to take off."""

    line: Line
    coupons: tuple[Coupon, ...]
    left: Fraction


def discounts(lines: Sequence[tuple[Line, tuple[Coupon, ...]]], currency: str) -> Iterator[Line]:
    """The lines of all coupons, in the order in which they fall due."""
    groups: dict[tuple[datetime, bool], list[Couponed]] = {}
    for line, held in sorted(lines, key=lambda pair: pair[0].due):
        groups.setdefault((line.due, line.inclusive), []).append(Couponed(line, held, Fraction(line.amount)))
    totals = {key: sum(each.line.amount for each in group) for key, group in groups.items()}
    for coupon in sorted({coupon for _, held in lines for coupon in held}, key=lambda one: (one.percent is None, one.code, one.start)):
        spendable = coupon.amount or 0
        for key, group in groups.items():
            theirs = [each for each in group if coupon in each.coupons and each.line.time.share(coupon.start, coupon.end)]
            if not theirs:
                continue
            if coupon.percent is not None:
                off = _percentage(coupon, theirs, totals[key])
            else:
                off = _amount(totals[key], spendable, coupon.amount or 0)
                spendable -= off
            totals[key] -= off
            if off:
                yield _line(coupon, theirs, off, currency)


def _percentage(coupon: Coupon, theirs: list[Couponed], total: int) -> int:
    """What is taken off, never more than is left."""
    exact = Fraction(0)
    for each in theirs:
        cut = each.left * Fraction(coupon.percent or 0) / 100 * each.line.time.share(coupon.start, coupon.end)
        each.left -= cut
        exact += cut
    off = money.rounded(exact)
    return min(off, max(total, 0)) if off > 0 else max(off, min(total, 0))


def _amount(total: int, spendable: int, whole: int) -> int:
    """What is taken off; less than nothing where a credit gives back."""
    return min(total, spendable) if total > 0 else max(total, spendable - whole)


def _line(coupon: Coupon, theirs: list[Couponed], off: int, currency: str) -> Line:
    first = theirs[0].line
    in_percent = coupon.percent is not None
    return Line(
        what=What.COUPON,
        component=coupon.code,
        kind=None,
        charged=first.charged,
        plan=first.plan,
        version=first.version,
        phase=first.phase,
        time=Range(min(each.line.time.start for each in theirs), max(each.line.time.end for each in theirs)),
        due=first.due,
        quantity=coupon.percent if coupon.percent is not None else Decimal(1),
        unit="percent" if in_percent else "coupon",
        unit_price=money.in_major(-off, currency),
        amount=-off,
        inclusive=first.inclusive,
        begun=first.begun if len({each.line.begun for each in theirs}) == 1 else None,
    )
