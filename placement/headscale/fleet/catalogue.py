"""What PostgreSQL's catalogue says about a fleet's schema, and what it should say.

What is meant is not written down a second time: the same SQL is run in a scratch schema inside a transaction that is rolled back, and the
two catalogues are compared. So the comparison holds on every PostgreSQL version, however it prints a policy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg
from psycopg import sql

from placement.headscale.fleet import schema
from placement.headscale.fleet.connect import Connection
from placement.headscale.fleet.roles import SCHEMA_OWNER

SCRATCH = "headscale_meant"
# what nothing may be added to: an extra policy, trigger or grant opens the fleet; an extra index or column of a newer headscale does not
STRICT = frozenset({"policy", "trigger", "rule", "function", "right"})
Facts = dict[tuple[str, str], str]  # (kind, name) -> what the catalogue says

QUERIES = {
    "table": """select c.relname, format('owner %%s, row security %%s%%s', pg_get_userbyid(c.relowner),
                  case when c.relrowsecurity then 'on' else 'OFF' end, case when c.relforcerowsecurity then ' and forced' else '' end)
                from pg_class c where c.relnamespace = %(schema)s::regnamespace and c.relkind in ('r', 'v', 'm', 'p', 'f')""",
    "sequence": "select relname, 'owner ' || pg_get_userbyid(relowner) from pg_class where relnamespace = %(schema)s::regnamespace and relkind = 'S'",
    "column": """select c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
                   || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
                 from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                   left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
                 where c.relnamespace = %(schema)s::regnamespace and c.relkind = 'r'""",
    "index": """select i.relname, pg_get_indexdef(x.indexrelid) || case when x.indisvalid then '' else ' INVALID' end
                from pg_index x join pg_class i on i.oid = x.indexrelid where i.relnamespace = %(schema)s::regnamespace""",
    "constraint": """select c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
                     from pg_constraint k join pg_class c on c.oid = k.conrelid
                     where c.relnamespace = %(schema)s::regnamespace and k.contype in ('p', 'u', 'f', 'c', 'x')""",
    "trigger": """select c.relname || '.' || t.tgname, pg_get_triggerdef(t.oid) || case t.tgenabled when 'O' then '' else ' NOT ENABLED' end
                  from pg_trigger t join pg_class c on c.oid = t.tgrelid
                  where c.relnamespace = %(schema)s::regnamespace and not t.tgisinternal""",
    "rule": """select c.relname || '.' || r.rulename, pg_get_ruledef(r.oid) from pg_rewrite r join pg_class c on c.oid = r.ev_class
               where c.relnamespace = %(schema)s::regnamespace""",
    "policy": """select c.relname || '.' || p.polname, format('%%s, command %%s, to %%s, using %%s, check %%s',
                   case when p.polpermissive then 'permissive' else 'restrictive' end, p.polcmd,
                   (select string_agg(coalesce(r.rolname, 'public'), ',' order by r.rolname) from unnest(p.polroles) o left join pg_roles r on r.oid = o),
                   coalesce(pg_get_expr(p.polqual, p.polrelid), '-'), coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '-'))
                 from pg_policy p join pg_class c on c.oid = p.polrelid where c.relnamespace = %(schema)s::regnamespace""",
    "function": """select p.oid::regprocedure::text, format('owner %%s, returns %%s, %%s, volatility %%s, %%s, body %%s', pg_get_userbyid(p.proowner),
                     p.prorettype::regtype, case when p.prosecdef then 'security definer' else 'security invoker' end, p.provolatile,
                     coalesce(array_to_string(p.proconfig, ';'), 'no search path'), p.prosrc)
                   from pg_proc p where p.pronamespace = %(schema)s::regnamespace""",
    "right": """select who || ' on ' || what, string_agg(privilege, ', ' order by privilege) from (
                  select coalesce(r.rolname, 'public') as who, o.what,
                         lower(x.privilege_type) || case when x.is_grantable then ' with grant option' else '' end as privilege
                  from (select c.relname::text as what, c.relowner as owner,
                               coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner)) as acl
                          from pg_class c where c.relnamespace = %(schema)s::regnamespace and c.relkind in ('r', 'v', 'm', 'p', 'f', 'S')
                        union all select c.relname || '.' || a.attname, c.relowner, a.attacl
                          from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                          where c.relnamespace = %(schema)s::regnamespace and a.attacl is not null
                        union all select p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
                          from pg_proc p where p.pronamespace = %(schema)s::regnamespace
                        union all select 'the schema', n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
                          from pg_namespace n where n.oid = %(schema)s::regnamespace) o,
                       aclexplode(o.acl) x left join pg_roles r on r.oid = x.grantee
                  where x.grantee <> o.owner) rights group by who, what""",
}


@dataclass(frozen=True)
class Difference:
    """One thing of the schema that is not as meant. `there` or `meant` is None where it is missing or should not be."""

    kind: str
    name: str
    there: str | None
    meant: str | None

    def __str__(self) -> str:
        if self.there is None:
            return f"{self.kind} {self.name} is missing (meant: {_short(self.meant)})"
        if self.meant is None:
            return f"{self.kind} {self.name} should not be there ({_short(self.there)})"
        return f"{self.kind} {self.name} is {_short(self.there)}, meant: {_short(self.meant)}"


def read(connection: Connection, name: str = schema.NAME) -> Facts:
    """Everything that the catalogue says about a schema, with the schema called `headscale` whatever its name."""
    facts: Facts = {}
    with connection.transaction():
        connection.execute("set local search_path = pg_catalog")
        for kind, query in QUERIES.items():
            for thing, value in connection.execute(query.encode(), {"schema": name}):
                facts[kind, _renamed(str(thing), name)] = _renamed(str(value), name)
    return facts


def meant(connection: Connection) -> tuple[Facts, Facts]:
    """headscale's own tables as shipped, and the whole fleet schema. Leaves nothing behind."""
    with connection.transaction(force_rollback=True):
        words = sql.Identifier(SCRATCH), sql.Identifier(SCHEMA_OWNER)
        connection.execute(sql.SQL("create schema {} authorization {}").format(*words))
        connection.execute(sql.SQL("set local role {}").format(words[1]))
        schema.run_page(connection, "headscale.sql", schema=SCRATCH)
        shipped = read(connection, SCRATCH)
        for page in schema.ADDITIONS:
            schema.run_page(connection, page, schema=SCRATCH)
        return shipped, read(connection, SCRATCH)


def differences(connection: Connection) -> list[Difference]:
    """Where the fleet's schema is not as meant: additions that are missing or altered, and rights, policies or triggers too many."""
    shipped, whole = meant(connection)
    there = read(connection)
    added = {key: value for key, value in whole.items() if shipped.get(key) != value or key[0] in ("table", "sequence")}
    found = [Difference(*key, there.get(key), value) for key, value in added.items() if there.get(key) != value]
    found += [Difference(*key, value, None) for key, value in there.items() if key[0] in STRICT and key not in whole]
    return sorted(found, key=lambda difference: (difference.kind, difference.name))


def shipped_differences(connection: Connection) -> list[Difference]:
    """Where headscale's own tables, before any addition, are not those that ACS ships."""
    shipped, there = meant(connection)[0], read(connection)
    return [
        Difference(*key, there.get(key), shipped.get(key))
        for key in sorted(shipped.keys() | there.keys())
        if there.get(key) != shipped.get(key)
    ]


def exists(connection: Connection) -> bool:
    try:
        return schema.has_tables(connection)
    except psycopg.errors.InsufficientPrivilege:
        return False


def _renamed(text: str, name: str) -> str:
    return text if name == schema.NAME else re.sub(rf"(?<!\w){name}(?!\w)", schema.NAME, text)


def _short(text: str | None) -> str:
    flat = " ".join((text or "").split())
    return flat if len(flat) <= 200 else f"{flat[:200]}..."
