"""Rules compiled to addresses, as headscale hands them to clients: first for all nodes alike, then for one node.

A grant to `autogroup:self` or through a router (`via`) means something else for every node: of it the rules for all know nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

from acs.demo.simulator.config import Network
from acs.demo.simulator.ipsets import INTERNET, IPSet, short
from acs.demo.simulator.names import ALL_PORTS, DANGER_ALL, SELF
from acs.demo.simulator.names import INTERNET as THE_INTERNET
from acs.demo.simulator.nodes import Node
from acs.demo.simulator.policy import Grant
from acs.demo.simulator.world import World, addresses_of, networks_of

Capabilities = dict[str, list[Any] | None]
Target = tuple[str, tuple[int, int]]  # an address, a prefix or `*`, and the span of ports

# what a capability brings with it, for the other side
_COMPANIONS = {
    "tailscale.com/cap/drive": "tailscale.com/cap/drive-sharer",
    "tailscale.com/cap/relay": "tailscale.com/cap/relay-target",
}


@dataclass(frozen=True)
class Rule:
    """One compiled rule: to ports (`to`, under `protocols`: IANA's numbers, none for any) or with capabilities, never both.

    `sources`: addresses, prefixes, ranges `a-b`, `*`; None where headscale says null.
    """

    sources: list[str] | None
    to: list[Target] = field(default_factory=list)
    protocols: list[int] = field(default_factory=list)
    capabilities: list[tuple[list[Network], Capabilities]] = field(default_factory=list)


ALLOW_ALL = [Rule(["*"], [("*", ALL_PORTS[0])])]


class Compiler:
    """The rules of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._grants = [(grant, self._general(grant)) for grant in world.policy.rules or []]

    @property
    def is_per_node(self) -> bool:
        return any(
            (grant.via and grant.services and self._sources(grant)) or (not grant.via and SELF in grant.dst) for grant, _ in self._grants
        )

    def for_all(self) -> list[Rule]:
        if self.world.policy.rules is None:
            return ALLOW_ALL
        return _merged([rule for _, rules in self._grants for rule in rules])

    def for_node(self, node: Node) -> list[Rule]:
        """Not reduced: also what concerns other nodes."""
        if not self.is_per_node:
            return self.for_all()
        rules: list[Rule] = []
        for grant, general in self._grants:
            rules += general
            if grant.via:
                rules += self._via(grant, node)
            elif SELF in grant.dst and not node.tags and node.user:
                rules += self._own(grant, self.world.own(node.user["id"]))
        return _merged(rules)

    def _general(self, grant: Grant) -> list[Rule]:
        targets = [name for name in grant.dst if name != SELF]
        if grant.via or not grant.src or not targets:
            return []
        sources, spans = self._sources(grant), self._targets(targets)
        rules = [
            Rule(sources, list(itertools.product(spans, service.ports)), service.numbers) for service in grant.services if sources and spans
        ]
        if grant.app is None:
            return rules
        resolved = [self.world.resolve(name) for name in targets]
        told: list[str] = [text for addresses in resolved for text in addresses.texts()]
        if "*" in targets:
            told += self.world.approved_subnets()
        return [
            *rules,
            Rule(sources or [], capabilities=[(addresses.networks(), grant.app) for addresses in resolved]),
            *_companions(told, [network for name in grant.src for network in self.world.resolve(name).networks()], grant.app),
        ]

    def _sources(self, grant: Grant) -> list[str]:
        named = [self.world.resolve(name) for name in grant.src]
        merged = IPSet.of(*named)
        if DANGER_ALL in grant.src or not merged:
            return ["*"] if merged else []
        texts = merged.texts()
        if "*" in grant.src:
            texts += self.world.approved_subnets()
            if not grant.via:
                texts += [text for name in grant.src if name != "*" for text in self.world.resolve(name).texts()]
                texts = list(dict.fromkeys(texts))
        return texts

    def _targets(self, names: list[str]) -> list[str]:
        return [text for name in names for text in (["*"] if name == "*" else map(short, self.world.resolve(name).networks()))]

    def _own(self, grant: Grant, own: list[Node]) -> list[Rule]:
        """From a user's devices to that user's devices."""
        named = [self.world.resolve(name) for name in grant.src]
        senders = addresses_of(node for node in own if any(addresses.has(ip) for addresses in named for ip in node.addresses))
        if not senders:
            return []
        sources = senders.texts()
        rules = [
            Rule(sources, [(ip, span) for node in own for span in service.ports for ip in node.addresses], service.numbers)
            for service in grant.services
        ]
        if grant.app is None:
            return rules
        capabilities = [(networks_of(node), grant.app) for node in own]
        told = [ip for node in own for ip in node.addresses]
        return [*rules, Rule(sources, capabilities=capabilities), *_companions(told, senders.networks(), grant.app)]

    def _via(self, grant: Grant, node: Node) -> list[Rule]:
        """Only the routers themselves are told, of those destinations that they serve."""
        sources = self._sources(grant)
        if not sources or not set(grant.via) & set(node.tags):
            return []
        targets = [network for network in via_targets(self.world, grant) if any(overlap(network, route) for route in node.subnets)]
        if THE_INTERNET in grant.dst and node.is_exit:
            targets += INTERNET.networks()
        return [
            Rule(sources, [(str(network), span) for network in targets for span in service.ports], service.numbers)
            for service in grant.services
            if targets
        ]


def via_targets(world: World, grant: Grant) -> list[Network]:
    return [network for name in grant.dst if name not in (THE_INTERNET, SELF) for network in world.resolve(name).networks()]


def overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _companions(sources: list[str], targets: list[Network], app: Capabilities) -> list[Rule]:
    """The other way round, with nothing in the hand."""
    return [
        Rule(sources or None, capabilities=[(targets, {companion: None})]) for name, companion in sorted(_COMPANIONS.items()) if name in app
    ]


def _merged(rules: list[Rule]) -> list[Rule]:
    """Rules of the same sources and protocols are one; those with capabilities stay alone."""
    if len(rules) <= 1:
        return rules
    merged: list[Rule] = []
    at: dict[tuple[tuple[str, ...], tuple[int, ...]], int] = {}
    for rule in rules:
        key = (tuple(rule.sources or ()), tuple(rule.protocols))
        if not rule.capabilities and key in at:
            merged[at[key]] = replace(merged[at[key]], to=[*merged[at[key]].to, *rule.to])
            continue
        if not rule.capabilities:
            at[key] = len(merged)
        merged.append(rule)
    return merged


def document(rules: list[Rule]) -> list[dict[str, Any]]:
    """As headscale writes them in JSON."""
    return [_document(rule) for rule in rules]


def _document(rule: Rule) -> dict[str, Any]:
    parts = {
        "DstPorts": [{"IP": ip, "Ports": {"First": first, "Last": last}} for ip, (first, last) in rule.to],
        "IPProto": rule.protocols,
        "CapGrant": [
            {"Dsts": [str(network) for network in networks], "CapMap": dict(sorted(app.items()))} for networks, app in rule.capabilities
        ],
    }
    return {"SrcIPs": rule.sources, **{name: part for name, part in parts.items() if part}}
