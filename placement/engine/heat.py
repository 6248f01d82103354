"""What a server's counters say of its load: rates between two readings, averages that rise fast and fall slowly, and the breaker that they open.

Pure: a reading and what was known before in, what is known now out. Late and repeated readings change nothing, nor does one that follows
the last too closely: the server's counters tick in hundredths of a second, and two looks at one moment are not two hot samples in a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

BUSY_CPU = 0.70  # of its cores: a server that uses more has no reserve for a storm of reconnects
RISE, FALL = 10.0, 120.0  # seconds in which an average covers 63 % of the way to a higher, or a lower, value
OPENS_AT, OPENS_AFTER = 1.0, 2  # measured utilisation, samples in a row
CLOSES_AT, CLOSES_AFTER = 0.8, timedelta(minutes=5)
TOO_SOON = timedelta(seconds=0.5)  # after the last reading
CEILING = 10.0  # times its limit is the most that enters an average: a counter that jumped is forgotten in minutes, not in hours

Buckets = tuple[tuple[float, float], ...]  # (upper bound in seconds, how many up to it), ascending, the last bound infinite


@dataclass(frozen=True, slots=True)
class Limits:
    """What the parts of a load are measured against. `max_memory` in bytes; None: memory is not weighed.

    `watched`: after a longer gap between two samples nobody knows what the server did in it.
    """

    cores: float = 1.0
    max_sessions: int = 500
    max_queue: int = 100
    max_peer_seconds: float = 2.0
    max_memory: int | None = None
    watched: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Reading:
    """A server's counters at one moment: CPU seconds and peer calculations since its start, devices online, waiting writes, bytes."""

    at: datetime
    cpu_seconds: float
    sessions: int
    queue: float
    buckets: Buckets
    memory: int


@dataclass(frozen=True, slots=True)
class Warmth:
    """What is known of a server's load. `cpu` in cores, `peer_seconds` the p95 of a peer calculation; both, `queue` and `sessions_smooth` are averages."""

    at: datetime
    cpu_seconds: float
    counts: tuple[float, ...]
    cpu: float
    sessions: int
    sessions_smooth: float
    queue: float
    peer_seconds: float
    memory: int
    measured: float
    breaker_open: bool = False
    above: int = 0
    cool_since: datetime | None = None


def step(before: Warmth | None, reading: Reading, limits: Limits) -> Warmth:
    """The load after this reading. The first one knows no rates: they begin at nothing."""
    if before is not None and reading.at - before.at < TOO_SOON:
        return before
    seconds = (reading.at - before.at).total_seconds() if before else 0.0
    cpu, peers = _rates(before, reading, limits, seconds)
    after = Warmth(
        at=reading.at,
        cpu_seconds=reading.cpu_seconds,
        counts=tuple(count for _, count in reading.buckets),
        cpu=_towards(before.cpu if before else None, cpu, limits.cores * BUSY_CPU, seconds),
        sessions=reading.sessions,
        sessions_smooth=_towards(before.sessions_smooth if before else None, reading.sessions, limits.max_sessions, seconds),
        queue=_towards(before.queue if before else None, max(0.0, reading.queue), limits.max_queue, seconds),
        peer_seconds=_towards(before.peer_seconds if before else None, peers, limits.max_peer_seconds, seconds),
        memory=reading.memory,
        measured=0.0,
    )
    return _judged(before, replace(after, measured=measured(after, limits)), limits)


def measured(warmth: Warmth, limits: Limits) -> float:
    """The largest part: what runs out first."""
    parts = [
        warmth.cpu / limits.cores / BUSY_CPU,
        warmth.sessions_smooth / limits.max_sessions,
        warmth.queue / limits.max_queue,
        warmth.peer_seconds / limits.max_peer_seconds,
    ]
    if limits.max_memory:
        parts.append(warmth.memory / limits.max_memory)
    return max(parts)


def _rates(before: Warmth | None, reading: Reading, limits: Limits, seconds: float) -> tuple[float | None, float | None]:
    """Cores in use and p95 of a peer calculation since the reading before; None where that cannot be known.

    Counters that fell belong to a server that started anew in between: all that they show is of the interval. If that is more than its cores could
    do in it, they are those of a server that has run for longer than we looked away, and tell nothing of the interval.
    """
    if before is None:
        return None, None
    counts = tuple(count for _, count in reading.buckets)
    restarted = (
        reading.cpu_seconds < before.cpu_seconds
        or len(counts) != len(before.counts)
        or any(now < then for now, then in zip(counts, before.counts, strict=False))
    )
    used = reading.cpu_seconds - (0.0 if restarted else before.cpu_seconds)
    if restarted and used > seconds * limits.cores:
        return None, None
    known = (0.0,) * len(counts) if restarted else before.counts
    fresh = [(bound, count - then) for (bound, count), then in zip(reading.buckets, known, strict=True)]
    slow = quantile(fresh, 0.95)  # None: nothing was computed, so nobody waited
    return max(0.0, used) / seconds, _finite(slow, fresh) if slow is not None else 0.0


def _finite(value: float, buckets: Sequence[tuple[float, float]]) -> float:
    """Past the largest finite bound nobody knows how far: twice the bound is far enough."""
    return value if math.isfinite(value) else 2 * max((bound for bound, _ in buckets if math.isfinite(bound)), default=0.0)


def _towards(average: float | None, value: float | None, limit: float, seconds: float) -> float:
    """The average after a value that held for so many seconds. An unknown value leaves it as it was."""
    if value is None:
        return average or 0.0
    value = min(float(value), CEILING * limit)
    if average is None:
        return value
    return average + (1 - math.exp(-seconds / (RISE if value > average else FALL))) * (value - average)


def _judged(before: Warmth | None, after: Warmth, limits: Limits) -> Warmth:
    """The breaker: opens on two hot samples in a row, closes after five watched minutes of calm."""
    watched = before is not None and after.at - before.at <= limits.watched
    above = (before.above if before and watched else 0) + 1 if after.measured >= OPENS_AT else 0
    if before is None or not before.breaker_open:
        return replace(after, above=above, breaker_open=above >= OPENS_AFTER)
    if after.measured > CLOSES_AT:
        return replace(after, above=above, breaker_open=True)
    since = before.cool_since if before.cool_since is not None and watched else after.at
    return replace(after, above=above, breaker_open=after.at - since < CLOSES_AFTER, cool_since=since)


def quantile(buckets: Iterable[tuple[float, float]], share: float) -> float | None:
    """The value below which `share` of a histogram's observations lie, by linear interpolation in its bucket, as Prometheus does.

    None without observations; infinity where it lies past the last finite bound.
    """
    known = list(buckets)
    if not known or known[-1][1] <= 0:
        return None
    wanted, below, seen = share * known[-1][1], 0.0, 0.0
    for bound, count in known:
        if count >= wanted:
            return math.inf if math.isinf(bound) else below + (bound - below) * (wanted - seen) / (count - seen)
        below, seen = bound, count
    return math.inf
