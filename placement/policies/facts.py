"""What the compiler is told of a cluster: its tenants with their documents and devices, and the peerings between them. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass, replace

from tenants.policies.document import NOTHING_WRITTEN, Document, Service, Word

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# where headscale's addresses come from, whatever the prefixes of a cluster (tsaddr.CGNATRange and TailscaleULARange)
TAILNET: tuple[Network, ...] = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))
EXIT: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))

# nobody routes these: a rule towards the Internet leaves them out (placement/policies/internet.py), and a route over one would fill that gap
DOCUMENTATION: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)


@dataclass(frozen=True)
class DeviceFact:
    """A device of a tenant. `tags` are the server's (`tag:acme--web`); `person` the e-mail address of who brought an untagged one, or nothing.

    `routes` are the approved prefixes that it routes, without exit routes; `exit` whether it is an approved exit node.
    """

    id: str
    name: str
    hostname: str = ""
    registration_id: str = ""
    addresses: tuple[Network, ...] = ()
    tags: tuple[str, ...] = ()
    person: str = ""
    routes: tuple[Network, ...] = ()
    exit: bool = False

    @property
    def label(self) -> str:
        """What people call it."""
        return self.name or self.hostname or self.registration_id or self.id


@dataclass(frozen=True)
class TenantFact:
    """One tenant of the cluster. `members` are its people's e-mail addresses, in lower case. `kept_tags`: tags (`tag:web`) that its devices or credentials have."""

    account: str
    document: Document = NOTHING_WRITTEN
    devices: tuple[DeviceFact, ...] = ()
    members: frozenset[str] = frozenset()
    kept_tags: frozenset[str] = frozenset()

    @property
    def routes(self) -> tuple[Network, ...]:
        return tuple(sorted({route for device in self.devices for route in device.routes}, key=str))


@dataclass(frozen=True)
class PeeringFact:
    """An accepted peering: devices of `guest` (its words `src`) may reach devices of `host` (its words `dst`) on `services`."""

    id: str
    host: str
    guest: str
    src: tuple[Word, ...]
    dst: tuple[Word, ...]
    services: tuple[Service, ...]


@dataclass(frozen=True)
class ClusterFact:
    """All tenants that live on a cluster, and the peerings of which both sides do."""

    cluster_id: str
    tenants: tuple[TenantFact, ...]
    peerings: tuple[PeeringFact, ...] = ()

    def tenant(self, account: str) -> TenantFact | None:
        return next((tenant for tenant in self.tenants if tenant.account == account), None)


NOBODY = Document(rules=())


def silenced(fact: ClusterFact, accounts: Collection[str]) -> ClusterFact:
    """The cluster with nothing said for these tenants, nor agreed on with them: their devices reach nothing."""
    tenants = (replace(tenant, document=NOBODY) if tenant.account in accounts else tenant for tenant in fact.tenants)
    peerings = (peering for peering in fact.peerings if peering.host not in accounts and peering.guest not in accounts)
    return replace(fact, tenants=tuple(tenants), peerings=tuple(peerings))


def server_tag(account: str, tag: str) -> str:
    """`tag:web` of acme as its server knows it: `tag:acme--web`."""
    return f"tag:{account}--{tag.removeprefix('tag:')}"


def tenant_tag(tag: str) -> str:
    """`tag:acme--web` in the tenant's own words: `tag:web`."""
    return "tag:" + tag.partition("--")[2] if "--" in tag else tag
