"""What a headscale server answers, as plain values. 64-bit numbers come as strings; times with nanoseconds, cut to microseconds here.

Every function raises ValueError, KeyError or TypeError on a shape that is not headscale's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

TAGGED_DEVICES = "tagged-devices"  # the user that headscale shows for a tagged node, which has none

_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_KEY_START = "hskey-auth-"


@dataclass(frozen=True)
class User:
    """A headscale user: for ACS, one tenant."""

    id: int
    name: str
    display_name: str
    email: str
    provider: str
    created_at: datetime


@dataclass(frozen=True)
class PreAuthKey:
    """A pre-auth key. `secret` is the whole key and known only in the answer to its creation; `user_id` is None for a tags-only key."""

    id: int
    prefix: str
    secret: str | None = field(repr=False)
    user_id: int | None
    user_name: str
    reusable: bool
    ephemeral: bool
    used: bool
    expiration: datetime | None
    created_at: datetime | None
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """A device as its server sees it. `hostname` is what it calls itself, `name` its unique DNS label.

    `user_id` is None for a tagged node. `online` is false for everyone right after the server's start; `last_seen` is best effort.
    `expiry` None: the login does not expire.
    """

    id: int
    machine_key: str
    node_key: str
    ipv4: str | None
    ipv6: str | None
    hostname: str
    name: str
    user_id: int | None
    user_name: str
    tags: tuple[str, ...]
    online: bool
    last_seen: datetime | None
    expiry: datetime | None
    created_at: datetime
    registered_by: str
    key_id: int | None
    ephemeral: bool
    approved_routes: tuple[str, ...]
    available_routes: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """The stored policy document, in HuJSON as it was put, and when."""

    document: str
    updated_at: datetime | None


def user_of(answer: Mapping[str, Any]) -> User:
    return User(
        id=_id(answer["id"]),
        name=_text(answer["name"]),
        display_name=_text(answer.get("displayName", "")),
        email=_text(answer.get("email", "")),
        provider=_text(answer.get("provider", "")),
        created_at=_time(answer["createdAt"]),
    )


def key_of(answer: Mapping[str, Any]) -> PreAuthKey:
    key, user = _text(answer["key"]), answer.get("user")
    is_whole = not key.endswith("***") and key != ""
    return PreAuthKey(
        id=_id(answer["id"]),
        prefix=key.removeprefix(_KEY_START)[:12] if key.startswith(_KEY_START) else "",
        secret=key if is_whole else None,
        user_id=_id(user["id"]) if user else None,
        user_name=_text(user["name"]) if user else "",
        reusable=_flag(answer["reusable"]),
        ephemeral=_flag(answer["ephemeral"]),
        used=_flag(answer["used"]),
        expiration=_time_or_none(answer.get("expiration")),
        created_at=_time_or_none(answer.get("createdAt")),
        tags=_texts(answer.get("aclTags")),
    )


def node_of(answer: Mapping[str, Any]) -> Node:
    addresses = {ipaddress.ip_address(address).version: address for address in _texts(answer["ipAddresses"])}
    tags, user, key = _texts(answer.get("tags")), answer.get("user"), answer.get("preAuthKey")
    expiry = _time_or_none(answer.get("expiry"))
    return Node(
        id=_id(answer["id"]),
        machine_key=_text(answer["machineKey"]),
        node_key=_text(answer["nodeKey"]),
        ipv4=addresses.get(4),
        ipv6=addresses.get(6),
        hostname=_text(answer["name"]),
        name=_text(answer["givenName"]),
        user_id=_id(user["id"]) if user and not tags else None,
        user_name=TAGGED_DEVICES if tags else _text(user["name"]) if user else "",
        tags=tags,
        online=_flag(answer["online"]),
        last_seen=_time_or_none(answer.get("lastSeen")),
        expiry=None if expiry == _NEVER else expiry,
        created_at=_time(answer["createdAt"]),
        registered_by=_text(answer["registerMethod"]).removeprefix("REGISTER_METHOD_").lower(),
        key_id=_id(key["id"]) if key else None,
        ephemeral=_flag(key["ephemeral"]) if key else False,
        approved_routes=_texts(answer.get("approvedRoutes")),
        available_routes=_texts(answer.get("availableRoutes")),
    )


def policy_of(answer: Mapping[str, Any]) -> Policy:
    return Policy(document=_text(answer["policy"]), updated_at=_time_or_none(answer.get("updatedAt")))


def _id(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"not an id: {value!r}")
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise TypeError(f"not a list: {value!r}")
    return tuple(_text(item) for item in value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"not a truth value: {value!r}")
    return value


def _time(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError(f"a time without its zone: {value!r}")
    return moment.astimezone(UTC) if moment.year > 1 else moment.replace(tzinfo=UTC)


def _time_or_none(value: Any) -> datetime | None:
    return None if value is None else _time(value)
