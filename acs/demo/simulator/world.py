"""A policy among the users and nodes of a server: whose addresses a name means."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from acs.demo.simulator.config import Network
from acs.demo.simulator.ipsets import ALL_V4, ALL_V6, INTERNET, TAILNET, IPSet
from acs.demo.simulator.names import (
    ADDRESS,
    ANYONE,
    DANGER_ALL,
    GROUP,
    HOST,
    MEMBER,
    SELF,
    TAG,
    TAGGED,
    USER,
    PolicyFault,
    kind_of,
    network_of,
)
from acs.demo.simulator.names import INTERNET as THE_INTERNET
from acs.demo.simulator.nodes import Node
from acs.demo.simulator.policy import Policy
from acs.demo.simulator.store import Row


class World:
    """As it is at this moment: make a new one after a change."""

    def __init__(self, policy: Policy, users: Sequence[Row], nodes: Iterable[Node]) -> None:
        self.policy, self.users, self.nodes = policy, users, list(nodes)
        self._known: dict[str, IPSet] = {}

    def resolve(self, name: str) -> IPSet:
        """Whose addresses; of what cannot be resolved, none."""
        if name not in self._known:
            self._known[name] = self._resolve(name)
        return self._known[name]

    def strictly(self, name: str) -> IPSet:
        """Raises: PolicyFault when a user is unknown or ambiguous, a host undefined, or the name has no meaning for all nodes alike."""
        for token in self.tokens(name):
            found = self.users_of(token)
            if len(found) != 1:
                raise PolicyFault(f'{"multiple users" if found else "user not"} found: token "{token}"')
        kind = kind_of(name)
        if kind == HOST and name not in self.policy.hosts:
            raise PolicyFault(f'error resolving host: "{name}"')
        if name == SELF or (name.startswith("autogroup:") and name not in (THE_INTERNET, MEMBER, TAGGED, DANGER_ALL)):
            raise PolicyFault(f'autogroup cannot be resolved in this context: "{name}"')
        return self.resolve(name)

    def tokens(self, name: str) -> list[str]:
        """The users that a user's or a group's name speaks of."""
        kind = kind_of(name)
        return [name] if kind == USER else self.policy.groups.get(name, []) if kind == GROUP else []

    def users_of(self, token: str) -> list[Row]:
        """One by the provider's identifier, else all of that email or name."""
        name = token.removesuffix("@")
        for user in self.users:
            if user["provider_identifier"] and user["provider_identifier"] == name:
                return [user]
        return [user for user in self.users if name in (user["email"] or "", user["name"] or "")]

    def own(self, user_id: int) -> list[Node]:
        """A user's devices: those without tags."""
        return [node for node in self.nodes if not node.tags and node.user and node.user["id"] == user_id]

    def approved_subnets(self) -> list[str]:
        return list(dict.fromkeys(route for node in self.nodes for route in node.subnet_routes))

    def _resolve(self, name: str) -> IPSet:
        kind = kind_of(name)
        if kind == ADDRESS:
            network = network_of(name)
            return IPSet.of(network) if network else IPSet()
        if kind == HOST:
            return IPSet.of(self.policy.hosts[name]) if name in self.policy.hosts else IPSet()
        if kind in (USER, GROUP):
            alone = [found[0]["id"] for found in map(self.users_of, self.tokens(name)) if len(found) == 1]
            return addresses_of(node for user_id in alone for node in self.own(user_id))
        if kind == TAG:
            return addresses_of(node for node in self.nodes if name in node.tags)
        if name in (MEMBER, TAGGED):
            return addresses_of(node for node in self.nodes if bool(node.tags) == (name == TAGGED))
        fixed = {"*": TAILNET, THE_INTERNET: INTERNET, DANGER_ALL: IPSet.of(ALL_V4, ALL_V6)}
        return fixed.get(ANYONE if kind == ANYONE else name, IPSet())


def addresses_of(nodes: Iterable[Node]) -> IPSet:
    return IPSet.of(*(network for node in nodes for network in networks_of(node)))


def networks_of(node: Node) -> list[Network]:
    """A node's own addresses."""
    return [ipaddress.ip_network(address) for address in node.addresses]
