"""What the words of a tenant's document stand for among its devices: names for the server, and who and what they mean now. Pure.

A word never stands for anything outside of its tenant: devices are looked for among the tenant's own, and prefixes are cut to what its own routers
route. What no longer stands for anything is left out; `faults` names it where a document is about to be stored.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from django.utils.translation import gettext as _

from placement.policies.facts import DOCUMENTATION, TAILNET, DeviceFact, Network, TenantFact, server_tag
from placement.policies.internet import common, without
from tenants.policies.document import EVERYONE, INTERNET, MEMBER, SELF, TAGGED, Document, Fault, Place, Word


@dataclass(frozen=True)
class Side:
    """One side of a rule. `tokens` are what the server is told of its devices (`devices`: their ids), `networks` prefixes beyond them.

    `exits`: some of the networks are reached through the tenant's exit nodes, so whoever may reach them has to see those.
    """

    tokens: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    networks: frozenset[Network] = frozenset()
    exits: bool = False

    def __or__(self, other: Side) -> Side:
        return Side(self.tokens | other.tokens, self.devices | other.devices, self.networks | other.networks, self.exits or other.exits)

    def __bool__(self) -> bool:
        return bool(self.tokens or self.networks)


NOBODY = Side()


@dataclass(frozen=True)
class Tenant:
    """A tenant's facts, ready to be asked what a word stands for. `internet`: as a destination, on its cluster."""

    fact: TenantFact
    internet: tuple[Network, ...] = ()
    _known: dict[tuple[str, bool], Side] = field(default_factory=dict, compare=False, repr=False)

    @property
    def account(self) -> str:
        return self.fact.account

    @property
    def user(self) -> str:
        return f"{self.fact.account}@"

    @cached_property
    def tags(self) -> frozenset[str]:
        """Every tag of the tenant, in its own words."""
        return frozenset(self.fact.document.tags) | self.fact.kept_tags

    @cached_property
    def exits(self) -> tuple[DeviceFact, ...]:
        return tuple(device for device in self.fact.devices if device.exit)

    @cached_property
    def routes(self) -> tuple[Network, ...]:
        """What the tenant's routers route, exit routes aside."""
        return without(self.fact.routes, (*TAILNET, *DOCUMENTATION))

    @cached_property
    def _by_name(self) -> tuple[dict[str, list[DeviceFact]], ...]:
        """By what a document may call a device, the surest first: a registration id is the tenant's own, a name can carry the suffix of a stranger's."""
        names: tuple[dict[str, list[DeviceFact]], ...] = (defaultdict(list), defaultdict(list), defaultdict(list))
        for device in self.fact.devices:
            for kind, name in zip(names, (device.registration_id, device.name, device.hostname), strict=True):
                if name:
                    kind[name.lower()].append(device)
        return names

    def named(self, name: str) -> list[DeviceFact]:
        """The devices that a name could mean: one, or several where it is ambiguous."""
        return next((kind[name] for kind in self._by_name if kind.get(name)), [])

    def side(self, words: Iterable[Word], *, towards: bool) -> Side:
        """What the words stand for together, as destinations (`towards`) or as sources."""
        found = NOBODY
        for word in words:
            found = found | self.of(word.text, towards=towards)
        return found

    def of(self, text: str, *, towards: bool) -> Side:
        if (text, towards) not in self._known:
            self._known[text, towards] = self._of(text, towards)
        return self._known[text, towards]

    def _of(self, text: str, towards: bool) -> Side:
        if text in (EVERYONE, MEMBER, SELF, TAGGED, INTERNET):
            return self._autogroup(text, towards)
        if text.startswith("group:"):
            return self.side(self.fact.document.groups.get(text, ()), towards=towards)
        if text.startswith("tag:"):
            there = [device for device in self.fact.devices if server_tag(self.account, text) in device.tags]
            return Side(frozenset({server_tag(self.account, text)}), _ids(there)) if text in self.tags else NOBODY
        if text in self.fact.document.hosts:
            return self._prefix(self.fact.document.hosts[text].text, towards)
        if (network := prefix_of(text)) is not None:
            return self._prefix(str(network), towards)
        found = [device for device in self.fact.devices if device.person == text and not device.tags] if "@" in text else self.named(text)
        return by_address(found if "@" in text or len(found) == 1 else ())

    def _autogroup(self, text: str, towards: bool) -> Side:
        tokens = frozenset(server_tag(self.account, tag) for tag in self.tags)
        tagged = Side(tokens, _ids(device for device in self.fact.devices if device.tags))
        member = Side(frozenset({self.user}), _ids(device for device in self.fact.devices if not device.tags))
        outside = Side(networks=frozenset(self.internet), exits=True) if towards and self.exits else NOBODY
        routed = Side(networks=frozenset(self.routes))
        return {
            EVERYONE: member | tagged | routed | outside,
            MEMBER: member,
            SELF: member,
            TAGGED: tagged,
            INTERNET: outside,
        }[text]

    def _prefix(self, text: str, towards: bool) -> Side:
        """A prefix means the tenant's devices in it, each with all of its addresses, and what the tenant's own routers route of it."""
        network = ipaddress.ip_network(text)
        inside = [device for device in self.fact.devices if any(common(network, device.addresses))]
        routed = set(common(network, self.routes))
        outside = set(common(network, self.internet)) if towards and self.exits else set()
        return by_address(inside) | Side(networks=frozenset(routed | outside), exits=bool(outside))

    def matches(self, word: str, device: DeviceFact) -> bool:
        """Whether the word stands for this device of the tenant, as approvers are named."""
        return device.id in self.of(word, towards=False).devices


def by_address(devices: Iterable[DeviceFact]) -> Side:
    """Devices that the server is told of by their addresses."""
    there = list(devices)
    return Side(frozenset(_plain(str(address)) for device in there for address in device.addresses), _ids(there))


def prefix_of(text: str) -> Network | None:
    """The address or prefix that a word is; None for a name."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _ids(devices: Iterable[DeviceFact]) -> frozenset[str]:
    return frozenset(device.id for device in devices)


def _plain(text: str) -> str:
    """An address without its length, as people and headscale write it."""
    return text.removesuffix("/32") if "." in text else text.removesuffix("/128")


def faults(tenant: TenantFact, document: Document) -> tuple[Fault, ...]:
    """Words that stand for nothing that the tenant has: they are mistakes, or reach for others. Nothing here tells whether others have them."""
    asked = Tenant(TenantFact(tenant.account, document, tenant.devices, tenant.members, tenant.kept_tags))
    found = [Fault(reason, word.place, word.path) for word in document.words() if (reason := _fault(asked, word))]
    unkept = [
        Fault(_("%(tag)s is still carried by devices or credentials: it must stay in tagOwners") % {"tag": tag}, Place(), "tagOwners")
        for tag in sorted(tenant.kept_tags - document.tags.keys())
    ]
    return tuple(sorted({*found, *unkept}, key=lambda fault: (fault.place, fault.reason)))


def _fault(tenant: Tenant, word: Word) -> str:
    text = word.text
    if text.startswith(("autogroup:", "group:", "tag:")) or text == EVERYONE or text in tenant.fact.document.hosts:
        return ""  # the reader has looked these up
    if "@" in text:
        return "" if text in tenant.fact.members else _("%(word)s is no member of this network") % {"word": text}
    network = prefix_of(text)
    if network is None:
        count = len(tenant.named(text))
        if count > 1:
            return _("%(word)s is the name of %(count)d devices: use a registration id or an address") % {"word": text, "count": count}
        return "" if count else _("%(word)s is neither a host of this document nor a device of this network") % {"word": text}
    if common(network, TAILNET) and not tenant.of(text, towards=True).devices:
        return _("no device of this network has an address in %(word)s") % {"word": text}
    return ""
