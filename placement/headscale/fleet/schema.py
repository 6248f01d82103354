"""The schema `headscale` of a fleet: headscale's own tables, and what the fleet adds to them. All of it is SQL in sql/.

The additions may be run again at any time that the servers are stopped; `catalogue.py` tells whether they need to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from placement.headscale.fleet.connect import Connection
from placement.headscale.fleet.roles import SCHEMA_OWNER

NAME = "headscale"
SHIPPED_VERSION = "v0.29.2"
PAGES = Path(__file__).parent / "sql"
ADDITIONS = ("1-tables.sql", "2-functions.sql", "3-policies.sql", "4-grants.sql")
LOCK = 0x41435346  # one init or upgrade at a time


def make_schema(connection: Connection) -> None:
    """The empty schema, owned by the role in whose name headscale makes its tables."""
    connection.execute(
        sql.SQL("create schema if not exists {} authorization {}").format(sql.Identifier(NAME), sql.Identifier(SCHEMA_OWNER))
    )


def has_tables(connection: Connection) -> bool:
    row = connection.execute("select to_regclass('headscale.database_versions') is not null").fetchone()
    return bool(row and row[0])


def version(connection: Connection) -> str:
    """The version of the headscale binary whose tables these are, such as v0.29.2."""
    with acting_as_owner(connection):
        row = connection.execute("select version from headscale.database_versions where id = 1").fetchone()
    return str(row[0]) if row else ""


def make_shipped_tables(connection: Connection) -> None:
    """headscale's tables without a binary."""
    with acting_as_owner(connection):
        run_page(connection, "headscale.sql")


def add(connection: Connection) -> None:
    """Everything that makes a fleet of them, in one transaction. The servers must be stopped: a live one would stumble over its plans."""
    with acting_as_owner(connection):
        connection.execute("set local check_function_bodies = on")
        for page in ADDITIONS:
            run_page(connection, page)


def run_page(connection: Connection, page: str, *, schema: str = NAME) -> None:
    """One file of sql/, in the schema `schema`: a check builds what is meant beside what is there."""
    text = (PAGES / page).read_text(encoding="utf-8")
    if schema != NAME:
        text = re.sub(rf"(?<!\w){NAME}(?!\w)", schema, text)
    connection.execute(text.encode())


@contextmanager
def acting_as_owner(connection: Connection) -> Iterator[None]:
    """One transaction in the name of the schema's owner, alone among its like."""
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(SCHEMA_OWNER)))
        yield
        connection.execute("reset role")
