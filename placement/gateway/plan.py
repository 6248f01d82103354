"""What a gateway has, what it should have, and the changes between the two. Pure.

A change is one of these verbs, told in an order that never leads a name to another tenant's server:
`unname` (forget a name), `remove`, `add`, `point` (same server, other address), `replace` (to or from TLS), `enable`, `name`, `ready`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

READY_HOST = "ready"  # a key of the map that no tenant's name can be: those have a dot
READY_VALUE = "-"
ORDER = ("unname", "remove", "add", "replace", "point", "enable", "name", "ready")


@dataclass(frozen=True)
class Target:
    """Where a tenant's connections go: an IP address and a port. `tls_name` is set when the cluster itself speaks TLS under that name."""

    address: str
    port: int
    tls_name: str = ""

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" + (f" (TLS, {self.tls_name})" if self.tls_name else "")


@dataclass(frozen=True)
class Server:
    """A tenant's server as the gateway shows it. `serving`: enabled, up, and with the weight 0 that keeps strangers away."""

    address: str
    port: int
    tls: bool = False
    serving: bool = True


@dataclass(frozen=True)
class Seen:
    """What one gateway has: servers by account, and the map's pairs of host and account (a map may hold a host twice)."""

    servers: Mapping[str, Server] = field(default_factory=dict)
    hosts: tuple[tuple[str, str], ...] = ()

    def of(self, account: str, host: str) -> Seen:
        """The part that concerns one tenant."""
        servers = {name: server for name, server in self.servers.items() if name == account}
        return replace(self, servers=servers, hosts=tuple(pair for pair in self.hosts if host in pair or account in pair))


@dataclass(frozen=True)
class Change:
    """One thing to tell the gateway. `why` reads as a sentence in `manage.py gateway check`."""

    verb: str
    account: str
    why: str
    target: Target | None = None
    host: str = ""


def drift(wanted: Mapping[str, Target | None], seen: Seen, *, domain: str, whole: bool = True) -> list[Change]:
    """The changes that turn what was seen into what is wanted.

    A wanted account without target (its cluster's name did not resolve) keeps what it has. `whole` says that `wanted` names every
    route of the gateway, so that it may be declared ready.
    """
    changes = [*_servers(wanted, seen), *_hosts(wanted, seen, domain)]
    if whole and (READY_HOST, READY_VALUE) not in seen.hosts:
        changes.append(Change("ready", "", "the gateway was never told all routes"))
    return sorted(changes, key=lambda change: ORDER.index(change.verb))


def _servers(wanted: Mapping[str, Target | None], seen: Seen) -> list[Change]:
    changes = [Change("remove", account, f"{account} is nobody's") for account in seen.servers if account not in wanted]
    for account, target in wanted.items():
        if target is not None and (change := _server(account, target, seen.servers.get(account))):
            changes.append(change)
    return changes


def _server(account: str, target: Target, server: Server | None) -> Change | None:
    if server is None:
        return Change("add", account, f"{account} has no route to {target}", target)
    if server.tls != bool(target.tls_name):
        return Change("replace", account, f"{account} leads to {server.address}:{server.port} with the wrong use of TLS", target)
    if (server.address, server.port) != (target.address, target.port):
        verb = "replace" if target.tls_name else "point"  # a TLS server's name cannot be changed while it stands
        return Change(verb, account, f"{account} leads to {server.address}:{server.port} and not to {target}", target)
    if not server.serving:
        return Change("enable", account, f"{account} is disabled")
    return None


def _hosts(wanted: Mapping[str, Target | None], seen: Seen, domain: str) -> list[Change]:
    names = {host_of(account, domain): account for account, target in wanted.items() if target is not None or account in seen.servers}
    times = Counter(host for host, _ in seen.hosts)
    held = dict(seen.hosts)
    changes = []
    for host in times:
        if host != READY_HOST and (names.get(host) != held[host] or times[host] > 1):
            changes.append(
                Change("unname", held[host], f"{host} leads to {held[host]}" + (", twice" if times[host] > 1 else ""), host=host)
            )
    for host, account in names.items():
        if held.get(host) != account or times[host] > 1:
            changes.append(Change("name", account, f"{host} is not known", host=host))
    return changes


def host_of(account: str, domain: str) -> str:
    """The tenant's name as clients send it, in lower case and without a port."""
    return f"{account}.{domain.partition(':')[0].lower()}"
