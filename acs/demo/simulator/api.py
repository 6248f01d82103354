"""The admin API v1: one function a call, listed in ROUTES. Every fault has headscale 0.29.2's status, code and words."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from acs.demo.simulator import keys, policy, protocol
from acs.demo.simulator.joining import Door, JoinRefused
from acs.demo.simulator.nodes import Node, Nodes, label_fault
from acs.demo.simulator.protocol import INTERNAL, INVALID, NOT_FOUND, Refusal, Words
from acs.demo.simulator.store import Duplicate, Row, Store

Answer = dict[str, Any]

_USERS = "SELECT * FROM users WHERE deleted_at IS NULL"


class Api:
    """The state behind the calls. `policy_file`: the document's text where the policy is not kept in the database."""

    def __init__(self, store: Store, nodes: Nodes, door: Door, *, policy_file: str | None) -> None:
        self.store, self.nodes, self.door, self._policy_file = store, nodes, door, policy_file
        stored = self._stored_policy()
        self._policy = policy.parse((stored["data"] if stored else policy_file) or "")

    def call(self, method: str, path: str, query: Words, body: Words) -> Answer:
        """Raises: Refusal."""
        known_path = False
        for verb, pattern, function in ROUTES:
            match = pattern.fullmatch(path)
            if match and verb == method:
                return function(self, body, query, *match.groups())
            known_path = known_path or bool(match)
        raise Refusal("Method Not Allowed", protocol.UNIMPLEMENTED) if known_path else Refusal("Not Found", NOT_FOUND)

    # Health

    def health(self, body: Words, query: Words) -> Answer:
        self.store.one("SELECT 1 AS one")
        return {"databaseConnectivity": True}

    # Users

    def list_users(self, body: Words, query: Words) -> Answer:
        for column in ("name", "email", "id"):
            value: Any = query.number("id") if column == "id" else query.text(column)
            if value:
                found = self.store.all(f"{_USERS} AND {column} = %s ORDER BY id", value)
                break
        else:
            found = self._users()
        return {"users": [protocol.user(row) for row in found]}

    def create_user(self, body: Words, query: Words) -> Answer:
        now = datetime.now(UTC)
        values = [body.text(name) for name in ("name", "displayName", "email", "pictureUrl")]
        try:
            row = self.store.one(
                "INSERT INTO users (name, display_name, email, profile_pic_url, provider, created_at, updated_at)"
                " VALUES (%s, %s, %s, %s, '', %s, %s) RETURNING *",
                *values,
                now,
                now,
            )
        except Duplicate as error:
            raise Refusal(f"creating user: creating user: {error}", INTERNAL) from error
        return {"user": protocol.user(row or {})}

    def delete_user(self, body: Words, query: Words, user_id: str) -> Answer:
        user = self._user(_number(user_id, "id"))
        with self.store.transaction() as run:
            if run("SELECT id FROM nodes WHERE user_id = %s", user["id"]):
                raise Refusal("user not empty: node(s) found")
            run("UPDATE nodes SET auth_key_id = NULL WHERE auth_key_id IN (SELECT id FROM pre_auth_keys WHERE user_id = %s)", user["id"])
            run("DELETE FROM pre_auth_keys WHERE user_id = %s", user["id"])
            run("DELETE FROM users WHERE id = %s", user["id"])
        return {}

    # Pre-auth keys

    def list_keys(self, body: Words, query: Words) -> Answer:
        users = {row["id"]: row for row in self._users()}
        rows = self.store.all("SELECT * FROM pre_auth_keys ORDER BY id")
        return {"preAuthKeys": [protocol.key(row, users.get(row["user_id"])) for row in rows]}

    def create_key(self, body: Words, query: Words) -> Answer:
        user_id, tags = body.number("user"), sorted(set(body.texts("aclTags")))
        reusable, ephemeral, expiration = body.flag("reusable"), body.flag("ephemeral"), body.moment("expiration") or protocol.NEVER
        for tag in body.texts("aclTags"):
            _check_tag(tag, INVALID)
        user = self._user(user_id) if user_id else None
        if not user and not tags:
            raise Refusal("auth-key must be either tagged or owned by user")
        text, prefix, hashed = keys.new("auth")
        row = self.store.one(
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

    def expire_key(self, body: Words, query: Words) -> Answer:
        self.store.all("UPDATE pre_auth_keys SET expiration = %s WHERE id = %s", datetime.now(UTC), body.number("id"))
        return {}

    def delete_key(self, body: Words, query: Words) -> Answer:
        with self.store.transaction() as run:
            run("UPDATE nodes SET auth_key_id = NULL WHERE auth_key_id = %s", query.number("id"))
            run("DELETE FROM pre_auth_keys WHERE id = %s", query.number("id"))
        return {}

    # Nodes

    def list_nodes(self, body: Words, query: Words) -> Answer:
        found = self.nodes.all()
        if query.text("user"):
            user = self._user_named(query.text("user"))
            found = [node for node in found if node.user and node.user["id"] == user["id"]]
        return {"nodes": [protocol.node(node, listed=True) for node in found]}

    def get_node(self, body: Words, query: Words, node_id: str) -> Answer:
        return {"node": protocol.node(self._node(node_id))}

    def delete_node(self, body: Words, query: Words, node_id: str) -> Answer:
        self.nodes.delete(self._node(node_id))
        return {}

    def expire_node(self, body: Words, query: Words, node_id: str) -> Answer:
        expiry, never = query.moment("expiry"), query.flag("disableExpiry")
        if expiry and never:
            raise Refusal("cannot set both disable_expiry and expiry", INVALID)
        with self.nodes.lock:
            node = self._node(node_id, _gone)
            node.expiry = None if never else expiry or datetime.now(UTC)
            self.nodes.save(node, expiry=True)
        return {"node": protocol.node(node)}

    def rename_node(self, body: Words, query: Words, node_id: str, name: str) -> Answer:
        fault = label_fault(name)
        if fault:
            raise Refusal(f'renaming node: "{name}" is not a valid DNS label: {fault}')
        with self.nodes.lock:
            node = self._node(node_id, _gone)
            if self.nodes.is_taken(name, but=node.id):
                raise Refusal(f"node name is not unique: {name}")
            node.name = name
            self.nodes.save(node)
        return {"node": protocol.node(node)}

    def set_tags(self, body: Words, query: Words, node_id: str) -> Answer:
        tags = body.texts("tags")
        if not tags:
            raise Refusal("cannot remove all tags from a node - tagged nodes must have at least one tag", INVALID)
        for tag in tags:
            _check_tag(tag, protocol.UNKNOWN)
        with self.nodes.lock:
            node = self._node(node_id)
            unknown = [tag for tag in tags if tag not in self._policy.tag_owners]
            if unknown:
                raise Refusal(f"requested tags [{' '.join(unknown)}] are invalid or not permitted", INVALID)
            node.tags, node.user = sorted(set(tags)), None
            self.nodes.save(node)
        return {"node": protocol.node(node)}

    def approve_routes(self, body: Words, query: Words, node_id: str) -> Answer:
        routes = _routes(body.texts("routes"))
        with self.nodes.lock:
            node = self._node(node_id, lambda wanted: Refusal(f"node no longer exists in NodeStore: {wanted}", INVALID))
            node.approved_routes = routes
            self.nodes.save(node)
        return {"node": protocol.node(node) | {"subnetRoutes": node.served_routes}}

    def backfill(self, body: Words, query: Words) -> Answer:
        if not query.flag("confirmed"):
            raise Refusal("not confirmed, aborting")
        return {"changes": self.nodes.backfill()}

    def register(self, body: Words, query: Words) -> Answer:
        auth_id = body.text("authId")
        if not auth_id.startswith("hskey-authreq-"):
            raise Refusal('auth ID has invalid prefix: expected prefix "hskey-authreq-"')
        if len(auth_id) != 38:
            raise Refusal(f"auth ID has invalid length: expected 38, got {len(auth_id)}")
        try:
            user = self._user_named(body.text("user"))
        except Refusal as refusal:
            raise Refusal(f"looking up user: {refusal}") from refusal
        try:
            return {"node": protocol.node(self.door.admit(auth_id, user))}
        except JoinRefused as error:
            raise Refusal(str(error)) from error

    # Policy

    def get_policy(self, body: Words, query: Words) -> Answer:
        if self._policy_file is not None:
            return {"policy": self._policy_file, "updatedAt": None}
        stored = self._stored_policy()
        if stored is None:
            raise Refusal("loading ACL from database: acl policy not found")
        return {"policy": stored["data"], "updatedAt": protocol.moment(stored["updated_at"])}

    def put_policy(self, body: Words, query: Words) -> Answer:
        if self._policy_file is not None:
            raise Refusal("update is disabled for modes other than 'database'")
        document, now = body.text("policy"), datetime.now(UTC)
        try:
            found = policy.parse(document)
            policy.check(found, self._users(), self.nodes.all())
        except policy.PolicyFault as fault:
            raise Refusal(f"setting policy: {fault}") from fault
        self.store.all("INSERT INTO policies (data, created_at, updated_at) VALUES (%s, %s, %s)", document, now, now)
        self._policy = found
        self.nodes.written()
        return {"policy": document, "updatedAt": protocol.moment(now)}

    def check_policy(self, body: Words, query: Words) -> Answer:
        try:
            policy.check(policy.parse(body.text("policy")), self._users(), self.nodes.all())
        except policy.PolicyFault as fault:
            raise Refusal(str(fault), INVALID) from fault
        return {}

    # Look-ups

    def _stored_policy(self) -> Row | None:
        return None if self._policy_file is not None else self.store.one("SELECT * FROM policies ORDER BY id DESC LIMIT 1")

    def _users(self) -> list[Row]:
        return self.store.all(f"{_USERS} ORDER BY id")

    def _user(self, user_id: int) -> Row:
        row = self.store.one(f"{_USERS} AND id = %s", user_id) if user_id < 2**63 else None
        if row is None:
            raise Refusal("user not found")
        return row

    def _user_named(self, name: str) -> Row:
        """An empty name drops the condition, as there: a sole user matches."""
        rows = self.store.all(f"{_USERS} AND name = %s", name) if name else self._users()
        if not rows:
            raise Refusal("user not found")
        if len(rows) > 1:
            raise Refusal(f"expected exactly one user, found {len(rows)}")
        return rows[0]

    def _node(self, node_id: str, refusal: Callable[[int], Refusal] = lambda _: Refusal("node not found", NOT_FOUND)) -> Node:
        number = _number(node_id, "node_id")
        node = self.nodes.by_id.get(number)
        if node is None:
            raise refusal(number)
        return node


def _gone(node_id: int) -> Refusal:
    return Refusal(f"node no longer exists in NodeStore: {node_id}")


def _number(text: str, name: str) -> int:
    if not re.fullmatch(r"\d{1,19}", text):
        raise Refusal(f'type mismatch, parameter: {name}, error: strconv.ParseUint: parsing "{text}": invalid syntax', INVALID)
    return int(text)


def _check_tag(tag: str, code: int) -> None:
    if not tag.startswith("tag:"):
        raise Refusal("tag must start with the string 'tag:'", code)
    if tag.lower() != tag:
        raise Refusal("tag should be lowercase", code)
    if len(tag.split()) > 1:
        raise Refusal("tags must not contain spaces", code)


def _routes(texts: list[str]) -> list[str]:
    """Sorted as there; an exit route is one for both versions."""
    found = set()
    for text in texts:
        try:
            found.add(ipaddress.ip_network(text))
        except ValueError as error:
            raise Refusal(f'parsing route: netip.ParsePrefix("{text}"): {error}') from error
        if "/" not in text:
            raise Refusal(f"parsing route: netip.ParsePrefix(\"{text}\"): no '/'")
    exits = {ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")}
    if found & exits:
        found |= exits
    return [
        str(network) for network in sorted(found, key=lambda network: (network.version, network.network_address.packed, network.prefixlen))
    ]


Call = Callable[..., Answer]


def _route(method: str, path: str, function: Call) -> tuple[str, re.Pattern[str], Call]:
    return method, re.compile("/api/v1" + path.replace("{}", "([^/]+)").replace("{?}", "([^/]*)")), function


ROUTES = [
    _route("GET", "/health", Api.health),
    _route("GET", "/user", Api.list_users),
    _route("POST", "/user", Api.create_user),
    _route("DELETE", "/user/{}", Api.delete_user),
    _route("GET", "/preauthkey", Api.list_keys),
    _route("POST", "/preauthkey", Api.create_key),
    _route("DELETE", "/preauthkey", Api.delete_key),
    _route("POST", "/preauthkey/expire", Api.expire_key),
    _route("GET", "/node", Api.list_nodes),
    _route("POST", "/node/backfillips", Api.backfill),
    _route("GET", "/node/{}", Api.get_node),
    _route("DELETE", "/node/{}", Api.delete_node),
    _route("POST", "/node/{}/expire", Api.expire_node),
    _route("POST", "/node/{}/rename/{?}", Api.rename_node),
    _route("POST", "/node/{}/tags", Api.set_tags),
    _route("POST", "/node/{}/approve_routes", Api.approve_routes),
    _route("POST", "/auth/register", Api.register),
    _route("GET", "/policy", Api.get_policy),
    _route("PUT", "/policy", Api.put_policy),
    _route("POST", "/policy/check", Api.check_policy),
]
