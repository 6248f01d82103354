"""Routes of the tenants' permanent names: told when a tenant is placed or moved, replayed after a gateway's restart, kept from drifting.

The wanted routes are the bindings: account -> its cluster's address. Every verb serves all gateways of settings.GATEWAY_SOCKETS; one that
fails does not keep the others from being told, and its error is raised at the end. Without gateways the verbs do nothing. What could not
be told now is told by the next `sync`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db import transaction

from placement.gateway.haproxy import Gateway, GatewayError
from placement.gateway.plan import Change, Target, drift, host_of
from placement.models import Binding, Cluster
from tenants import audit
from tenants.models import Tenant

log = structlog.get_logger(__name__)
Wanted = Mapping[str, Target | None]
ROUNDS = 3  # how often a sync looks again when others change routes meanwhile


def publish(tenant: Tenant) -> None:
    """Lead the tenant's name to its cluster; after a move, to its new one (open connections stay until `cut`). Raises: GatewayError."""
    binding = Binding.objects.of(tenant).select_related("cluster").get()
    target = target_of(binding.cluster)
    _each(lambda gateway: _publish(gateway, tenant.account, target))


def withdraw(account: str) -> None:
    """Forget the tenant's name and close its connections. For a tenant without binding: `sync` follows bindings. Raises: GatewayError."""
    _each(lambda gateway: _withdraw(gateway, account))


def cut(account: str) -> None:
    """Close the open connections of this tenant alone; its devices come back by themselves, on the route of now. Raises: GatewayError."""
    _each(lambda gateway: gateway.cut(account))


def disconnect(tenant: Tenant, *, actor: str, now: datetime) -> None:
    """`cut`, as an operator's audited act. Raises: GatewayError."""
    with transaction.atomic(durable=True):
        audit.record("gateway.disconnect", actor=actor, tenant=tenant, target=tenant.account, now=now)
    cut(tenant.account)


def sync() -> dict[str, list[Change]]:
    """Make every gateway show exactly the bindings: replays all routes after its restart, mends drift, removes strangers.

    Returns what was changed, by gateway. Raises: GatewayError, after the other gateways were served.
    """
    changed: dict[str, list[Change]] = {}

    def one(gateway: Gateway) -> None:
        changed[gateway.address] = converge(gateway, wanted_routes, domain=settings.TENANT_DOMAIN)

    _each(one)
    return changed


def check() -> dict[str, list[Change]]:
    """What `sync` would change, by gateway; nothing is changed. Raises: GatewayError, when one of them cannot be asked."""
    found: dict[str, list[Change]] = {}

    def one(gateway: Gateway) -> None:
        seen = gateway.seen()  # before the bindings are read: see converge
        found[gateway.address] = drift(wanted_routes(), seen, domain=settings.TENANT_DOMAIN)

    _each(one)
    return found


def converge(gateway: Gateway, wanted: Callable[[], Wanted], *, domain: str) -> list[Change]:
    """Change one gateway until it shows what is wanted; returns the changes made.

    The gateway is read before the bindings. So a route that another process publishes meanwhile is never taken for a stranger's: its
    binding was committed before the route was told. What changes during a round is mended in the next one. Raises: GatewayError.
    """
    made: list[Change] = []
    for turn in range(ROUNDS):
        seen = gateway.seen()
        changes = drift(wanted(), seen, domain=domain)
        if not changes:
            return made
        try:
            for change in changes:
                apply(gateway, change)
                made.append(change)
        except GatewayError:
            if turn == ROUNDS - 1:
                raise
    return made


def apply(gateway: Gateway, change: Change) -> None:
    """Tell one change. Raises: GatewayError."""
    match change:
        case Change(verb="unname", host=host):
            gateway.drop_host(host)
        case Change(verb="remove", account=account):
            gateway.remove_server(account)
        case Change(verb="add", account=account, target=Target() as target):
            gateway.add_server(account, target)
        case Change(verb="replace", account=account, target=Target() as target):
            gateway.remove_server(account)
            gateway.add_server(account, target)
        case Change(verb="point", account=account, target=Target() as target):
            gateway.point_server(account, target)
            gateway.enable_server(account)
        case Change(verb="enable", account=account):
            gateway.enable_server(account)
        case Change(verb="name", account=account, host=host):
            gateway.add_host(host, account)
        case Change(verb="ready"):
            gateway.say_ready()
        case _:
            raise ValueError(f"not a change: {change}")


def wanted_routes() -> dict[str, Target | None]:
    """Every binding's account and its cluster's address; None where that cluster's host name does not resolve at the moment."""
    bindings = Binding.objects.across_tenants().order_by().values_list("tenant__account", "cluster_id")
    targets: dict[str, Target | None] = {}
    for cluster in Cluster.objects.filter(bindings__isnull=False).distinct():
        try:
            targets[cluster.cluster_id] = target_of(cluster)
        except GatewayError as error:
            log.warning("route_without_address", cluster_id=cluster.cluster_id, reason=error.reason)
            targets[cluster.cluster_id] = None
    return {account: targets.get(cluster_id) for account, cluster_id in bindings}


def target_of(cluster: Cluster) -> Target:
    """Where the gateway reaches the cluster: the address of its admin API, which headscale serves on the port of its clients.

    Raises: GatewayError, when the host name does not resolve.
    """
    url = urlsplit(cluster.admin_url)
    tls = url.scheme == "https"
    host, port = url.hostname or "", url.port or (443 if tls else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise GatewayError(
            "of " + cluster.cluster_id, f"the host {host!r} of the cluster's admin address does not resolve ({error})"
        ) from error
    address = min((entry[0] != socket.AF_INET, str(entry[4][0])) for entry in found)[1]  # the same one each time, IPv4 first
    return Target(address, port, tls_name=host if tls else "")


def _publish(gateway: Gateway, account: str, target: Target) -> None:
    host = host_of(account, settings.TENANT_DOMAIN)
    for change in drift({account: target}, gateway.seen().of(account, host), domain=settings.TENANT_DOMAIN, whole=False):
        apply(gateway, change)


def _withdraw(gateway: Gateway, account: str) -> None:
    host = host_of(account, settings.TENANT_DOMAIN)
    for change in drift({}, gateway.seen().of(account, host), domain=settings.TENANT_DOMAIN, whole=False):
        apply(gateway, change)


def _each(act: Callable[[Gateway], None]) -> None:
    """Do it on every gateway; the first error is raised when all were tried."""
    failed: list[GatewayError] = []
    for address in settings.GATEWAY_SOCKETS:
        try:
            with Gateway(address) as gateway:
                act(gateway)
        except GatewayError as error:
            log.warning("gateway_failed", gateway=error.gateway, reason=error.reason)
            failed.append(error)
    if failed:
        raise failed[0]
