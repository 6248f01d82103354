"""Of all rules those that concern what one node lets in."""

from __future__ import annotations

from dataclasses import replace

from acs.demo.simulator import ipsets
from acs.demo.simulator.config import Network
from acs.demo.simulator.filters import Capabilities, Rule, overlap
from acs.demo.simulator.ipsets import INTERNET, IPSet
from acs.demo.simulator.nodes import Node
from acs.demo.simulator.world import networks_of


def reduced(node: Node, rules: list[Rule]) -> list[Rule]:
    """An exit node keeps every rule to public addresses, whoever wrote it."""
    found = []
    for rule in rules:
        if rule.capabilities:
            kept = [(networks, app) for networks, app in (_narrowed(node, *grant) for grant in rule.capabilities) if networks]
            found += [replace(rule, capabilities=kept)] if kept else []
        else:
            to = [target for target in rule.to if _concerns(node, ipsets.read(target[0]))]
            found += [replace(rule, to=to)] if to else []
    return found


def _concerns(node: Node, target: IPSet) -> bool:
    return (
        any(target.has(ip) for ip in node.addresses)
        or any(map(target.overlaps, node.subnets))
        or (node.is_exit and target.is_within(INTERNET))
    )


def _narrowed(node: Node, targets: list[Network], app: Capabilities) -> tuple[list[Network], Capabilities]:
    """The node's own addresses among them, and whole those that its subnets overlap."""
    own = [network for network in networks_of(node) for target in targets if IPSet.of(target).covers(network)]
    served = [target for target in targets if any(overlap(target, route) for route in node.subnets)]
    kept: set[Network] = {*own, *served}
    return sorted(kept, key=lambda network: (network.version, int(network.network_address), network.prefixlen)), app
