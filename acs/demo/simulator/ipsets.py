"""Sets of IP addresses, as headscale reckons with them: what was added is one set, so two neighbours become one prefix."""

from __future__ import annotations

import functools
import ipaddress
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from acs.demo.simulator.config import Network

Span = tuple[int, int, int]  # (version, first address, last address)

ALL_V4: Network = ipaddress.ip_network("0.0.0.0/0")
ALL_V6: Network = ipaddress.ip_network("::/0")
EXITS = (str(ALL_V4), str(ALL_V6))


@dataclass(frozen=True)
class IPSet:
    """`spans`: ascending, without overlap, none adjacent to the next."""

    spans: tuple[Span, ...] = ()
    _starts: tuple[tuple[int, int], ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(cls, *parts: Network | IPSet) -> IPSet:
        given: list[Span] = []
        for part in parts:
            given += part.spans if isinstance(part, IPSet) else [_span(part)]
        return cls.made(_merged(given))

    @classmethod
    def made(cls, spans: Iterable[Span]) -> IPSet:
        """Of spans that are in order already."""
        kept = tuple(spans)
        return cls(kept, tuple((version, first) for version, first, _ in kept))

    def __bool__(self) -> bool:
        return bool(self.spans)

    def without(self, *removed: Network) -> IPSet:
        left = list(self.spans)
        for network in removed:
            version, first, last = _span(network)
            cut: list[Span] = []
            for span in left:
                if span[0] != version or span[2] < first or span[1] > last:
                    cut.append(span)
                    continue
                if span[1] < first:
                    cut.append((version, span[1], first - 1))
                if span[2] > last:
                    cut.append((version, last + 1, span[2]))
            left = cut
        return self.made(left)

    def covers(self, network: Network) -> bool:
        version, first, last = _span(network)
        at = self._at(version, first)
        return at is not None and at[1] <= first and last <= at[2]

    def has(self, address: str) -> bool:
        return self.covers(_network(address))

    def overlaps(self, network: Network) -> bool:
        version, first, last = _span(network)
        at = self._at(version, last)
        return at is not None and at[2] >= first

    def is_within(self, other: IPSet) -> bool:
        return all(other.covers(network) for network in self.networks())

    def networks(self) -> list[Network]:
        """The fewest prefixes that make the set."""
        return [network for span in self.spans for network in _networks_of(*span)]

    def texts(self) -> list[str]:
        """As sources are written: an address, a prefix where the span is one, else `first-last`."""
        found = []
        for version, first, last in self.spans:
            networks = _networks_of(version, first, last)
            ends = networks[0].network_address, networks[-1].broadcast_address
            found.append(short(networks[0]) if len(networks) == 1 else f"{ends[0]}-{ends[1]}")
        return found

    def _at(self, version: int, address: int) -> Span | None:
        """The last span that begins at `address` or before it."""
        index = bisect_right(self._starts, (version, address)) - 1
        return self.spans[index] if index >= 0 and self.spans[index][0] == version else None


@functools.lru_cache(8192)
def read(text: str) -> IPSet:
    """`*`, an address, a prefix or a range `a-b`. Raises: ValueError."""
    if text == "*":
        return IPSet.of(ALL_V4, ALL_V6)
    if "-" in text:
        first, last = (ipaddress.ip_address(half) for half in text.split("-"))
        return IPSet.made([(first.version, int(first), int(last))])
    return IPSet.of(_network(text))


@functools.lru_cache(8192)
def _network(text: str) -> Network:
    return ipaddress.ip_network(text, strict=False)


def _networks_of(version: int, first: int, last: int) -> list[Network]:
    if version == 4:
        return list(ipaddress.summarize_address_range(ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)))
    return list(ipaddress.summarize_address_range(ipaddress.IPv6Address(first), ipaddress.IPv6Address(last)))


def short(network: Network) -> str:
    """A destination as rules write it: an address alone has no length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _span(network: Network) -> Span:
    return network.version, int(network.network_address), int(network.broadcast_address)


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for version, first, last in sorted(spans):
        if merged and merged[-1][0] == version and merged[-1][2] + 1 >= first:
            merged[-1] = (version, merged[-1][1], max(merged[-1][2], last))
        else:
            merged.append((version, first, last))
    return merged


def _networks(*texts: str) -> list[Network]:
    return [ipaddress.ip_network(text) for text in texts]


# every Tailscale address: what `*` means as a source
TAILNET = IPSet.of(*_networks("100.64.0.0/10", "fd7a:115c:a1e0::/48")).without(*_networks("100.115.92.0/23"))
# what autogroup:internet means
INTERNET = IPSet.of(*_networks("2000::/3", "0.0.0.0/0")).without(
    *_networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")
)
