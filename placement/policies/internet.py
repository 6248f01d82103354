"""The Internet as a destination, written so that no tenant sees another one's exit node or router through it. Pure.

headscale shows every exit node of a server to whoever has one rule whose destinations cover all of what it calls the Internet (util.TheInternet), and
every subnet router whose approved prefix overlaps a destination (matcher.go). So the prefixes that ACS writes leave out one that nobody needs, and
whatever anybody on the cluster routes; a tenant's own exit nodes are made visible to it by their addresses.
"""

from __future__ import annotations

import bisect
import ipaddress
from collections.abc import Iterable

from placement.policies.facts import DOCUMENTATION, Network

_ALL: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("2000::/3"))
_NOT: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
        *("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3"),  # not what anybody means by it; headscale leaves them in
    )
)


def without(networks: Iterable[Network], holes: Iterable[Network]) -> tuple[Network, ...]:
    """The networks less the holes, in order. In time that grows as sorting does: a cluster may have thousands of routes."""
    gaps = {version: _spans(hole for hole in holes if hole.version == version) for version in (4, 6)}
    left: list[Network] = []
    for network in networks:
        left += _less(network, gaps[network.version])
    return tuple(sorted(left, key=_order))


def _spans(networks: Iterable[Network]) -> list[tuple[int, int]]:
    """First and last addresses as numbers, in order and apart from each other."""
    return [
        (int(network.network_address), int(network.broadcast_address))
        for network in ipaddress.collapse_addresses(networks)  # type: ignore[type-var]
    ]


def _less(network: Network, gaps: list[tuple[int, int]]) -> list[Network]:
    address = type(network.network_address)
    first, end = int(network.network_address), int(network.broadcast_address)
    start = bisect.bisect_left(gaps, first, key=lambda gap: gap[1])
    if start == len(gaps) or gaps[start][0] > end:
        return [network]
    pieces: list[Network] = []
    for gap_first, gap_last in gaps[start:]:
        if gap_first > end:
            break
        if first < gap_first:
            pieces += ipaddress.summarize_address_range(address(first), address(gap_first - 1))
        first = max(first, gap_last + 1)
    if first <= end:
        pieces += ipaddress.summarize_address_range(address(first), address(end))
    return pieces


def common(network: Network, others: Iterable[Network]) -> list[Network]:
    """What `network` shares with the others, prefix by prefix."""
    found: list[Network] = []
    for other in others:
        if network.version == other.version and network.overlaps(other):
            found.append(network if network.prefixlen >= other.prefixlen else other)
    return found


def internet(routed: Iterable[Network]) -> tuple[Network, ...]:
    """The Internet for tenants of a cluster on which `routed` are all approved prefixes, exit routes aside."""
    return without(_BASE, routed)


def _order(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


_BASE = without(_ALL, (*_NOT, *DOCUMENTATION))
