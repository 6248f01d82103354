"""Who may log in: the schema's owner, ACS's own processes, and one role per cluster. Made by a role that may create roles and is no superuser."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import psycopg
from psycopg import sql

from placement.headscale.fleet.connect import Connection, as_role

SCHEMA_OWNER = "acs_headscale_owner"
SERVERS = "acs_headscale"  # the group that every server's login is a member of
ACS_ROLES = ("acs_web", "acs_worker", "acs_mover")
TIMEOUTS = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}
MOST_CONNECTIONS = 50  # of one server; headscale's own pool opens 10


def login_of(cluster_id: str) -> str:
    return f"hs_{cluster_id}"


def make(connection: Connection) -> list[str]:
    """Make the roles that are missing; returns their names. The caller becomes a member of the schema's owner, to act in its name."""
    made = [name for name in (SCHEMA_OWNER, *ACS_ROLES) if _make(connection, name, "login")]
    made += [name for name in (SERVERS,) if _make(connection, name, "nologin")]
    if SCHEMA_OWNER in made:
        connection.execute(sql.SQL("alter role {} set search_path = headscale").format(sql.Identifier(SCHEMA_OWNER)))
    if not _may_act_as(connection, SCHEMA_OWNER):
        connection.execute(sql.SQL("grant {} to current_user").format(sql.Identifier(SCHEMA_OWNER)))
    return made


def make_server(connection: Connection, cluster_id: str) -> bool:
    """The login of one cluster's server. Returns whether it was missing."""
    role = sql.Identifier(login_of(cluster_id))
    if not _make(connection, login_of(cluster_id), f"login connection limit {MOST_CONNECTIONS} in role {SERVERS}"):
        return False
    connection.execute(sql.SQL("alter role {} set search_path = headscale").format(role))
    for name, value in TIMEOUTS.items():
        connection.execute(sql.SQL("alter role {} set {} = {}").format(role, sql.Identifier(name), sql.Literal(value)))
    return True


def close_database(connection: Connection, clusters: Iterable[str] = ()) -> None:
    """Who may enter the database, and that nobody but its owner makes temporary tables: a server's role could shadow names with them.

    These rights belong to the database and not to its contents: a copy made from a template needs them again.
    """
    name = sql.Identifier(connection.info.dbname)
    with connection.transaction():
        connection.execute(sql.SQL("revoke all on database {} from public").format(name))
        connection.execute("revoke all on schema public from public")
        for role in (SCHEMA_OWNER, *ACS_ROLES, *map(login_of, clusters)):
            connection.execute(sql.SQL("grant connect on database {} to {}").format(name, sql.Identifier(role)))
        for role in ACS_ROLES:
            connection.execute(sql.SQL("grant usage on schema public to {}").format(sql.Identifier(role)))


def admit_server(connection: Connection, cluster_id: str) -> None:
    """Let a cluster's login into this database. Each is admitted by name: a role of another fleet on the same PostgreSQL is not."""
    words = sql.Identifier(connection.info.dbname), sql.Identifier(login_of(cluster_id))
    connection.execute(sql.SQL("grant connect on database {} to {}").format(*words))


def drop_server(connection: Connection, cluster_id: str) -> None:
    """The end of a cluster's login. Its rows stay."""
    words = sql.Identifier(connection.info.dbname), sql.Identifier(login_of(cluster_id))
    connection.execute(sql.SQL("revoke all on database {} from {}").format(*words))
    connection.execute(sql.SQL("drop role {}").format(words[1]))


def wants_password(conninfo: str, role: str) -> bool:
    """Whether the database asks this role for a password: it is asked to let the role in without one."""
    try:
        psycopg.connect(as_role(conninfo, role), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        if "password" in str(error):
            return True
        raise
    return False


def new_password(connection: Connection, role: str) -> str:
    """Give the role a random password and return it. The server is sent its verifier only, so that no log holds it."""
    password = secrets.token_hex(24)
    set_password(connection, role, password)
    return password


def set_password(connection: Connection, role: str, password: str) -> None:
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier)))


def _make(connection: Connection, name: str, options: str) -> bool:
    if connection.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone():
        return False
    connection.execute(sql.SQL("create role {} {}").format(sql.Identifier(name), sql.SQL(options)))
    return True


def _may_act_as(connection: Connection, role: str) -> bool:
    """Membership as such: from PostgreSQL 16 on, whoever makes a role may administer it but not yet act as it."""
    word = "SET" if connection.info.server_version >= 160000 else "MEMBER"
    row = connection.execute("select pg_has_role(current_user, %s, %s)", [role, word]).fetchone()
    return bool(row and row[0])
