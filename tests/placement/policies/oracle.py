"""Two evaluators that know nothing of each other, nor of the compiler.

`Server` reads a compiled document as headscale 0.29 does (policy/v2, matcher, policyutil): who sees whom, and what a node's packet filter lets in.
`Meaning` reads tenants' documents as their authors mean them. Both answer for single addresses.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from placement.policies.facts import ClusterFact, DeviceFact, PeeringFact, TenantFact
from tenants.policies.document import Rule, Service, Word

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

V4 = ipaddress.ip_network("0.0.0.0/0")
PRIVATE = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")]


def minus(networks: list[Network], hole: Network) -> list[Network]:
    left: list[Network] = []
    for network in networks:
        if network.version != hole.version or not network.overlaps(hole):
            left.append(network)
        elif not network.subnet_of(hole):
            left += network.address_exclude(hole)
    return left


def the_internet() -> list[Network]:
    """util.TheInternet."""
    found: list[Network] = [V4, ipaddress.ip_network("2000::/3")]
    for hole in PRIVATE:
        found = minus(found, hole)
    return found


INTERNET = the_internet()


def covers(networks: Iterable[Network], wanted: Network) -> bool:
    """Whether the union of the networks contains `wanted`."""
    left = [wanted]
    for network in networks:
        left = minus(left, network)
    return not left


@dataclass(frozen=True)
class Node:
    """A device as the server knows it."""

    account: str
    device: DeviceFact

    @property
    def ips(self) -> tuple[Network, ...]:
        return self.device.addresses

    @property
    def tagged(self) -> bool:
        return bool(self.device.tags)


@dataclass
class Compiled:
    """One rule of a packet filter. `only_at`: the ids of the nodes that have it (rules of `via` and of autogroup:self); None: all."""

    src: list[Network]
    dst: list[Network]
    services: list[tuple[str, int, int]]
    only_at: set[str] | None = None

    @cached_property
    def is_the_internet(self) -> bool:
        """matcher.DestsIsTheInternet."""
        whole = [V4, ipaddress.ip_network("::/0")]
        return any(covers(self.dst, all_) for all_ in whole) or all(covers(self.dst, part) for part in INTERNET)


class Server:
    """A document among the nodes of a server."""

    def __init__(self, text: str, cluster: ClusterFact) -> None:
        self.document: dict[str, Any] = json.loads("\n".join(line for line in text.splitlines() if not line.startswith("//")))
        self.nodes = [Node(tenant.account, device) for tenant in cluster.tenants for device in tenant.devices]
        self.rules = [*self._acls(), *self._grants()]
        self._matchers = {node.device.id: self.matchers(node) for node in self.nodes}
        self._seen = {
            (one.device.id, other.device.id): one != other and self._sees(one, other) for one in self.nodes for other in self.nodes
        }

    def resolve(self, token: str) -> list[Network]:
        if token == "autogroup:member":
            return [ip for node in self.nodes if not node.tagged for ip in node.ips]
        if token.startswith("group:"):
            return [ip for member in self.document["groups"][token] for ip in self.resolve(member)]
        if token.startswith("tag:"):
            assert token in self.document["tagOwners"], f"{token} is not defined: the server would refuse the document"
            return [ip for node in self.nodes if token in node.device.tags for ip in node.ips]
        if token.endswith("@"):
            return [ip for node in self.nodes if not node.tagged and node.account == token[:-1] for ip in node.ips]
        return [ipaddress.ip_network(token)]

    def _acls(self) -> Iterable[Compiled]:
        for acl in self.document.get("acls", []):
            src = [ip for token in acl["src"] for ip in self.resolve(token)]
            for target in acl["dst"]:
                name, _, port = target.rpartition(":")
                if name == "autogroup:self":
                    yield from self._selves(src)
                else:
                    yield Compiled(src, self.resolve(name), [("", int(port), int(port))])

    def _selves(self, src: list[Network]) -> Iterable[Compiled]:
        for account in {node.account for node in self.nodes}:
            own = [node for node in self.nodes if node.account == account and not node.tagged]
            ips = [ip for node in own for ip in node.ips]
            yield Compiled([ip for ip in src if ip in ips], ips, [("", 0, 65535)], {node.device.id for node in own})

    def _grants(self) -> Iterable[Compiled]:
        for grant in self.document.get("grants", []):
            src = [ip for token in grant["src"] for ip in self.resolve(token)]
            services = [self._service(ip) for ip in grant.get("ip", [])]
            outside = "autogroup:internet" in grant["dst"]
            dst = [ip for token in grant["dst"] if token != "autogroup:internet" for ip in self.resolve(token)]
            if "via" not in grant:
                assert not outside, "a rule to autogroup:internet without `via` shows everybody's exit nodes"
                yield Compiled(src, dst, services)
                continue
            for node in self.nodes:
                if set(node.device.tags) & set(grant["via"]):
                    to = [network for network in dst if any(network.overlaps(route) for route in _subnets(node))]
                    yield Compiled(src, [*to, *(INTERNET if outside and node.device.exit else [])], services, {node.device.id})

    @staticmethod
    def _service(text: str) -> tuple[str, int, int]:
        protocol, _, ports = text.rpartition(":")
        first, _, last = ("0-65535" if ports == "*" else ports).partition("-")
        return protocol, int(first), int(last or first)

    def matchers(self, node: Node) -> list[Compiled]:
        """Rules of the node, those of the same sources and protocols merged: their destinations count together."""
        merged: dict[tuple[Any, ...], Compiled] = {}
        for rule in self.rules:
            if rule.only_at is not None and node.device.id not in rule.only_at:
                continue
            for protocol in {protocol for protocol, _, _ in rule.services} or {"app"}:
                key = (tuple(sorted(map(str, rule.src))), protocol)
                merged.setdefault(key, Compiled(rule.src, [], [])).dst.extend(rule.dst)
        return list(merged.values())

    def can_access(self, rules: list[Compiled], one: Node, other: Node) -> bool:
        """types.Node.CanAccess."""
        for rule in rules:
            if not any(_in(ip, rule.src) for ip in one.ips) and not any(
                route.overlaps(src) for route in _subnets(one) for src in rule.src if src.version == route.version
            ):
                continue
            if any(_in(ip, rule.dst) for ip in other.ips):
                return True
            if any(route.overlaps(dst) for route in _subnets(other) for dst in rule.dst if dst.version == route.version):
                return True
            if other.device.exit and rule.is_the_internet:
                return True
        return False

    def sees(self, one: Node, other: Node) -> bool:
        return self._seen[one.device.id, other.device.id]

    def _sees(self, one: Node, other: Node) -> bool:
        """PolicyManager.BuildPeerMap pairs nodes by the rules of either; whom a node is shown is reduced by its own (mapper, ReduceNodes)."""
        rules = self._matchers[one.device.id]
        return any(self.can_access(rules, a, b) for a, b in ((one, other), (other, one)))

    def lets_in(self, at: Node, source: Network, target: Address, protocol: str, port: int) -> bool:
        """Whether the packet filter of `at` lets a packet in, for itself or for what it routes."""
        for rule in self.rules:
            if rule.only_at is not None and at.device.id not in rule.only_at:
                continue
            if not _in(source, rule.src) or not any(target in network for network in rule.dst):
                continue
            if any(want in ("", protocol) and first <= port <= last for want, first, last in rule.services):
                return True
        return False

    def reaches(self, one: Node, target: Address, protocol: str, port: int) -> bool:
        """Whether a packet of `one` gets to the target: at its node, or through a router that `one` sees."""
        sources = [ip for ip in one.ips if ip.version == target.version]
        for node in self.nodes:
            if node == one or not self._carries(node, target) or not self.sees(one, node):
                continue
            if any(self.lets_in(node, source, target, protocol, port) for source in sources):
                return True
        return False

    def _carries(self, node: Node, target: Address) -> bool:
        if any(target in ip for ip in node.ips) or any(target in route for route in _subnets(node)):
            return True
        return node.device.exit and any(target in network for network in INTERNET)


def _subnets(node: Node) -> tuple[Network, ...]:
    return node.device.routes


def _in(ip: Network, networks: Iterable[Network]) -> bool:
    return any(ip.version == network.version and ip.subnet_of(network) for network in networks)


class Meaning:
    """What tenants' documents and peerings say, as a person reads them."""

    def __init__(self, cluster: ClusterFact) -> None:
        self.cluster = cluster

    def allows(self, tenant: TenantFact, one: DeviceFact, target: Address, protocol: str, port: int) -> bool:
        """Whether a device may send to an address, by its own tenant's document or by a peering."""
        own = next((device for device in tenant.devices if any(target in ip for ip in device.addresses)), None)
        if own == one:
            return False
        if tenant.document.rules is None:
            if own is not None or self._routed(tenant, one, target) or self._outside(tenant, one, target):
                return True
        elif any(self._rule(tenant, rule, one, target, (protocol, port)) for rule in tenant.document.rules):
            return True
        return any(self._peering(peering, tenant, one, target, (protocol, port)) for peering in self.cluster.peerings)

    def _rule(self, tenant: TenantFact, rule: Rule, one: DeviceFact, target: Address, packet: tuple[str, int]) -> bool:
        if not self._serves(rule.services, *packet) or not any(self._is(tenant, word, one) for word in rule.src):
            return False
        via = {f"tag:{tenant.account}--{word.text[4:]}" for word in rule.via}
        if not via:
            return any(self._to(tenant, word, one, target, whole=False) for word in rule.dst)
        if set(one.tags) & via:
            return False
        routers = [device for device in tenant.devices if set(device.tags) & via and device != one]
        return any(self._to(tenant, word, one, target, whole=True) for word in rule.dst) and any(
            any(target in route for route in router.routes) or (router.exit and self._outside(tenant, one, target, whole=True))
            for router in routers
        )

    def _peering(self, peering: PeeringFact, tenant: TenantFact, one: DeviceFact, target: Address, packet: tuple[str, int]) -> bool:
        host = self.cluster.tenant(peering.host)
        if host is None or peering.guest != tenant.account or not self._serves(peering.services, *packet):
            return False
        device = next((device for device in host.devices if any(target in ip for ip in device.addresses)), None)
        return (
            device is not None
            and not device.exit
            and not one.exit
            and any(self._is(tenant, word, one) for word in peering.src)
            and any(self._is(host, word, device) for word in peering.dst)
        )

    @staticmethod
    def _serves(services: tuple[Service, ...], protocol: str, port: int) -> bool:
        return any(service.protocol in ("", protocol) and service.first <= port <= service.last for service in services)

    def _is(self, tenant: TenantFact, word: Word, device: DeviceFact) -> bool:  # noqa: PLR0911 - one answer for each kind of word
        """Whether the word stands for the device."""
        text, hosts, groups = word.text, tenant.document.hosts, tenant.document.groups
        if text == "*":
            return True
        if text in ("autogroup:member", "autogroup:self"):
            return not device.tags
        if text == "autogroup:tagged":
            return bool(device.tags)
        if text.startswith("group:"):
            return any(self._is(tenant, member, device) for member in groups.get(text, ()))
        if text.startswith("tag:"):
            return f"tag:{tenant.account}--{text[4:]}" in device.tags
        if "@" in text:
            return device.person == text and not device.tags
        if text in hosts:
            text = hosts[text].text
        try:
            return any(ip.version == net.version and ip.subnet_of(net) for net in [ipaddress.ip_network(text)] for ip in device.addresses)
        except ValueError:
            return device in self._called(tenant, text)

    @staticmethod
    def _called(tenant: TenantFact, name: str) -> list[DeviceFact]:
        for kind in ("registration_id", "name", "hostname"):
            found = [device for device in tenant.devices if getattr(device, kind).lower() == name]
            if found:
                return found if len(found) == 1 else []
        return []

    def _to(self, tenant: TenantFact, word: Word, one: DeviceFact, target: Address, *, whole: bool) -> bool:
        """Whether the word, as a destination, stands for the address. `whole`: of the Internet only all of it counts (rules by way of routers)."""
        own = next((device for device in tenant.devices if any(target in ip for ip in device.addresses)), None)
        if own is not None:
            return not whole and self._is(tenant, word, own)
        text = tenant.document.hosts[word.text].text if word.text in tenant.document.hosts else word.text
        routed, outside = self._routed(tenant, one, target), self._outside(tenant, one, target, whole=whole)
        if text == "*":
            return routed or outside
        if text == "autogroup:internet":
            return outside
        if text.startswith("group:"):
            return any(self._to(tenant, member, one, target, whole=whole) for member in tenant.document.groups.get(text, ()))
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            return False
        return target in network and (routed or (outside and not whole))

    @staticmethod
    def _routed(tenant: TenantFact, one: DeviceFact, target: Address) -> bool:
        """Whether another device of the tenant routes the address."""
        return any(target in route for device in tenant.devices if device != one for route in device.routes)

    def _outside(self, tenant: TenantFact, one: DeviceFact, target: Address, *, whole: bool = False) -> bool:
        """Whether the address lies in the Internet and the tenant has another exit node. What anybody routes is not the Internet to anyone. `whole`: by way of
        routers that the rule names it is the server's own Internet, which they alone are reached for."""
        if not any(device.exit for device in tenant.devices if device != one):
            return False
        if whole:
            return any(target in network for network in INTERNET)
        routes = [route for other in self.cluster.tenants for device in other.devices for route in device.routes]
        return any(target in network for network in INTERNET) and target.is_global and not any(target in route for route in routes)
