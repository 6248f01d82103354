"""The tables of a headscale server, on PostgreSQL (the fleet schema) or in an SQLite file, behind one small door."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

Row = dict[str, Any]
Run = Callable[..., list[Row]]  # (sql with %s, parameters) -> rows

Duplicate = (psycopg.errors.UniqueViolation, sqlite3.IntegrityError)
Failure = (psycopg.Error, sqlite3.Error)

_TIMES = ("created_at", "updated_at", "deleted_at", "expiration", "expiry", "last_seen")
_FLAGS = ("reusable", "ephemeral", "used")

# The tables as headscale 0.29.2 makes them in SQLite: names and types are the format, so they are the same here.
_TABLES = """
CREATE TABLE IF NOT EXISTS users (id integer PRIMARY KEY AUTOINCREMENT, created_at datetime, updated_at datetime, deleted_at datetime,
  name text, display_name text, email text, provider_identifier text, provider text, profile_pic_url text);
CREATE UNIQUE INDEX IF NOT EXISTS idx_provider_identifier ON users(provider_identifier) WHERE provider_identifier IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS idx_name_provider_identifier ON users(name, provider_identifier);
CREATE UNIQUE INDEX IF NOT EXISTS idx_name_no_provider_identifier ON users(name) WHERE provider_identifier IS NULL;
CREATE TABLE IF NOT EXISTS pre_auth_keys (id integer PRIMARY KEY AUTOINCREMENT, key text, prefix text, hash blob,
  user_id integer REFERENCES users(id) ON DELETE SET NULL, reusable numeric, ephemeral numeric DEFAULT false, used numeric DEFAULT false,
  tags text, created_at datetime, expiration datetime);
CREATE UNIQUE INDEX IF NOT EXISTS idx_pre_auth_keys_prefix ON pre_auth_keys(prefix) WHERE prefix IS NOT NULL AND prefix != '';
CREATE TABLE IF NOT EXISTS api_keys (id integer PRIMARY KEY AUTOINCREMENT, prefix text, hash blob, created_at datetime,
  expiration datetime, last_seen datetime);
CREATE UNIQUE INDEX IF NOT EXISTS idx_api_keys_prefix ON api_keys(prefix);
CREATE TABLE IF NOT EXISTS nodes (id integer PRIMARY KEY AUTOINCREMENT, machine_key text, node_key text, disco_key text, endpoints text,
  host_info text, ipv4 text, ipv6 text, hostname text, given_name varchar(63), user_id integer REFERENCES users(id) ON DELETE CASCADE,
  register_method text, tags text, auth_key_id integer REFERENCES pre_auth_keys(id), expiry datetime, last_seen datetime,
  approved_routes text, created_at datetime, updated_at datetime, deleted_at datetime);
CREATE TABLE IF NOT EXISTS policies (id integer PRIMARY KEY AUTOINCREMENT, created_at datetime, updated_at datetime, deleted_at datetime, data text);
"""


class Store:
    """`transaction()` gives a function that runs one statement and returns its rows; leaving the block commits, an error rolls back."""

    def __init__(self, database: Mapping[str, str] | Path) -> None:
        self._lock = threading.RLock()
        self._file: sqlite3.Connection | None = None
        if isinstance(database, Path):
            self._file = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
            self._file.row_factory = sqlite3.Row
            self._file.executescript("PRAGMA journal_mode = wal; PRAGMA foreign_keys = on; PRAGMA busy_timeout = 10000;" + _TABLES)
            return
        named: dict[str, Any] = {
            **database,
            "options": "-c timezone=UTC",
            "application_name": "headscale-simulator",
            "row_factory": dict_row,
        }
        self._pool = ConnectionPool(kwargs=named, min_size=1, max_size=8, timeout=10, check=ConnectionPool.check_connection, open=False)
        self._pool.open(wait=True, timeout=30)

    @contextmanager
    def transaction(self) -> Iterator[Run]:
        if self._file is None:
            with self._pool.connection() as connection:
                yield _on_postgres(connection)
            return
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield _on_sqlite(self._file)
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row, or None."""
        with self.transaction() as run:
            rows = run(sql, *values)
        return rows[0] if rows else None

    def all(self, sql: str, *values: Any) -> list[Row]:
        with self.transaction() as run:
            return run(sql, *values)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        else:
            self._pool.close()


def _on_postgres(connection: psycopg.Connection[Any]) -> Run:
    def run(sql: str, *values: Any) -> list[Row]:
        cursor = connection.execute(
            sql.encode(), values or None
        )  # without values nothing is rewritten: the fleet's read policies know some queries by their text
        return cursor.fetchall() if cursor.description else []

    return run


def _on_sqlite(connection: sqlite3.Connection) -> Run:
    def run(sql: str, *values: Any) -> list[Row]:
        rows = connection.execute(sql.replace("%s", "?"), [_plain(value) for value in values]).fetchall()
        return [_rich(row) for row in rows]

    return run


def _plain(value: Any) -> Any:
    return (
        value.astimezone(UTC).isoformat(sep=" ")
        if isinstance(value, datetime) and value.year > 1
        else str(value)
        if isinstance(value, datetime)
        else value
    )


def _rich(row: sqlite3.Row) -> Row:
    rich = dict(row)
    for name in _TIMES:
        if rich.get(name):
            rich[name] = datetime.fromisoformat(rich[name])
    for name in _FLAGS:
        if name in rich:
            rich[name] = bool(rich[name])
    return rich


def placeholders(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))
