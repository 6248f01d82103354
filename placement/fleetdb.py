"""What ACS reads and changes in a fleet's database as its worker: rows of nodes and keys, expirations, the outbox.

The default fleet is reached over Django's own connection (one transaction with ACS's tables), another one over its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg
from django.db import connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from placement.devices import Sighting, account_of
from placement.errors import ClusterSilent, ClusterUnreachable
from placement.headscale.fleet.connect import connect, conninfo_of
from placement.models import Cluster, Fleet
from placement.settling import KeyFact


class Cursor(Protocol):
    """What psycopg's and Django's cursors have in common."""

    def execute(self, query: Any, params: Any = None) -> Any: ...
    def fetchall(self) -> list[Any]: ...


@contextmanager
def cursor_of(fleet: Fleet) -> Iterator[Cursor]:
    """A worker's cursor on the fleet's database. On our own its work belongs to the caller's transaction; elsewhere it commits at the end."""
    if fleet.is_own:
        with connection.cursor() as cursor:
            yield cursor
        return
    with connect(conninfo_of(fleet, "acs_worker")) as link, link.transaction(), link.cursor() as cursor:
        yield cursor


@contextmanager
def elsewhere(cluster: Cluster, role: str, *, seconds: float = 0) -> Iterator[Cursor]:
    """A cursor on the database of a fleet that is not in ours. With `seconds`, connecting and each statement take that long at most.

    Raises: ClusterUnreachable, ClusterSilent.
    """
    if cluster.fleet is None:
        raise ValueError(f"{cluster.cluster_id} is an external cluster: it has no fleet database")
    try:
        link = connect(_impatient(conninfo_of(cluster.fleet, role), seconds))
    except psycopg.OperationalError as error:
        raise ClusterUnreachable(cluster.cluster_id, "the fleet's database cannot be reached") from error
    try:
        with link, link.transaction(), link.cursor() as cursor:
            yield cursor
    except psycopg.OperationalError as error:
        raise ClusterSilent(cluster.cluster_id, "the fleet's database went away") from error


def _impatient(conninfo: str, seconds: float) -> str:
    if not seconds:
        return conninfo
    given = str(conninfo_to_dict(conninfo).get("options") or "")
    milliseconds = math.ceil(seconds * 1000)
    return make_conninfo(
        conninfo,
        connect_timeout=math.ceil(seconds),
        tcp_user_timeout=milliseconds,
        options=f"{given} -c statement_timeout={milliseconds}".strip(),
    )


def listen(fleet: Fleet) -> psycopg.Connection[Any]:
    """A connection outside of any pool on which `notifies()` rings when the outbox has grown."""
    link = connect(conninfo_of(fleet, "acs_worker"))
    link.execute("listen fleet")
    return link


NODES = """
select n.id, coalesce(u.name, ''), n.tags, n.auth_key_id, n.machine_key, n.node_key, nullif(n.ipv4, ''), nullif(n.ipv6, ''), coalesce(n.hostname, ''),
    coalesce(n.given_name, ''), coalesce(k.ephemeral, false), n.created_at, n.last_seen, n.expiry
from headscale.nodes n
left join headscale.users u on u.id = n.user_id
left join headscale.pre_auth_keys k on k.id = n.auth_key_id
where n.cluster_id = %s and n.id = any(%s) and n.deleted_at is null
"""


def nodes(cursor: Cursor, cluster_id: str, node_ids: Sequence[int]) -> list[Sighting]:
    cursor.execute(NODES, [cluster_id, list(node_ids)])
    return [_sighting(row) for row in cursor.fetchall()]


def _sighting(row: tuple[Any, ...]) -> Sighting:
    node_id, user, tags_text, key_id, machine_key, node_key, ipv4, ipv6, hostname, name, ephemeral, created_at, last_seen, expiry = row
    tags = tuple(json.loads(tags_text or "[]") or ())
    return Sighting(
        node_id=node_id,
        account=account_of(user, tags),
        key_id=key_id,
        machine_key=machine_key,
        node_key=node_key,
        ipv4=ipv4,
        ipv6=ipv6,
        hostname=hostname,
        name=name,
        tags=tags,
        ephemeral=ephemeral,
        joined_at=created_at,
        last_seen=last_seen,
        key_expires_at=expiry if expiry and expiry.year > 1 else None,
    )


OWNERS = """
select n.id, coalesce(u.name, ''), n.tags from headscale.nodes n left join headscale.users u on u.id = n.user_id
where n.cluster_id = %s and n.deleted_at is null
"""


def owners(cursor: Cursor, cluster_id: str) -> dict[int, tuple[str, tuple[str, ...]]]:
    """The user's name (empty for none) and the tags of every node, by its id."""
    cursor.execute(OWNERS, [cluster_id])
    return {node_id: (user, tuple(json.loads(tags or "[]") or ())) for node_id, user, tags in cursor.fetchall()}


def key_facts(cursor: Cursor, cluster_id: str, key_ids: Sequence[int]) -> dict[int, KeyFact]:
    cursor.execute(
        "select id, used, expiration from headscale.pre_auth_keys where cluster_id = %s and id = any(%s)", [cluster_id, list(key_ids)]
    )
    return {key_id: KeyFact(bool(used), expiration) for key_id, used, expiration in cursor.fetchall()}


def expire_keys(cursor: Cursor, cluster_id: str, key_ids: Sequence[int], *, now: datetime) -> None:
    """Unused keys that must not be redeemed any more."""
    cursor.execute(
        "update headscale.pre_auth_keys set expiration = %s where cluster_id = %s and id = any(%s) and not used and expiration > %s",
        [now, cluster_id, list(key_ids), now],
    )


@dataclass(frozen=True)
class Event:
    """One entry of the outbox."""

    id: int
    cluster_id: str
    kind: str
    node_id: int | None
    key_id: int | None


TAKE = """
delete from headscale.event where id in (select id from headscale.event order by id for update skip locked limit %s)
returning id, cluster_id, kind, node_id, key_id
"""


def take_events(cursor: Cursor, limit: int) -> list[Event]:
    """Take entries out of the outbox; they are gone when the transaction commits. Deleting, never a cursor over ids: they commit out of order."""
    cursor.execute(TAKE, [limit])
    return [Event(*row) for row in cursor.fetchall()]
