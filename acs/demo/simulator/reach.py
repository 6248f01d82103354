"""What a policy allows among the users and nodes of a server, as its `tests` ask.

As in headscale: no document, or one without rules and grants, allows all to all; rules to `autogroup:self` are left out of what
the tests see; a user that nobody knows matches nothing; one that two users answer to rejects the document.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from acs.demo.simulator.config import Network
from acs.demo.simulator.nodes import Node
from acs.demo.simulator.policy import ALL_PORTS, EVERYWHERE, Policy, PolicyFault, Ports, known, with_ports
from acs.demo.simulator.store import Row

Compiled = list[tuple[list[Network], list[tuple[list[Network], Ports]]]]


def check(policy: Policy, users: Sequence[Row], nodes: Iterable[Node]) -> None:
    """Resolve every name and run the tests, as on a change by an operator. Raises: PolicyFault."""
    world = _World(policy, users, list(nodes))
    rules = world.compiled()
    faults = [fault for test in policy.tests for fault in world.run(test, rules)]
    if faults:
        raise PolicyFault("test(s) failed:\n" + "\n".join(faults))


class _World:
    """A policy among the users and nodes of a server."""

    def __init__(self, policy: Policy, users: Sequence[Row], nodes: list[Node]) -> None:
        self.policy, self.users, self.nodes = policy, users, nodes

    def compiled(self) -> Compiled:
        if self.policy.rules is None:
            anything: list[Network] = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
            return [(anything, [(anything, ALL_PORTS)])]
        return [
            (
                [network for name in rule.src for network in self.resolve(name)],
                [(self.resolve(name), ports) for name, ports in rule.to if name not in ("autogroup:self", "autogroup:internet")],
            )
            for rule in self.policy.rules
        ]

    def resolve(self, name: str) -> list[Network]:
        if name == "*":
            return EVERYWHERE
        if name in self.policy.hosts:
            return [self.policy.hosts[name]]
        if name.startswith("group:"):
            return [network for member in self.policy.groups[name] for network in self.resolve(member)]
        if name.startswith(("tag:", "autogroup:")):
            return _addresses(node for node in self.nodes if _is_of(node, name))
        return self._of_user(name) if "@" in name else [ipaddress.ip_network(name, strict=False)]

    def _of_user(self, token: str) -> list[Network]:
        name = token.removesuffix("@")
        found = {user["id"] for user in self.users if name in (user["name"], user["email"], user["provider_identifier"])}
        if len(found) > 1:
            raise PolicyFault(f'multiple users found: token "{token}"')
        return _addresses(node for node in self.nodes if not node.tags and node.user and node.user["id"] in found)

    def run(self, test: Mapping[str, Any], rules: Compiled) -> list[str]:
        """What is wrong, a line each."""
        src = str(test.get("src", ""))
        try:
            known(src, self.policy)
            sources = self.resolve(src)
        except PolicyFault as fault:
            return [f'{src}: failed to resolve source "{src}": {fault}']
        if not sources:
            return [f'{src}: source "{src}" resolved to no IP addresses']
        faults = []
        for wanted, targets in ((True, test.get("accept") or []), (False, test.get("deny") or [])):
            for target in targets:
                faults += self._try(src, sources, str(target), rules, wanted=wanted)
        return faults

    def _try(self, src: str, sources: list[Network], target: str, rules: list[Any], *, wanted: bool) -> list[str]:
        try:
            name, ports = with_ports(target)
            known(name, self.policy)
            targets = self.resolve(name)
        except PolicyFault as fault:
            return [f'{src}: error testing "{target}": {fault}']
        if not targets:
            return [f'{src}: error testing "{target}": destination resolved to no IP addresses: "{target}"']
        allowed = all(_reaches(source, targets, ports, rules) for source in sources)
        if allowed == wanted:
            return []
        return [f"{src} -> {target}: expected {'ALLOWED, got DENIED' if wanted else 'DENIED, got ALLOWED'}"]


def _reaches(source: Network, targets: list[Network], ports: Ports, rules: list[Any]) -> bool:
    return any(
        _within(source, sources)
        and any(_within(target, networks) and all(_open(span, spans) for span in ports) for target in targets for networks, spans in to)
        for sources, to in rules
    )


def _within(network: Network, networks: Iterable[Network]) -> bool:
    return any(network.version == other.version and network.subnet_of(other) for other in networks)  # type: ignore[arg-type]


def _open(span: tuple[int, int], spans: Ports) -> bool:
    return any(first <= span[0] and span[1] <= last for first, last in spans)


def _addresses(nodes: Iterable[Node]) -> list[Network]:
    return [ipaddress.ip_network(address) for node in nodes for address in node.addresses]


def _is_of(node: Node, name: str) -> bool:
    return name in node.tags if name.startswith("tag:") else bool(node.tags) == (name == "autogroup:tagged")
