"""How headscale 0.29 writes its answers and refusals, and reads its requests (gRPC behind a JSON gateway)."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from acs.demo.simulator.nodes import Node
from acs.demo.simulator.store import Row

Answer = dict[str, Any]

_METHODS = {"authkey": "REGISTER_METHOD_AUTH_KEY", "oidc": "REGISTER_METHOD_OIDC", "cli": "REGISTER_METHOD_CLI"}
_STATUS = {2: 500, 3: 400, 5: 404, 12: 501, 13: 500}
UNKNOWN, INVALID, NOT_FOUND, UNIMPLEMENTED, INTERNAL = 2, 3, 5, 12, 13
NEVER = datetime(1, 1, 1, tzinfo=UTC)
TAGGED_DEVICES = {
    "id": "2147455555",
    "name": "tagged-devices",
    "createdAt": "0001-01-01T00:00:00Z",
    "displayName": "Tagged Devices",
    "email": "",
    "providerId": "",
    "provider": "",
    "profilePicUrl": "",
}


class Refusal(Exception):
    """The answer is an error: gRPC's code, and headscale's words."""

    def __init__(self, message: str, code: int = UNKNOWN) -> None:
        super().__init__(message)
        self.code = code
        self.status = _STATUS[code]


def user(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "name": row["name"] or row["email"] or row["provider_identifier"] or str(row["id"]),
        "createdAt": moment(row["created_at"]),
        "displayName": row["display_name"] or "",
        "email": row["email"] or "",
        "providerId": row["provider_identifier"] or "",
        "provider": row["provider"] or "",
        "profilePicUrl": row["profile_pic_url"] or "",
    }


def key(row: Row, owner: Row | None, text: str | None = None) -> dict[str, Any]:
    """`text`: the whole key, which only the answer to its creation shows."""
    shown = f"hskey-auth-{row['prefix']}-***" if row["prefix"] else row["key"] or ""
    return {
        "user": user(owner) if owner else None,
        "id": str(row["id"]),
        "key": text or shown,
        "reusable": bool(row["reusable"]),
        "ephemeral": bool(row["ephemeral"]),
        "used": bool(row["used"]),
        "expiration": moment(row["expiration"]),
        "createdAt": moment(row["created_at"]),
        "aclTags": json.loads(row["tags"] or "null") or [],
    }


def node(found: Node, *, listed: bool = False, served: list[str] | None = None) -> dict[str, Any]:
    """`served`: the routes that lead through the node now, where an answer tells of them."""
    owner = user(found.user) if found.user else None
    return {
        "id": str(found.id),
        "machineKey": found.machine_key,
        "nodeKey": found.node_key,
        "discoKey": found.disco_key,
        "ipAddresses": found.addresses,
        "name": found.hostname,
        "user": TAGGED_DEVICES if listed and found.tags else owner,
        "lastSeen": moment(found.last_seen),
        "expiry": moment(found.expiry),
        "preAuthKey": key(found.auth_key, found.auth_key.get("user")) if found.auth_key else None,
        "createdAt": moment(found.created_at),
        "registerMethod": _METHODS.get(found.register_method, "REGISTER_METHOD_UNSPECIFIED"),
        "givenName": found.name,
        "online": found.online,
        "approvedRoutes": found.approved_routes,
        "availableRoutes": found.available_routes,
        "subnetRoutes": served or [],
        "tags": found.tags,
    }


def moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")


class Words:
    """A request's body or query, read as the gateway reads it: unknown names are ignored, numbers may be strings, types are checked."""

    def __init__(self, words: dict[str, Any]) -> None:
        self._words = words

    def text(self, name: str) -> str:
        value = self._words.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong("string", name, value)
        return value or ""

    def number(self, name: str) -> int:
        value = self._words.get(name)
        if value is None:
            return 0
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,20}", str(value)) or int(value) >= 2**64:
            raise self._wrong("uint64", name, value)
        return int(value)

    def flag(self, name: str) -> bool:
        value = self._words.get(name)
        if isinstance(value, str):
            value = {"true": True, "1": True, "false": False, "0": False}.get(value, value)
        if value is not None and not isinstance(value, bool):
            raise self._wrong("bool", name, value)
        return bool(value)

    def texts(self, name: str) -> list[str]:
        value = self._words.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong("string", name, value)
        return value

    def moment(self, name: str) -> datetime | None:
        value = self._words.get(name)
        if value is None:
            return None
        try:
            found = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            found = None
        if found is None or found.tzinfo is None:
            raise Refusal(f"proto: invalid google.protobuf.Timestamp value {json.dumps(value)}", INVALID)
        return found if found.year == 1 else found.astimezone(UTC)

    def _wrong(self, kind: str, name: str, value: Any) -> Refusal:
        return Refusal(f"proto: invalid value for {kind} field {name}: {json.dumps(value)}", INVALID)


def check_tag(tag: str, code: int) -> None:
    if not tag.startswith("tag:"):
        raise Refusal("tag must start with the string 'tag:'", code)
    if tag.lower() != tag:
        raise Refusal("tag should be lowercase", code)
    if len(tag.split()) > 1:
        raise Refusal("tags must not contain spaces", code)
