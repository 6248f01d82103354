"""What the calls of the admin API share: tables, nodes, door, the policy in force, and look-ups that refuse in headscale's words."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable

from acs.demo.simulator import validation
from acs.demo.simulator.ipsets import EXITS
from acs.demo.simulator.joining import Door
from acs.demo.simulator.nodes import Node, Nodes
from acs.demo.simulator.policy import Policy, tag_owners
from acs.demo.simulator.protocol import INVALID, NOT_FOUND, Refusal
from acs.demo.simulator.store import Row, Store
from acs.demo.simulator.world import World

USERS = "SELECT * FROM users WHERE deleted_at IS NULL"


class State:
    """The state behind the calls. `policy_file`: the document's text where the policy is not kept in the database."""

    def __init__(self, store: Store, nodes: Nodes, door: Door, *, policy_file: str | None) -> None:
        self.store, self.nodes, self.door, self.policy_file = store, nodes, door, policy_file
        stored = self.stored_policy()
        self.policy = validation.parse((stored["data"] if stored else policy_file) or "")
        door.may_have = self._may_have

    def stored_policy(self) -> Row | None:
        return None if self.policy_file is not None else self.store.one("SELECT * FROM policies ORDER BY id DESC LIMIT 1")

    def world(self, policy: Policy | None = None) -> World:
        """The users and nodes of now, under the policy in force or another one."""
        return World(policy or self.policy, self.users(), self.nodes.all())

    def approve_routes(self, nodes: Iterable[Node]) -> None:
        """What the policy's auto-approvers say; it takes no approval away."""
        if not self.policy.route_approvers and not self.policy.exit_approvers:
            return
        world = self.world()
        for node in nodes:
            wanted = [route for route in node.available_routes if route not in node.approved_routes and _approves(world, node, route)]
            if wanted:
                with self.nodes.lock:
                    node.approved_routes = sorted([*node.approved_routes, *wanted], key=_order)
                    self.nodes.save(node)

    def _may_have(self, user: Row, node: Node | None, tag: str) -> bool:
        world, owners = self.world(), tag_owners(self.policy, tag)
        if node and any(world.resolve(name).has(ip) for name in owners for ip in node.addresses):
            return True
        tokens = [token for name in self.policy.tag_owners.get(tag, []) for token in world.tokens(name)]
        return any([found["id"] for found in world.users_of(token)] == [user["id"]] for token in tokens)

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


def _approves(world: World, node: Node, route: str) -> bool:
    """A route within an approvers' one is approved as well."""
    wanted = ipaddress.ip_network(route)
    approvers = [
        name
        for prefix, whom in world.policy.route_approvers.items()
        if prefix.version == wanted.version and prefix.prefixlen <= wanted.prefixlen and prefix.overlaps(wanted)
        for name in whom
    ]
    return any(
        world.resolve(name).has(ip) for name in (world.policy.exit_approvers if route in EXITS else approvers) for ip in node.addresses
    )


def _order(route: str) -> tuple[int, int, int]:
    network = ipaddress.ip_network(route)
    return network.version, int(network.network_address), network.prefixlen
