"""A complete look at a cluster, compared with its devices by the database: who is online is written in one statement, and who has to be looked at one by one
is found in another. Of a million devices that are as they were nothing is read and nothing is written.

A node's facts are compared by one digest of them all, which the database makes of the device's row: nobody keeps one that could grow stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connection

if TYPE_CHECKING:
    from placement.devices import Sighting

JOIN_BY_HASH, JOIN_AS_USUAL = (
    "set local enable_nestloop = off",
    "set local enable_nestloop to default",
)  # nobody has analysed what was just copied
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
BETWEEN, WITHIN = "\x1f", "\x1e"
AT_ONCE = 2000  # lines of a COPY that are sent together
PATIENT, AS_USUAL = (
    "set local statement_timeout = '60s'; set local work_mem = '64MB'",
    "set local statement_timeout to default; set local work_mem to default",
)  # of a million devices that all come back at once every row is written

STAGE = "copy placement_sighting (cluster_id, node_id, online, last_seen, key_id, facts) from stdin"

# A device that is online has its row written every five to ten minutes, each in its own turn; whoever leaves was seen until the look before.
PRESENT = """
update placement_device d set
    online = s.online,
    first_online_at = case when s.online then coalesce(d.first_online_at, %(seen_at)s) else d.first_online_at end,
    last_seen = case when s.online then greatest(d.last_seen, %(seen_at)s)
        else greatest(d.last_seen, s.last_seen, case when d.online then %(before)s::timestamptz end) end,
    seen_at = greatest(d.seen_at, %(seen_at)s)
from placement_sighting s
where s.cluster_id = %(cluster)s and d.cluster_id = %(cluster)s and d.node_id = s.node_id and d.gone_at is null and s.online is not null and (
    d.online <> s.online
    or s.online and (d.first_online_at is null or d.last_seen is null
        or d.last_seen < %(seen_at)s - interval '5 minutes' - d.node_id %% 20 * interval '15 seconds')
    or not s.online and (s.last_seen > d.last_seen + interval '1 minute' or d.last_seen is null and s.last_seen is not null))"""

FACTS = """
md5(concat_ws(e'\\x1f', t.account, array_to_string(d.tags, e'\\x1e'), d.machine_key, d.node_key, coalesce(host(d.ipv4), ''), coalesce(host(d.ipv6), ''),
    d.hostname, d.name, case when d.ephemeral then 't' else 'f' end,
    coalesce((extract(epoch from d.key_expires_at) * 1000000)::bigint::text, '')))::uuid"""

# New ones, of which none was buried since; those that are not shown; those that differ, or whose key is another grant's.
COMPARED = f"""
select s.node_id, d.id, d.node_id, d.seen_at from
    (select node_id, online, key_id, facts from placement_sighting where cluster_id = %(cluster)s) s
    full join (
        select d.id, d.node_id, d.seen_at, d.grant_id, d.tenant_id, {FACTS} as facts from placement_device d join tenants_tenant t on t.id = d.tenant_id
        where d.cluster_id = %(cluster)s and d.gone_at is null
    ) d on d.node_id = s.node_id
    left join placement_grant g on g.cluster_id = %(cluster)s and g.key_id = s.key_id and g.tenant_id = d.tenant_id
where d.id is null and not exists (
        select from placement_device b where b.cluster_id = %(cluster)s and b.node_id = s.node_id and b.gone_at >= %(seen_at)s)
    or s.node_id is null and d.seen_at < %(seen_at)s
    or d.seen_at <= %(seen_at)s and (s.online is null or s.facts <> d.facts or g.id <> d.grant_id or g.id is not null and d.grant_id is null)
"""  # noqa: S608 - this page's own words


@dataclass
class Compared:
    """Nodes by their ids: shown and not known; known, but something of them differs; ids of devices that are not shown."""

    new: set[int] = field(default_factory=set)
    differing: set[int] = field(default_factory=set)
    missing: list[Any] = field(default_factory=list)


def compare(cluster_id: str, sightings: Iterable[Sighting], *, seen_at: datetime, before: datetime | None) -> Compared:
    """Write who is online; tell what is left to be looked at. `before`: when the look before this one began. In the caller's transaction."""
    told: dict[str, Any] = {"cluster": cluster_id, "seen_at": seen_at, "before": before}
    found = Compared()
    with connection.cursor() as cursor:
        with cursor.copy(STAGE) as copy:
            for lines in _lines(cluster_id, sightings):
                copy.write(lines)
        cursor.execute(PATIENT)
        cursor.execute(JOIN_BY_HASH)
        cursor.execute(PRESENT, told)
        cursor.execute(COMPARED, {name: told[name] for name in ("cluster", "seen_at")})
        for shown, device_id, node_id, _seen_at in cursor.fetchall():
            if device_id is None:
                found.new.add(shown)
            elif shown is None:
                found.missing.append(device_id)
            else:
                found.differing.add(node_id)
        cursor.execute(JOIN_AS_USUAL)
        cursor.execute(AS_USUAL)
        cursor.execute("delete from placement_sighting where cluster_id = %s", [cluster_id])
    return found


def _lines(cluster_id: str, sightings: Iterable[Sighting]) -> Iterator[bytes]:
    """Of COPY's text format, many at a time. None of these values holds a tab, a line's end or a backslash."""
    lines: list[str] = []
    for one in sightings:
        online = "\\N" if one.online is None else "t" if one.online else "f"
        last_seen = "\\N" if one.last_seen is None else one.last_seen.isoformat()
        key_id = "\\N" if one.key_id is None else one.key_id
        lines.append(f"{cluster_id}\t{one.node_id}\t{online}\t{last_seen}\t{key_id}\t{_digest(one)}\n")
        if len(lines) == AT_ONCE:
            yield "".join(lines).encode()
            lines.clear()
    yield "".join(lines).encode()


def _digest(one: Sighting) -> str:
    """What FACTS makes of a device that is as this node is shown."""
    expires = "" if one.key_expires_at is None else str((one.key_expires_at - EPOCH) // MICROSECOND)
    facts = (
        *(one.account, WITHIN.join(one.tags), one.machine_key, one.node_key, one.ipv4 or "", one.ipv6 or ""),
        *(one.hostname, one.name, "t" if one.ephemeral else "f", expires),
    )
    return hashlib.md5(BETWEEN.join(facts).encode(errors="replace"), usedforsecurity=False).hexdigest()
