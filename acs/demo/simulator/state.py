"""What the calls of the admin API share: tables, nodes, door, the policy in force, and look-ups that refuse in headscale's words."""

from __future__ import annotations

import re
from collections.abc import Callable

from acs.demo.simulator import policy
from acs.demo.simulator.joining import Door
from acs.demo.simulator.nodes import Node, Nodes
from acs.demo.simulator.protocol import INVALID, NOT_FOUND, Refusal
from acs.demo.simulator.store import Row, Store

USERS = "SELECT * FROM users WHERE deleted_at IS NULL"


class State:
    """The state behind the calls. `policy_file`: the document's text where the policy is not kept in the database."""

    def __init__(self, store: Store, nodes: Nodes, door: Door, *, policy_file: str | None) -> None:
        self.store, self.nodes, self.door, self.policy_file = store, nodes, door, policy_file
        stored = self.stored_policy()
        self.policy = policy.parse((stored["data"] if stored else policy_file) or "")

    def stored_policy(self) -> Row | None:
        return None if self.policy_file is not None else self.store.one("SELECT * FROM policies ORDER BY id DESC LIMIT 1")

    def users(self) -> list[Row]:
        return self.store.all(f"{USERS} ORDER BY id")

    def user(self, user_id: int) -> Row:
        row = self.store.one(f"{USERS} AND id = %s", user_id) if user_id < 2**63 else None
        if row is None:
            raise Refusal("user not found")
        return row

    def user_named(self, name: str) -> Row:
        """An empty name drops the condition, as there: a sole user matches."""
        rows = self.store.all(f"{USERS} AND name = %s", name) if name else self.users()
        if not rows:
            raise Refusal("user not found")
        if len(rows) > 1:
            raise Refusal(f"expected exactly one user, found {len(rows)}")
        return rows[0]

    def node(self, node_id: str, refusal: Callable[[int], Refusal] = lambda _: Refusal("node not found", NOT_FOUND)) -> Node:
        number = number_of(node_id, "node_id")
        node = self.nodes.by_id.get(number)
        if node is None:
            raise refusal(number)
        return node


def number_of(text: str, name: str) -> int:
    if not re.fullmatch(r"\d{1,19}", text):
        raise Refusal(f'type mismatch, parameter: {name}, error: strconv.ParseUint: parsing "{text}": invalid syntax', INVALID)
    return int(text)


def gone(node_id: int) -> Refusal:
    return Refusal(f"node no longer exists in NodeStore: {node_id}")
