"""Who sees whom, with which routes, and what a node lets in: what headscale puts into the network maps of its clients.

What shows a peer is addresses alone: ports and protocols of a rule do not matter, and a router or an exit node is shown to whoever has a rule that
its routes overlap. Where rules differ by node (`autogroup:self`, `via`), two nodes see each other if either's rules say so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from acs.demo.simulator import ipsets
from acs.demo.simulator.config import Network
from acs.demo.simulator.filters import Compiler, Rule, overlap, via_targets
from acs.demo.simulator.ipsets import ALL_V4, ALL_V6, INTERNET, IPSet
from acs.demo.simulator.names import INTERNET as THE_INTERNET
from acs.demo.simulator.nodes import Node
from acs.demo.simulator.policy import Grant
from acs.demo.simulator.reduction import reduced
from acs.demo.simulator.world import World


@dataclass(frozen=True)
class Peer:
    """Another node as one node is told of it. `routes`: the prefixes that lead through it, its own addresses not among them."""

    node: Node
    routes: list[str]


@dataclass(frozen=True)
class View:
    """What one node is told: its peers, and the rules for what it lets in."""

    peers: list[Peer]
    filter: list[Rule]


class Match:
    """Sources and destinations of a rule, and which nodes are among them: by their addresses, their subnets or, as exit nodes, by the internet."""

    def __init__(self, rule: Rule, nodes: list[Node]) -> None:
        networks = [network for targets, _ in rule.capabilities for network in targets]
        self.sources = IPSet.of(*map(ipsets.read, rule.sources or []))
        self.targets = IPSet.of(*(ipsets.read(ip) for ip, _ in rule.to), *networks)
        self.senders = {node.id for node in nodes if _is_in(self.sources, node)}
        self.receivers = {node.id for node in nodes if _is_in(self.targets, node) or (node.is_exit and self._is_to_everywhere)}

    @property
    def _is_to_everywhere(self) -> bool:
        return self.targets.covers(ALL_V4) or self.targets.covers(ALL_V6) or INTERNET.is_within(self.targets)

    def joins(self, one: int, other: int) -> bool:
        return (one in self.senders and other in self.receivers) or (other in self.senders and one in self.receivers)


@dataclass(frozen=True)
class Steering:
    """What `via` does to the routes of one peer for one viewer."""

    include: list[Network] = field(default_factory=list)
    exclude: list[Network] = field(default_factory=list)
    use_primary: list[Network] = field(default_factory=list)


class NetMaps:
    """The network maps of a world. `primaries`: which node serves a subnet that several advertise, by prefix."""

    def __init__(self, world: World, primaries: Mapping[str, int]) -> None:
        self.world, self._primaries, self._compiler = world, primaries, Compiler(world)
        self._known: dict[str, Match] = {}
        self._is_per_node = self._compiler.is_per_node
        general = self._compiler.for_all()
        self._rules = {node.id: self._compiler.for_node(node) if self._is_per_node else general for node in world.nodes}
        self._matches = {number: [self._match(rule) for rule in rules] for number, rules in self._rules.items()}

    def view(self, node: Node) -> View:
        """Of the nodes with which it is paired those whom its own rules speak of; where it has no rules, all of them."""
        own = self._matches[node.id]
        peers = [other for other in self.paired(node) if not own or self._joins(node, node, other)]
        return View([Peer(other, self._routes(node, other)) for other in peers], reduced(node, self._rules[node.id]))

    def paired(self, node: Node) -> list[Node]:
        """The nodes that the server keeps as peers of this one: one's rules or the other's say that they meet."""
        return [
            other
            for other in self.world.nodes
            if other.id != node.id and (self._joins(node, node, other) or (self._is_per_node and self._joins(other, node, other)))
        ]

    def _joins(self, whose: Node, one: Node, other: Node) -> bool:
        return any(match.joins(one.id, other.id) for match in self._matches[whose.id])

    def _match(self, rule: Rule) -> Match:
        key = repr((rule.sources, rule.to, rule.capabilities))
        if key not in self._known:
            self._known[key] = Match(rule, self.world.nodes)
        return self._known[key]

    def _routes(self, viewer: Node, peer: Node) -> list[str]:
        steering = self._steering(viewer, peer)
        primary = [ipaddress.ip_network(route) for route, number in self._primaries.items() if number == peer.id]
        offered = [route for route in (*primary, *peer.exits) if route not in steering.exclude]
        routes = [route for route in offered if self._may_route(viewer, route)]
        routes += [route for route in steering.include if route not in routes and (route in primary or route not in steering.use_primary)]
        routes += [route for route in primary if route in viewer.subnets and route not in routes]
        return [str(route) for route in sorted(set(routes), key=lambda route: (route.version, int(route.network_address), route.prefixlen))]

    def _may_route(self, viewer: Node, route: Network) -> bool:
        for match in self._matches[viewer.id]:
            to, back = match.targets.overlaps(route), match.sources.overlaps(route)
            if (to and viewer.id in match.senders) or (back and _is_in(match.targets, viewer)):
                return True
        return False

    def _steering(self, viewer: Node, peer: Node) -> Steering:
        mine = [grant for grant in self.world.policy.rules or [] if self._is_from(grant, viewer)]
        through = [grant for grant in mine if grant.via]
        steering = Steering()
        for grant in through:
            targets = via_targets(self.world, grant)
            matched = [route for target in targets for route in peer.subnets if overlap(target, route)]
            matched += peer.exits if THE_INTERNET in grant.dst else []
            (steering.include if set(grant.via) & set(peer.tags) else steering.exclude).extend(matched)
        if not steering.include and not steering.exclude:
            return steering
        for grant in through:
            steering = self._elected(steering, grant, peer)
        for grant in mine:
            if not grant.via:
                targets = via_targets(self.world, grant)
                steering.use_primary.extend(route for route in steering.include if any(overlap(target, route) for target in targets))
                kept = [route for route in steering.exclude if not any(overlap(target, route) for target in targets)]
                steering = replace(steering, exclude=kept)
        return steering

    def _elected(self, steering: Steering, grant: Grant, peer: Node) -> Steering:
        """Of several routers of a grant's tags that advertise a prefix, the oldest has it, online or not."""
        include, exclude = list(steering.include), list(steering.exclude)
        for target in via_targets(self.world, grant):
            for route in [route for route in include if overlap(target, route)]:
                routers = [node.id for node in self.world.nodes if set(grant.via) & set(node.tags) and route in node.subnets]
                if routers and peer.id != min(routers):
                    include = [other for other in include if other != route]
                    exclude += [] if route in exclude else [route]
        return replace(steering, include=include, exclude=exclude)

    def _is_from(self, grant: Grant, viewer: Node) -> bool:
        for name in grant.src:
            found = self.world.resolve(name)
            if any(found.has(ip) for ip in viewer.addresses):
                return True
        return False


def _is_in(addresses: IPSet, node: Node) -> bool:
    return any(addresses.has(ip) for ip in node.addresses) or any(map(addresses.overlaps, node.subnets))
