"""Try, logged in as each cluster's server, what it must not be able to do. All that is tried is rolled back.

A bystander cluster's rows are put in place for the time of the probe, so that there is something to steal. Nobody hears of them: the
transaction that writes them takes their events out of the outbox.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from placement.headscale.fleet import connect, roles, schema
from placement.headscale.fleet.connect import Connection

BYSTANDER = "acsprobe"
STAND_IN = "acsprobeguest"
OWNED = ("users", "nodes", "pre_auth_keys", "policies", "api_keys")
LOCK = 0x41435350  # one probe at a time


@dataclass(frozen=True)
class Attempt:
    """A statement that must be refused or, if `touches_nothing`, find no row."""

    title: str
    query: str
    touches_nothing: bool = False


def _each(title: str, query: str, *, touches_nothing: bool = False, tables: tuple[str, ...] = OWNED) -> list[Attempt]:
    return [Attempt(title.replace("TABLE", table), query.replace("TABLE", table), touches_nothing) for table in tables]


ATTEMPTS = [
    *_each("read TABLE of another cluster", "select 1 from TABLE where cluster_id = %(bystander)s", touches_nothing=True),
    *_each(
        "read TABLE of any other",
        "select 1 from TABLE where cluster_id <> %(me)s",
        touches_nothing=True,
        tables=("pre_auth_keys", "policies", "api_keys"),
    ),
    *_each(
        "change TABLE of another cluster", "update TABLE set cluster_id = %(me)s where cluster_id = %(bystander)s", touches_nothing=True
    ),
    *_each("delete TABLE of another cluster", "delete from TABLE where cluster_id = %(bystander)s", touches_nothing=True),
    *_each("write TABLE for another cluster", "insert into TABLE (cluster_id) values (%(bystander)s)"),
    Attempt(
        "give its own row away",
        "insert into users (name) values ('acsprobe'); update users set cluster_id = %(bystander)s where name = 'acsprobe'",
    ),
    Attempt("give its own row a new id", "insert into users (name) values ('acsprobe'); update users set id = 1 where name = 'acsprobe'"),
    Attempt("hang a node on another cluster's user", "insert into nodes (user_id) values (%(user)s); set constraints all immediate"),
    Attempt("hang a key on another cluster's user", "insert into pre_auth_keys (user_id) values (%(user)s); set constraints all immediate"),
    Attempt("take an address outside its prefixes", "insert into nodes (ipv4) values ('192.0.2.1')"),
    Attempt("use an id that was not given out", "insert into users (id) values (9000000000)"),
    Attempt("raise the version", "update database_versions set version = 'v99.0.0'"),
    Attempt("read the outbox", "select 1 from headscale.event"),
    Attempt("open an adoption", "insert into headscale.adoption values (%(me)s, %(node)s, now() + interval '1 hour')"),
    Attempt("widen its prefixes", "insert into headscale.prefix values (%(me)s, '0.0.0.0/0')"),
    Attempt("read past row security", "set local row_security = off; select 1 from nodes"),
    Attempt("make a temporary table", "create temporary table nodes (id bigint)"),
    Attempt("make a table", "create table headscale.loot (id bigint)"),
    Attempt("make a function", "create function headscale.loot() returns int language sql as 'select 1'"),
    Attempt("act as the schema's owner", f"set role {roles.SCHEMA_OWNER}"),
    *(Attempt(f"act as {role}", f"set role {role}") for role in roles.ACS_ROLES),
    Attempt("log in as another without a login", "set session authorization hs_" + BYSTANDER),
]


def run(connection: Connection, conninfo: str, clusters: list[str]) -> tuple[str, list[str]]:
    """Returns what was tried, in words, and what went through that must not."""
    reasons: list[str] = []
    with _alone(connection), _bystander(connection) as rows:
        if any(roles.wants_password(conninfo, roles.login_of(cluster)) for cluster in clusters[:1]):
            with _guest(connection, conninfo) as login:
                reasons += [f"a guest's login could {what}" for what in _try_all(connection, login, STAND_IN, rows)]
            return (
                f"{len(ATTEMPTS)} attempts under a login made for them (the database asks for passwords that only the servers know)",
                reasons,
            )
        for cluster in clusters:
            login = connect.as_role(conninfo, roles.login_of(cluster))
            reasons += [f"hs_{cluster} could {what}" for what in _try_all(connection, login, cluster, rows)]
    return f"{len(ATTEMPTS)} attempts under each of {len(clusters)} logins", reasons


def _try_all(owner: Connection, login: str, cluster: str, rows: dict[str, int]) -> Iterator[str]:
    facts = {"me": cluster, "bystander": BYSTANDER, **rows}
    try:
        server = connect.connect(login)
    except psycopg.OperationalError as error:
        yield f"not log in: {error}"
        return
    with server:
        yield from (attempt.title for attempt in ATTEMPTS if _goes_through(server, attempt, facts))
        yield from _reads_too_much(owner, server, cluster)


def _goes_through(server: Connection, attempt: Attempt, facts: dict[str, Any]) -> bool:
    try:
        with server.transaction(force_rollback=True):
            for statement in attempt.query.split("; "):
                cursor = server.execute(statement.encode(), facts)
            return cursor.rowcount != 0 if attempt.touches_nothing else True
    except psycopg.Error:
        return False


def _reads_too_much(owner: Connection, server: Connection, cluster: str) -> Iterator[str]:
    """The stated exceptions, and not a row more: each of the three queries that row security knows by heart, against what the owner sees."""
    adopted = "exists (select 1 from headscale.adoption a where a.cluster_id = %(me)s and a.node_id = n.id and a.until > clock_timestamp())"
    for query, column, allowed in (
        ('SELECT "ipv4" FROM "nodes"', "ipv4", f"cluster_id = %(me)s or home_cluster_id = %(me)s or {adopted}"),
        ('SELECT "ipv6" FROM "nodes"', "ipv6", f"cluster_id = %(me)s or home_cluster_id = %(me)s or {adopted}"),
        ('SELECT * FROM "nodes"', "id", f"cluster_id = %(me)s or {adopted}"),
    ):
        seen = [row[0] for row in server.execute(query.encode())]
        with schema.acting_as_owner(owner):
            meant = [row[0] for row in owner.execute(f"select {column} from headscale.nodes n where {allowed}".encode(), {"me": cluster})]  # noqa: S608 - our own words
        too_many = list(seen)
        for value in meant:
            if value in too_many:
                too_many.remove(value)
        if too_many:
            yield f"read {len(too_many)} nodes of others by {query}"


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    connection.execute("select pg_advisory_lock(%s)", [LOCK])
    try:
        yield
    finally:
        connection.execute("select pg_advisory_unlock(%s)", [LOCK])


@contextmanager
def _bystander(connection: Connection) -> Iterator[dict[str, int]]:
    """One row of each table that belongs to a cluster which does not exist."""
    _forget_bystander(connection)
    try:
        with schema.acting_as_owner(connection):
            word = {"c": BYSTANDER}
            user = _insert(connection, "insert into headscale.users (name, cluster_id) values (%(c)s, %(c)s) returning id", word)
            word |= {"user": str(user)}
            key = _insert(
                connection,
                "insert into headscale.pre_auth_keys (user_id, used, cluster_id) values (%(user)s, true, %(c)s) returning id",
                word,
            )
            node = "insert into headscale.nodes (user_id, given_name, tags, cluster_id, home_cluster_id) values (%(user)s, 'probe', '[]', %(c)s, %(c)s) returning id"
            rows = {"user": user, "key": key, "node": _insert(connection, node, word)}
            connection.execute("insert into headscale.policies (data, cluster_id) values ('', %(c)s)", word)
            connection.execute("insert into headscale.api_keys (prefix, cluster_id) values (%(c)s, %(c)s)", word)
            connection.execute("delete from headscale.event where cluster_id = %(c)s", word)
        yield rows
    finally:
        _forget_bystander(connection)


def _insert(connection: Connection, query: str, words: dict[str, str]) -> int:
    row = connection.execute(query.encode(), words).fetchone()
    assert row is not None  # noqa: S101 - RETURNING gives one
    return int(row[0])


def _forget_bystander(connection: Connection) -> None:
    """Also what a probe left behind that was killed."""
    with schema.acting_as_owner(connection):
        for table in ("nodes", "pre_auth_keys", "users", "policies", "api_keys", "event"):
            connection.execute(sql.SQL("delete from headscale.{} where cluster_id = %s").format(sql.Identifier(table)), [BYSTANDER])


@contextmanager
def _guest(connection: Connection, conninfo: str) -> Iterator[str]:
    """A login like a server's, for as long as the probe lasts."""
    roles.make_server(connection, STAND_IN)
    roles.admit_server(connection, STAND_IN)
    try:
        password = secrets.token_hex(24)
        roles.set_password(connection, roles.login_of(STAND_IN), password)
        yield connect.as_role(conninfo, roles.login_of(STAND_IN), password)
    finally:
        roles.drop_server(connection, STAND_IN)
