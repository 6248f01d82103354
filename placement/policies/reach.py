"""Who reaches what in one tenant's network, read from the statements that its server's document says. Pure.

Whatever reaches or is reached is a *point*, named by a key: a device by its id, a prefix by its text, the Internet by `autogroup:internet`. What
another tenant has in a peering is one point, `peering:ID`, shown by the words of the peering: its devices are never told apart here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from placement.policies import spans
from placement.policies.compiling import Compiled, Statement, tenants_of
from placement.policies.facts import ClusterFact, Network, PeeringFact
from placement.policies.resolving import NOBODY, Side, Tenant, prefix_of
from tenants.policies.document import INTERNET, Service

DEVICE, PREFIX, OUTSIDE, PEERING = "device", "prefix", "internet", "peering"


@dataclass(frozen=True)
class Point:
    """One that reaches or is reached. `label` is what people call it."""

    key: str
    kind: str
    label: str


@dataclass(frozen=True)
class Reach:
    """A tenant's own view of a compiled cluster: the statements that concern it."""

    tenant: Tenant
    statements: tuple[Statement, ...]
    peerings: dict[str, PeeringFact] = field(default_factory=dict)

    @property
    def account(self) -> str:
        return self.tenant.account

    def why(self, src: str, dst: str, service: Service) -> Statement | None:
        """The first statement that lets all of the service pass, or the first of those that do so together; None: it does not pass."""
        found = self.joining(src, dst)
        alone = next((one for one in found if spans.covers(one.services, service)), None)
        if alone is not None:
            return alone
        together = [one for one in found if spans.touches(one.services, service)]
        return together[0] if together and spans.covers(_services(together), service) else None

    def services(self, src: str, dst: str) -> tuple[Service, ...]:
        """All that `src` reaches of `dst`, in as few words as it takes."""
        return spans.joined(_services(self.joining(src, dst)))

    def touches(self, src: str, those: tuple[str, ...], service: Service) -> bool:
        """Whether any of the service passes to any of these. Tests ask this very often, of the same ones."""
        if (src, those) not in self._passing:
            led = {number for dst in those for number in self._naming(dst, towards=True)}
            numbers = sorted(led.intersection(self._naming(src, towards=False)))
            self._passing[src, those] = spans.spread(_services(self.statements[number] for number in numbers))
        return spans.meets(self._passing[src, those], service)

    @cached_property
    def _passing(self) -> dict[tuple[str, tuple[str, ...]], spans.Spans]:
        return {}

    def joining(self, src: str, dst: str) -> list[Statement]:
        """The statements that have the one as a source and the other as a destination."""
        return [one for one in self.statements if self.has_source(one, src) and self.has_destination(one, dst)]

    def has_source(self, one: Statement, key: str) -> bool:
        if one.account != self.account:
            return key == f"peering:{one.peering}"
        return key in one.src.devices or _inside(key, one.src.networks)

    def has_destination(self, one: Statement, key: str) -> bool:
        if one.host != self.account:
            return key == f"peering:{one.peering}"
        if key == INTERNET:
            return self._is_outside(one.dst)
        return key in one.dst.devices or _inside(key, one.dst.networks)

    def _is_outside(self, side: Side) -> bool:
        return side.exits and bool(self.tenant.internet) and side.networks.issuperset(self.tenant.internet)

    @cached_property
    def sources(self) -> dict[str, Point]:
        """Whatever may reach something, by key: devices, prefixes behind routers, and tenants in peerings."""
        routed = {network for one in self._own_sources for network in one.src.networks}
        strangers = {one.peering for one in self.statements if one.account != self.account}
        return {**self.devices, **_prefixes(routed), **{key.key: key for key in map(self._stranger, sorted(strangers))}}

    @cached_property
    def destinations(self) -> dict[str, Point]:
        """Whatever may be reached: devices, prefixes, the Internet where there is an exit node, and tenants in peerings."""
        networks = {network for one in self.statements if one.host == self.account for network in one.dst.networks}
        outside = {INTERNET: Point(INTERNET, OUTSIDE, INTERNET)} if self.tenant.exits else {}
        strangers = {one.peering for one in self.statements if one.host != self.account}
        prefixes = _prefixes((networks - set(self.tenant.internet)) | set(self.tenant.routes))
        return {**self.devices, **prefixes, **outside, **{key.key: key for key in map(self._stranger, sorted(strangers))}}

    @cached_property
    def sides(self) -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
        """For each statement the keys of its sources and of its destinations."""
        beyond = [[key for key, point in known.items() if point.kind != DEVICE] for known in (self.sources, self.destinations)]
        return tuple(
            (
                one.src.devices.intersection(self.sources) | {key for key in beyond[0] if self.has_source(one, key)},
                one.dst.devices.intersection(self.destinations) | {key for key in beyond[1] if self.has_destination(one, key)},
            )
            for one in self.statements
        )

    @cached_property
    def devices(self) -> dict[str, Point]:
        return {device.id: Point(device.id, DEVICE, device.label) for device in self.tenant.fact.devices}

    @property
    def _own_sources(self) -> Iterable[Statement]:
        return (one for one in self.statements if one.account == self.account)

    def _stranger(self, peering_id: str) -> Point:
        """The other side of a peering, in the words that both have agreed on."""
        peering = self.peerings[peering_id]
        other, words = (peering.guest, peering.src) if peering.host == self.account else (peering.host, peering.dst)
        return Point(f"peering:{peering_id}", PEERING, f"{other}: {', '.join(word.text for word in words)}")

    def stand_for(self, text: str, *, towards: bool) -> tuple[str, ...]:
        """The keys of what a word means as a destination (`towards`) or as a source; a key means itself. Nothing: it means nothing here."""
        name = text.strip().lower()
        known = self.destinations if towards else self.sources
        if name in known and known[name].kind in (DEVICE, OUTSIDE, PEERING):
            return (name,)
        side = self.tenant.of(name, towards=towards) if name else NOBODY
        if _inside(name, side.networks):
            return (*sorted(side.devices), str(prefix_of(name)))
        networks = side.networks - set(self.tenant.internet) if self._is_outside(side) else side.networks
        keys = (*sorted(side.devices), *sorted(map(str, networks)))
        return (*keys, INTERNET) if self._is_outside(side) else keys

    def alike(self, keys: Iterable[str], *, towards: bool) -> list[list[str]]:
        """The keys in groups that the same rules name: whatever one of a group may, all of it may."""
        groups: dict[tuple[int, ...], list[str]] = {}
        for key in keys:
            groups.setdefault(self._naming(key, towards=towards), []).append(key)
        return list(groups.values())

    def _naming(self, key: str, *, towards: bool) -> tuple[int, ...]:
        """The numbers of the statements that have it as a destination, or as a source."""
        known = self.destinations if towards else self.sources
        if key in known:
            return self._marks[towards].get(key, ())
        has = self.has_destination if towards else self.has_source
        return tuple(number for number, one in enumerate(self.statements) if has(one, key))

    @cached_property
    def _marks(self) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
        found: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
        for number, sides in enumerate(self.sides):
            for marks, keys in zip(found, sides, strict=True):
                for key in keys:
                    marks.setdefault(key, []).append(number)
        sources, destinations = ({key: tuple(numbers) for key, numbers in marks.items()} for marks in found)
        return sources, destinations

    def label_of(self, key: str) -> str:
        point = self.sources.get(key) or self.destinations.get(key)
        return point.label if point else key


def reach_of(compiled: Compiled, cluster: ClusterFact, account: str) -> Reach:
    """What the compiled document says of one tenant. Raises: KeyError for an account that is not on the cluster."""
    tenant = tenants_of(cluster)[account]
    concerning = tuple(one for one in compiled.statements if account in (one.account, one.host))
    return Reach(tenant, concerning, {peering.id: peering for peering in cluster.peerings if account in (peering.host, peering.guest)})


def _services(statements: Iterable[Statement]) -> list[Service]:
    return [service for one in statements for service in one.services]


def _prefixes(networks: Iterable[Network]) -> dict[str, Point]:
    ordered = sorted(networks, key=lambda network: (network.version, int(network.network_address), network.prefixlen))
    return {str(network): Point(str(network), PREFIX, str(network)) for network in ordered}


def _inside(key: str, networks: frozenset[Network]) -> bool:
    """Whether the key is a prefix, and one of the networks holds all of it."""
    if not networks or (network := prefix_of(key)) is None:
        return False
    return any(network.version == other.version and network.subnet_of(other) for other in networks)  # type: ignore[arg-type]
