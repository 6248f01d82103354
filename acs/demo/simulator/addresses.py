"""Which address a new node gets: one that was never handed out since the start, and was in no row then."""

from __future__ import annotations

import ipaddress
import secrets
import threading
from collections.abc import Iterable

from acs.demo.simulator.config import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_RESERVED = [
    ipaddress.ip_network("100.115.92.0/23"),
    ipaddress.ip_network("100.100.100.100/32"),
    ipaddress.ip_network("fd7a:115c:a1e0::53/128"),
]


class Exhausted(Exception):
    """The prefix has no free address."""


class Allocator:
    """Hands out addresses of one prefix. `taken`: what the database holds at the start."""

    def __init__(self, prefix: Network, *, at_random: bool, taken: Iterable[str]) -> None:
        self._prefix, self._at_random, self._lock = prefix, at_random, threading.Lock()
        self._used = {prefix.network_address, prefix.broadcast_address, *(ipaddress.ip_address(text) for text in taken)}
        self._last: Address = prefix.network_address

    def next(self) -> str:
        """Raises: Exhausted."""
        with self._lock:
            start = self._prefix[secrets.randbelow(self._prefix.num_addresses)] if self._at_random else self._last + 1
            found = self._free_from(start)
            self._used.add(found)
            self._last = found
            return str(found)

    def _free_from(self, start: Address) -> Address:
        """Upwards from `start`; at random also round, from the first address back up to it."""
        for address in (start, self._prefix.network_address) if self._at_random else (start,):
            while address in self._prefix:
                if self._is_free(address):
                    return address
                address += 1  # noqa: PLW2901 - a walk
        raise Exhausted("failed to allocate IP")

    def _is_free(self, address: Address) -> bool:
        return address not in self._used and not any(address in network for network in _RESERVED)

    def release(self, text: str) -> None:
        with self._lock:
            self._used.discard(ipaddress.ip_address(text))
