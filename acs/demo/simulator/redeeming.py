"""A pre-auth key at the door: whether it is good, whose devices and which tags it makes, and that it is used up once."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from acs.demo.simulator.store import Row, Run


class JoinRefused(Exception):
    """The device may not come in. The text is what headscale would tell its client."""


def check(key: Row) -> None:
    if key["expiration"] and key["expiration"] < datetime.now(UTC):
        raise JoinRefused("authkey expired")
    if key["used"] and not key["reusable"]:
        raise JoinRefused("authkey already used")


def use(run: Run, key: Row) -> None:
    """Once, whoever races: the second finds no row."""
    if not run("UPDATE pre_auth_keys SET used = %s WHERE id = %s AND used = %s RETURNING id", True, key["id"], False):
        raise JoinRefused("authkey already used")
    key["used"] = True


def owner(run: Run, user_id: int | None) -> Row | None:
    rows = run("SELECT * FROM users WHERE id = %s AND deleted_at IS NULL", user_id) if user_id else []
    return rows[0] if rows else None


def tags_of(key: Row) -> list[str]:
    return list(json.loads(key["tags"] or "null") or [])
