"""Calls about users and pre-auth keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from acs.demo.simulator import keys, protocol
from acs.demo.simulator.protocol import INTERNAL, INVALID, Answer, Refusal, Words, check_tag
from acs.demo.simulator.state import USERS, State, number_of
from acs.demo.simulator.store import Duplicate


def list_users(state: State, words: Words) -> Answer:
    for column in ("name", "email", "id"):
        value: Any = words.number("id") if column == "id" else words.text(column)
        if value:
            found = state.store.all(f"{USERS} AND {column} = %s ORDER BY id", value)
            break
    else:
        found = state.users()
    return {"users": [protocol.user(row) for row in found]}


def create_user(state: State, words: Words) -> Answer:
    now = datetime.now(UTC)
    values = [words.text(name) for name in ("name", "displayName", "email", "pictureUrl")]
    try:
        row = state.store.one(
            "INSERT INTO users (name, display_name, email, profile_pic_url, provider, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, '', %s, %s) RETURNING *",
            *values,
            now,
            now,
        )
    except Duplicate as error:
        raise Refusal(f"creating user: creating user: {error}", INTERNAL) from error
    return {"user": protocol.user(row or {})}


def delete_user(state: State, _: Words, user_id: str) -> Answer:
    user = state.user(number_of(user_id, "id"))
    with state.store.transaction() as run:
        if run("SELECT id FROM nodes WHERE user_id = %s", user["id"]):
            raise Refusal("user not empty: node(s) found")
        run("UPDATE nodes SET auth_key_id = NULL WHERE auth_key_id IN (SELECT id FROM pre_auth_keys WHERE user_id = %s)", user["id"])
        run("DELETE FROM pre_auth_keys WHERE user_id = %s", user["id"])
        run("DELETE FROM users WHERE id = %s", user["id"])
    return {}


def list_keys(state: State, _: Words) -> Answer:
    users = {row["id"]: row for row in state.users()}
    rows = state.store.all("SELECT * FROM pre_auth_keys ORDER BY id")
    return {"preAuthKeys": [protocol.key(row, users.get(row["user_id"])) for row in rows]}


def create_key(state: State, words: Words) -> Answer:
    user_id, tags = words.number("user"), sorted(set(words.texts("aclTags")))
    reusable, ephemeral, expiration = words.flag("reusable"), words.flag("ephemeral"), words.moment("expiration") or protocol.NEVER
    for tag in words.texts("aclTags"):
        check_tag(tag, INVALID)
    user = state.user(user_id) if user_id else None
    if not user and not tags:
        raise Refusal("auth-key must be either tagged or owned by user")
    text, prefix, hashed = keys.new("auth")
    row = state.store.one(
        "INSERT INTO pre_auth_keys (key, prefix, hash, user_id, reusable, ephemeral, used, tags, created_at, expiration)"
        " VALUES ('', %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING *",
        *(
            prefix,
            hashed,
            user_id or None,
            reusable,
            ephemeral,
            False,
            json.dumps(tags, separators=(",", ":")),
            datetime.now(UTC),
            expiration,
        ),
    )
    return {"preAuthKey": protocol.key(row or {}, user, text)}


def expire_key(state: State, words: Words) -> Answer:
    state.store.all("UPDATE pre_auth_keys SET expiration = %s WHERE id = %s", datetime.now(UTC), words.number("id"))
    return {}


def delete_key(state: State, words: Words) -> Answer:
    with state.store.transaction() as run:
        run("UPDATE nodes SET auth_key_id = NULL WHERE auth_key_id = %s", words.number("id"))
        run("DELETE FROM pre_auth_keys WHERE id = %s", words.number("id"))
    return {}
