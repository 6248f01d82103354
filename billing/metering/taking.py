"""One poll of a cluster, taken in: what its nodes show becomes sessions that open and close.

    locked -> stale? nothing -> a gap? all close -> the nodes, staged -> who left closes, who is in doubt waits, who came opens -> known until t

Only transitions are written: of a million devices that are as they were, nothing. A poll that was delivered twice, late or out of order is a no-op. A server
that restarted ends nobody's time: who shows offline right after it is in doubt until it is seen online again, or for TRUST at most; then its time ends where it
was last certain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

import structlog
from django.db import connection, transaction

from billing.metering import judging, partitions
from placement.presence import JOIN_AS_USUAL, JOIN_BY_HASH

log = structlog.get_logger(__name__)

GAP = timedelta(seconds=180)  # longer than that between two polls, and nobody knows
TRUST = timedelta(seconds=180)  # a restart puts in doubt; nobody's time runs for longer than this on trust
CLOCKS_DIFFER = timedelta(seconds=30)  # a server whose clock is further off is not believed when it says how long ago something was
AT_ONCE = 2  # so many sessions that all end at once are a server that forgot them, not devices that left


class Sample(NamedTuple):
    """One node as a poll showed it."""

    node_id: int
    online: bool
    last_seen: datetime | None = None


@dataclass(frozen=True)
class Poll:
    """A complete look at a cluster. `at`: our clock when the request began. `server_started`: None where the server does not say.

    `clock_off`: server's clock minus ours, None where it is not known.
    """

    cluster_id: str
    at: datetime
    samples: Iterable[Sample]
    server_started: datetime | None = None
    clock_off: timedelta | None = None


@dataclass(frozen=True)
class Taken:
    """What a poll changed: sessions opened, closed and put in doubt; whether it came after a gap or after the server's restart."""

    opened: int
    closed: int
    doubtful: int
    after_gap: bool
    restarted: bool


@dataclass(frozen=True)
class _Meter:
    last_ok: datetime | None
    server_started: datetime | None


def take(poll: Poll) -> Taken | None:
    """Take a poll in, in the caller's transaction. None where it is not newer than what was taken in before."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("a poll is taken in within one transaction")
    at = poll.at.replace(microsecond=0)
    meter = _lock(poll.cluster_id)
    if is_stale(at, meter.last_ok):
        return None
    after_gap = meter.last_ok is not None and is_gap(at, meter.last_ok)
    watched_from = at if meter.last_ok is None or after_gap else meter.last_ok
    facts: dict[str, Any] = {"cluster": poll.cluster_id, "t": at, "last": meter.last_ok or at, "trust": TRUST}
    facts["horizon"] = datetime.combine(partitions.horizon(now=at), time.min, UTC)
    _make_room(facts)
    _run(JOIN_BY_HASH, {})
    closed = _run(judging.CLOSE.format(judged=judging.UNWATCHED), facts) if after_gap else 0
    online, latest = _stage(poll)
    restarted = _restarted(poll, meter, online)
    right = poll.clock_off is None or abs(poll.clock_off) <= CLOCKS_DIFFER
    facts |= {"restarted": restarted, "clock_right": right and (latest is None or latest <= at + CLOCKS_DIFFER * 2)}
    doubtful = _run(judging.DOUBT, facts) if restarted else 0
    _run(judging.TRUST_AGAIN, facts)
    closed += _run(judging.CLOSE.format(judged=judging.JUDGED), facts)
    opened = _run(judging.OPEN, facts)
    _settle(facts, watched_from, restarted=restarted, server_started=poll.server_started)
    if restarted:
        log.info("server_restarted", cluster_id=poll.cluster_id, doubtful=doubtful)
    return Taken(opened, closed, doubtful, after_gap, restarted)


def is_stale(at: datetime, last_ok: datetime | None) -> bool:
    return last_ok is not None and at <= last_ok


def is_gap(at: datetime, last_ok: datetime) -> bool:
    return at - last_ok > GAP


def _lock(cluster_id: str) -> _Meter:
    with connection.cursor() as cursor:
        cursor.execute("insert into billing_meter (cluster_id) values (%s) on conflict do nothing", [cluster_id])
        cursor.execute("select last_ok, server_started from billing_meter where cluster_id = %s for update", [cluster_id])
        return _Meter(*cursor.fetchone())


def _make_room(facts: dict[str, Any]) -> None:
    """A month for every part of a session that this poll may close."""
    with connection.cursor() as cursor:
        cursor.execute("select min(began) from billing_opensession where cluster_id = %s", [facts["cluster"]])
        first = cursor.fetchone()[0]
    partitions.make(max(first or facts["t"], facts["horizon"]), facts["t"])


def _stage(poll: Poll) -> tuple[int, datetime | None]:
    """Copy the nodes to where SQL can join them, a row at a time: memory does not grow with their number.

    Returns how many are online, and the latest moment at which the server says that it saw one.
    """
    online, latest = 0, None
    with connection.cursor() as cursor, cursor.copy("copy billing_sample (cluster_id, node_id, online, last_seen) from stdin") as copy:
        for node_id, is_online, last_seen in poll.samples:
            online += is_online
            if last_seen is not None and (latest is None or last_seen > latest):
                latest = last_seen
            copy.write_row((poll.cluster_id, node_id, is_online, last_seen))
    return online, latest


def _restarted(poll: Poll, meter: _Meter, online: int) -> bool:
    """Another start than before, or everybody offline at once: the counters were read a moment before the nodes, and some servers show none."""
    if poll.server_started and meter.server_started and abs(poll.server_started - meter.server_started) > timedelta(seconds=2):
        return True
    if online:
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from (select from billing_opensession where cluster_id = %s and certain_until is null limit %s) open",
            [poll.cluster_id, AT_ONCE],
        )
        return int(cursor.fetchone()[0]) >= AT_ONCE


def _run(statement: str, facts: dict[str, Any]) -> int:
    """Returns the number that a select tells, or how many rows were written."""
    with connection.cursor() as cursor:
        cursor.execute(statement, _named_in(statement, facts))
        return int(cursor.fetchone()[0]) if cursor.description else int(cursor.rowcount)


def _named_in(statement: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if f"%({name})s" in statement}


def _settle(facts: dict[str, Any], watched_from: datetime, *, restarted: bool, server_started: datetime | None) -> None:
    """The cluster is known until t: its meter, the ledger of what was watched, and the days whose sums are older than that now."""
    told = facts | {"since": watched_from, "restarted": restarted, "started": server_started, "touched": facts["last"] - TRUST - GAP}
    for statement in (
        "update billing_meter set last_ok = %(t)s, server_started = coalesce(%(started)s, server_started) where cluster_id = %(cluster)s",
        "insert into billing_coverage (cluster_id, since, until, restarted) values (%(cluster)s, %(since)s, %(t)s, %(restarted)s)",
        "delete from billing_sample where cluster_id = %(cluster)s",
        MARK.format(first="%(touched)s", last="%(t)s"),
        JOIN_AS_USUAL,
    ):
        _run(statement, told)


MARK = """
insert into billing_dirtyday (cluster_id, day, marks)
select %(cluster)s, day::date, 1 from generate_series(date_trunc('day', {first}::timestamptz, 'UTC'), {last}::timestamptz, interval '1 day') day
on conflict (cluster_id, day) do update set marks = billing_dirtyday.marks + 1"""


def mark(cluster_id: str, first: datetime, last: datetime) -> None:
    """The cluster's days from `first` to `last` have to be rebuilt."""
    _run(MARK.format(first="%(first)s", last="%(last)s"), {"cluster": cluster_id, "first": first, "last": last})
