"""Ranges of time and what repeats: calendar months in UTC, and years of twelve of them from the month in which a subscription began."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction


class Interval(StrEnum):
    """How often fees in advance fall due. Usage is always counted by calendar month."""

    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, order=True)
class Range:
    """[start, end), both aware. Raises: ValueError when it is empty or naive."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None or self.start >= self.end:
            raise ValueError(f"no range of time: {self.start} to {self.end}")

    @property
    def seconds(self) -> Fraction:
        """Exact; times have microseconds."""
        span = self.end - self.start
        return span.days * 86400 + span.seconds + Fraction(span.microseconds, 10**6)

    def clipped(self, start: datetime, end: datetime | None) -> Range | None:
        """What of it lies in [start, end); None is nothing."""
        first, last = max(self.start, start), self.end if end is None else min(self.end, end)
        return Range(first, last) if first < last else None

    def share(self, start: datetime, end: datetime | None) -> Fraction:
        """How much of it lies in [start, end): from 0 to 1."""
        part = self.clipped(start, end)
        return part.seconds / self.seconds if part else Fraction(0)


def month_of(moment: datetime) -> Range:
    """The calendar month in UTC."""
    return _months(moment.astimezone(UTC), 1)


def cycle_of(interval: Interval, anchor: datetime, moment: datetime) -> Range:
    """The cycle that a moment lies in. `anchor`: when the subscription began; years run from its month."""
    if interval == Interval.MONTH:
        return month_of(moment)
    first, at = anchor.astimezone(UTC), moment.astimezone(UTC)
    into = (at.year - first.year) * 12 + at.month - first.month
    return _months(_first(first, into // 12 * 12), 12)


def months_after(start: datetime, months: int) -> datetime:
    """The first moment of the month that comes so many after the one of `start`."""
    return _first(start.astimezone(UTC), months)


def _months(start: datetime, count: int) -> Range:
    return Range(_first(start, 0), _first(start, count))


def _first(moment: datetime, later: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + later, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)
