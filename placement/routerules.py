"""Which prefixes a tenant may route at all, and which of them get into each other's way. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from django.utils.translation import gettext as _

from placement.policies.facts import DOCUMENTATION, EXIT, TAILNET, Network

# what means something else on every machine; the last one is IPv4 in the clothes of IPv6
RESERVED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8", "::ffff:0:0/96")
)
PRIVATE: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
SHORTEST = {4: 8, 6: 16}  # a shorter prefix is nearly the Internet: that is what exit routes are for


def network_of(text: str) -> Network | None:
    """A prefix as a server shows it; None for what is none."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def forbidden(network: Network) -> str:
    """Why nobody may route it; empty for what may be routed."""
    if network in EXIT:
        return ""
    if network.prefixlen < SHORTEST[network.version]:
        return _("it is nearly the whole Internet: announce an exit node instead")
    if overlaps(network, TAILNET):
        return _("it overlaps the addresses of devices")
    if overlaps(network, DOCUMENTATION):
        return _("it overlaps addresses that are reserved for documentation")
    if overlaps(network, RESERVED):
        return _("it overlaps addresses that mean something else on every machine")
    return ""


def is_public(network: Network) -> bool:
    """Whether rules towards the Internet mean it too, unless they leave it out; an exit route is the Internet itself."""
    return not any(
        network.version == private.version and network.subnet_of(private)  # type: ignore[arg-type]
        for private in PRIVATE
    )


def overlaps(network: Network, others: Iterable[Network]) -> bool:
    return any(network.version == other.version and network.overlaps(other) for other in others)


def whole(prefixes: Iterable[str]) -> frozenset[str]:
    """Prefixes as a server keeps them when they are approved: an exit route is one for both versions of IP."""
    networks = {network for text in prefixes if (network := network_of(text)) is not None}
    if networks & set(EXIT):
        networks |= set(EXIT)
    return frozenset(map(str, networks))
