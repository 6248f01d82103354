"""The month or day that a page shows, as its address names it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.http import Http404

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Period:
    """From `start` to `end`, the present moment at the latest; `before` and `after` name its neighbours in addresses, `after` empty where it has not begun."""

    name: str
    start: datetime
    end: datetime
    before: str
    after: str

    @classmethod
    def of_month(cls, text: str, *, now: datetime) -> Period:
        """Raises: Http404 for what is no month, or has not begun."""
        start = _read(text, "%Y-%m", now)
        return cls._of(start, (start + 31 * DAY).replace(day=1), start - DAY, "%Y-%m", now)

    @classmethod
    def of_day(cls, text: str, *, now: datetime) -> Period:
        """Raises: Http404 for what is no day, or has not begun."""
        start = _read(text, "%Y-%m-%d", now)
        return cls._of(start, start + DAY, start - DAY, "%Y-%m-%d", now)

    @classmethod
    def _of(cls, start: datetime, next_one: datetime, before: datetime, pattern: str, now: datetime) -> Period:
        after = next_one.strftime(pattern) if next_one < now else ""
        return cls(start.strftime(pattern), start, min(next_one, now.replace(microsecond=0)), before.strftime(pattern), after)


def _read(text: str, pattern: str, now: datetime) -> datetime:
    try:
        start = datetime.strptime(text or now.astimezone(UTC).strftime(pattern), pattern).replace(tzinfo=UTC)
    except ValueError:
        raise Http404 from None
    if not datetime(2000, 1, 2, tzinfo=UTC) <= start < now:
        raise Http404
    return start
