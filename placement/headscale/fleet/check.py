"""The proof that no cluster can read or write another's rows: from PostgreSQL's catalogue, and by trying it.

Two exceptions are meant, both read only: addresses reserved at home for devices that moved away, and the rows of an open adoption.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg

from placement.headscale.fleet import catalogue, grants, probe, roles, schema
from placement.headscale.fleet.connect import Connection


@dataclass
class Findings:
    """What a check looked at, in words, and what it found wrong. A fleet is sound when `broken` is empty."""

    looked_at: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def add(self, what: str, reasons: list[str]) -> None:
        self.looked_at.append(f"{what}: {f'{len(reasons)} wrong' if reasons else 'as meant'}")
        self.broken += reasons


def check(connection: Connection, *, conninfo: str, own: bool) -> Findings:
    """As the database's owner; `own` tells that ACS's own tables are here too. Changes nothing that stays."""
    found = Findings()
    if not schema.has_tables(connection):
        found.add("schema headscale", ["schema headscale has no tables: `manage.py fleet init` makes them"])
        return found
    found.add(
        "tables, row security, policies, constraints, indexes, triggers, functions and rights",
        [str(one) for one in catalogue.differences(connection)],
    )
    found.add("logins and memberships", list(logins(connection)))
    found.add("who may enter the database and its schemas", list(_doors(connection)))
    if own:
        found.add("rights on ACS's own tables", list(_own_tables(connection)))
    try:
        tried, reasons = probe.run(connection, conninfo, clusters(connection))
    except psycopg.Error as error:  # a schema so altered that not even its owner can write a row
        tried, reasons = "attempts under each login", [f"the attempts could not be made: {error}"]
    found.add(tried, reasons)
    return found


def clusters(connection: Connection) -> list[str]:
    """Every cluster that hands out addresses in this fleet."""
    with schema.acting_as_owner(connection):
        return [str(row[0]) for row in connection.execute("select distinct cluster_id from headscale.prefix order by 1")]


def logins(connection: Connection) -> Iterator[str]:
    """What is wrong with the roles of this fleet: too many powers, a wrong membership, something that a server owns."""
    yield from _roles(connection)
    yield from _memberships(connection)


def _roles(connection: Connection) -> Iterator[str]:
    wanted = {roles.SCHEMA_OWNER, roles.SERVERS, *roles.ACS_ROLES, *map(roles.login_of, clusters(connection))}
    query = """select rolname::text, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin from pg_roles
                where rolname = any(%s) or starts_with(rolname, 'hs_')"""
    seen = set()
    for name, *powers, may_log_in in connection.execute(query, [list(wanted)]):
        seen.add(name)
        words = ("superuser", "bypassrls", "createrole", "createdb", "replication")
        yield from (f"role {name} has {word}" for word, has in zip(words, powers, strict=True) if has)
        if name == roles.SERVERS and may_log_in:
            yield f"role {name} can log in: it is a group"
    yield from (f"role {name} is missing" for name in sorted(wanted - seen))


def _memberships(connection: Connection) -> Iterator[str]:
    """Servers belong to their group and to nothing else; nobody but the database's owner acts as the schema's owner or as a server."""
    rows = connection.execute(
        """select m.rolname::text, r.rolname::text from pg_auth_members a join pg_roles m on m.oid = a.member join pg_roles r on r.oid = a.roleid
           where not m.rolsuper and m.oid <> (select datdba from pg_database where datname = current_database()) and m.rolname <> current_user"""
    )
    ours = (*roles.ACS_ROLES, roles.SERVERS, roles.SCHEMA_OWNER)
    for member, role in rows.fetchall():
        server = member.startswith("hs_")
        if (
            (server and role != roles.SERVERS)
            or member in ours
            or role.startswith("hs_")
            or (role in (roles.SERVERS, roles.SCHEMA_OWNER) and not server)
        ):
            yield f"role {member} is a member of {role}"
    for cluster_id in clusters(connection):
        row = connection.execute("select pg_has_role(%s, %s, 'usage')", [roles.login_of(cluster_id), roles.SERVERS]).fetchone()
        if not (row and row[0]):
            yield f"role {roles.login_of(cluster_id)} is not a member of {roles.SERVERS}"
    owned = connection.execute(
        """select r.rolname::text, pg_describe_object(d.classid, d.objid, 0) from pg_shdepend d join pg_roles r on r.oid = d.refobjid
            where d.deptype = 'o' and d.refclassid = 'pg_authid'::regclass and d.dbid = (select oid from pg_database where datname = current_database())
            and (starts_with(r.rolname, 'hs_') or r.rolname = any(%s))""",
        [[roles.SERVERS, *roles.ACS_ROLES]],
    )
    yield from (f"role {name} owns {thing}" for name, thing in owned)


def _doors(connection: Connection) -> Iterator[str]:
    """Nobody but the owner makes temporary objects or objects at all; servers do not enter ACS's schema."""
    row = connection.execute("select pg_get_userbyid(nspowner)::text from pg_namespace where nspname = 'headscale'").fetchone()
    if row and row[0] != roles.SCHEMA_OWNER:
        yield f"schema headscale belongs to {row[0]}, not to {roles.SCHEMA_OWNER}"
    logins = [*roles.ACS_ROLES, roles.SERVERS, *map(roles.login_of, clusters(connection))]
    query = """select r.rolname::text, has_database_privilege(r.oid, current_database(), 'temporary'), has_database_privilege(r.oid, current_database(), 'create'),
                 (select coalesce(string_agg(n.nspname, ', '), '') from pg_namespace n where has_schema_privilege(r.oid, n.oid, 'create')),
                 has_schema_privilege(r.oid, 'public', 'usage')
               from pg_roles r where r.rolname = any(%s) order by 1"""
    for name, temporary, create, schemas, enters_public in connection.execute(query, [logins]):
        if temporary:
            yield f"role {name} may make temporary tables"
        if create:
            yield f"role {name} may make schemas"
        if schemas:
            yield f"role {name} may make objects in {schemas}"
        if enters_public and name not in roles.ACS_ROLES:
            yield f"role {name} may enter ACS's own schema"
    defaults = connection.execute(
        "select pg_get_userbyid(defaclrole)::text from pg_default_acl where defaclrole = %s::regrole", [roles.SCHEMA_OWNER]
    )
    yield from (f"default privileges of {name} grant rights on tables to come" for (name,) in defaults)


def _own_tables(connection: Connection) -> Iterator[str]:
    there = grants.read(connection)
    for table in grants.tables(connection):
        for role, rights in grants.rights_on(table).items():
            meant, has = grants.parsed(rights), there.pop((table, role), frozenset())
            for right in sorted(has - meant):
                yield f"role {role} has {right} on {table}, which it should not have"
            for right in sorted(meant - has):
                yield f"role {role} lacks {right} on {table}"
    yield from (f"role {role} has {', '.join(sorted(rights))} on {table}" for (table, role), rights in there.items() if rights)
