"""Make a fleet, and bring one to a new headscale version: the verbs of `manage.py fleet init` and `fleet upgrade`."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

from django.conf import settings

from placement.headscale.fleet import binary, catalogue, connect, grants, noise, roles, schema
from placement.headscale.fleet.connect import Connection
from placement.models import Fleet

GOODBYE = 3.0  # seconds in which PostgreSQL has ended the session of a server that has just stopped, or of a check that is over


class ServersConnected(Exception):
    """Servers of the fleet are running; their schema cannot be changed under them. `logins` names them."""

    def __init__(self, logins: list[str]) -> None:
        super().__init__(f"stop these servers first: {', '.join(logins)} are connected")
        self.logins = logins


class RolesTaken(Exception):
    """ACS's roles exist on a PostgreSQL elsewhere, under passwords that are not known here."""


@dataclass
class Done:
    """What a verb changed, in words for the operator; empty when all was as it should be."""

    changes: list[str] = field(default_factory=list)
    version: str = ""
    made_roles: list[str] = field(default_factory=list)


def init(connection: Connection, *, conninfo: str, own: bool, headscale: str | None) -> Done:
    """Roles, schema, tables, additions and grants, as far as they are missing. `headscale` is the binary that makes its own tables; None: the shipped ones.

    `own` tells that this is ACS's own database: then ACS's tables get their grants too.
    Raises: ServersConnected, binary.HeadscaleFailed.
    """
    done = Done()
    done.made_roles = roles.make(connection)
    if done.made_roles:
        done.changes.append(f"made the roles {', '.join(done.made_roles)}")
    if not schema.has_tables(connection):
        schema.make_schema(connection)
        done.changes.append(_make_tables(connection, conninfo, headscale))
    _complete(connection, done, own=own)
    return done


def upgrade(connection: Connection, *, conninfo: str, own: bool, headscale: str | None) -> Done:
    """Let a new binary change its tables, then add what that made missing. Raises: ServersConnected, binary.HeadscaleFailed."""
    refuse_while_connected(connection)
    done, before = Done(), schema.version(connection)
    roles.make(connection)
    if headscale:
        _run_as_owner(connection, conninfo, headscale)
    if before != schema.version(connection):
        done.changes.append(f"headscale's tables: {before} became {schema.version(connection)}")
    _complete(connection, done, own=own)
    return done


def refuse_while_connected(connection: Connection) -> None:
    """A session outlives its client by a moment: what has just gone is waited for. Raises: ServersConnected."""
    ends = time.monotonic() + GOODBYE
    while logins := connected(connection):
        if time.monotonic() > ends:
            raise ServersConnected(logins)
        time.sleep(0.05)


def connected(connection: Connection) -> list[str]:
    """The logins of servers that hold a connection to this database right now."""
    rows = connection.execute(
        r"select distinct usename::text from pg_stat_activity where datname = current_database() and usename like 'hs\_%' order by 1"
    )
    return [str(row[0]) for row in rows]


def write_row(name: str, *, base_domain: str, version: str, database_url_sealed: str = "") -> bool:
    """The fleet's row with its Noise key; what it holds already stays. Returns whether anything was written."""
    fleet, made = Fleet.objects.get_or_create(
        name=name,
        defaults={"base_domain": base_domain, "headscale_version": version, "database_url_sealed": database_url_sealed},
    )
    wanted = {"headscale_version": version}
    if database_url_sealed:
        wanted["database_url_sealed"] = database_url_sealed
    if not fleet.noise_key_sealed:
        wanted["noise_key_sealed"] = settings.KEYRING.seal(noise.generate(), context=noise_context(name))
    changed = {field: value for field, value in wanted.items() if getattr(fleet, field) != value}
    Fleet.objects.filter(pk=name).update(**changed) if changed else None
    return made or bool(changed)


def seal_elsewhere(connection: Connection, name: str, conninfo: str, *, made_roles: list[str]) -> str:
    """The sealed text by which ACS's processes reach a fleet elsewhere: one password for ACS's three roles there, if they need one.

    Roles belong to a whole PostgreSQL: where they were not made just now, somebody uses their passwords, and those stay.
    Raises: RolesTaken.
    """
    if not roles.wants_password(conninfo, roles.ACS_ROLES[0]):
        return connect.seal(name, conninfo, "")
    password = connect.known_password(conninfo)
    if not password:
        if not set(roles.ACS_ROLES) <= set(made_roles):
            raise RolesTaken(
                f"{', '.join(roles.ACS_ROLES)} have passwords there that this ACS does not know: drop the roles or use another PostgreSQL"
            )
        password = secrets.token_hex(24)
        for role in roles.ACS_ROLES:
            roles.set_password(connection, role, password)
    return connect.seal(name, conninfo, password)


def noise_key_of(fleet: Fleet) -> str:
    """The private key that the fleet's servers share. Raises: tenants.keyring.Unsealable."""
    return str(settings.KEYRING.open(fleet.noise_key_sealed, context=noise_context(fleet.name)))


def noise_context(name: str) -> str:
    return f"fleet:{name}:noise_key"


def _complete(connection: Connection, done: Done, *, own: bool) -> None:
    if catalogue.differences(connection):
        refuse_while_connected(connection)
        schema.add(connection)
        done.changes.append("added ownership, row security, outbox and grants to headscale's tables")
    roles.close_database(connection)
    if own:
        grants.apply(connection)
    done.version = schema.version(connection)


def _make_tables(connection: Connection, conninfo: str, headscale: str | None) -> str:
    if headscale:
        _run_as_owner(connection, conninfo, headscale)
        return f"headscale {schema.version(connection)} made its tables"
    schema.make_shipped_tables(connection)
    return f"made the tables of headscale {schema.SHIPPED_VERSION} without a binary"


def _run_as_owner(connection: Connection, conninfo: str, headscale: str) -> None:
    """Under a password of its own where the database asks for one, forgotten right after."""
    roles.close_database(connection)
    password = roles.new_password(connection, roles.SCHEMA_OWNER) if roles.wants_password(conninfo, roles.SCHEMA_OWNER) else ""
    try:
        binary.run_once(headscale, connect.as_role(conninfo, roles.SCHEMA_OWNER, password))
    finally:
        if password:
            connection.execute(f"alter role {roles.SCHEMA_OWNER} password null".encode())
