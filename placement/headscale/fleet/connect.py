"""Connections for the fleet's own work: as the owner to ACS's database, and to a fleet that lives elsewhere."""

from __future__ import annotations

from typing import Any

import psycopg
from django.conf import settings
from django.db import connections
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from placement.models import Fleet

Connection = psycopg.Connection[tuple[Any, ...]]
NOT_LIBPQ = frozenset({"pool", "prepare_threshold", "options", "server_side_binding", "isolation_level", "assume_role"})


def own_database() -> str:
    """The connection string of ACS's own database, as this process's DATABASE_URL names it."""
    options = connections["default"].settings_dict
    words = {
        "dbname": options["NAME"],
        "user": options["USER"],
        "password": options["PASSWORD"],
        "host": options["HOST"],
        "port": options["PORT"],
    }
    words |= {name: value for name, value in options.get("OPTIONS", {}).items() if name not in NOT_LIBPQ}
    return make_conninfo("", **{name: str(value) for name, value in words.items() if value})


def connect(conninfo: str) -> Connection:
    """A connection in which each statement is its own transaction unless `with connection.transaction()` says otherwise."""
    return psycopg.connect(make_conninfo("connect_timeout=5", **conninfo_to_dict(conninfo)), autocommit=True)


def as_role(conninfo: str, role: str, password: str = "") -> str:
    """The same database under another login."""
    words = {name: value for name, value in conninfo_to_dict(conninfo).items() if name not in ("user", "password")}
    words["user"] = role
    if password:
        words["password"] = password
    return make_conninfo("", **words)


def seal(fleet: str, conninfo: str, password: str) -> str:
    """A fleet elsewhere, for its row: the database and the password that ACS's roles there share; no owner's login."""
    return settings.KEYRING.seal(as_role(conninfo, "acs", password), context=f"fleet:{fleet}:database_url")


def known_password(conninfo: str) -> str:
    """The password of ACS's roles on a PostgreSQL that holds another of ACS's fleets; empty when it holds none."""
    there = conninfo_to_dict(conninfo)
    for fleet in Fleet.objects.exclude(database_url_sealed=""):
        words = conninfo_to_dict(_open(fleet))
        if all(words.get(name) == there.get(name) for name in ("host", "port")):
            return str(words.get("password") or "")
    return ""


def conninfo_of(fleet: Fleet, role: str) -> str:
    """Where the fleet lives, as one of ACS's roles there (acs_web, acs_worker, acs_mover).

    For the fleet in ACS's own database it is this process's own login, whatever the role: use Django's connection for that one.
    """
    if fleet.is_own:
        return own_database()
    opened = _open(fleet)
    return as_role(opened, role, str(conninfo_to_dict(opened).get("password") or ""))


def _open(fleet: Fleet) -> str:
    return str(settings.KEYRING.open(fleet.database_url_sealed, context=f"fleet:{fleet.name}:database_url"))
