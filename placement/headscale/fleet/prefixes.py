"""Which addresses a new cluster hands out: the next free block of the fleet's room. Pure.

Blocks of one fleet never overlap: an address names one device wherever it moves. Ranges that Tailscale keeps for itself are skipped.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

ROOM_V4 = ipaddress.IPv4Network("100.64.0.0/10")
ROOM_V6 = ipaddress.IPv6Network("fd7a:115c:a1e0::/48")
RESERVED_V4 = [
    ipaddress.IPv4Network("100.100.0.0/24"),  # Tailscale's own services, 100.100.100.100 and its kind
    ipaddress.IPv4Network("100.100.100.0/24"),
    ipaddress.IPv4Network("100.115.92.0/23"),  # ChromeOS' virtual machines
    ipaddress.IPv4Network("100.127.255.255/32"),  # the base policy's literal rule, which must match nobody
]
LENGTH_V4 = 20
LENGTH_V6 = 64


class NoRoom(Exception):
    """Every block of this size is taken."""


def next_v4(taken: Iterable[str], *, length: int = LENGTH_V4) -> str:
    """The first free IPv4 block. Raises: NoRoom."""
    occupied = [*RESERVED_V4, *(network for network in map(ipaddress.ip_network, taken) if isinstance(network, ipaddress.IPv4Network))]
    for block in ROOM_V4.subnets(new_prefix=length):
        if not any(block.overlaps(other) for other in occupied):
            return str(block)
    raise NoRoom(f"no free /{length} is left in {ROOM_V4}")


def next_v6(taken: Iterable[str], *, length: int = LENGTH_V6) -> str:
    """The first free IPv6 block after the first one, which holds Tailscale's own service addresses. Raises: NoRoom."""
    occupied = [network for network in map(ipaddress.ip_network, taken) if isinstance(network, ipaddress.IPv6Network)]
    blocks = ROOM_V6.subnets(new_prefix=length)
    next(blocks)
    for block in blocks:
        if not any(block.overlaps(other) for other in occupied):
            return str(block)
    raise NoRoom(f"no free /{length} is left in {ROOM_V6}")


def conflict(wanted: str, taken: Iterable[str]) -> str | None:
    """Why a block that somebody wished for cannot be had; None when it can."""
    try:
        block = ipaddress.ip_network(wanted)
    except ValueError as error:
        return str(error)
    if isinstance(block, ipaddress.IPv4Network):
        if not block.subnet_of(ROOM_V4):
            return f"{wanted} is outside {ROOM_V4}, which is all that clients accept"
        overlapping = [str(other) for other in RESERVED_V4 if block.overlaps(other)]
    else:
        if not block.subnet_of(ROOM_V6):
            return f"{wanted} is outside {ROOM_V6}, which is all that clients accept"
        overlapping = []
    overlapping += [other for other in taken if _overlap(block, other)]
    return f"{wanted} overlaps {', '.join(overlapping)}" if overlapping else None


def _overlap(block: ipaddress.IPv4Network | ipaddress.IPv6Network, other: str) -> bool:
    network = ipaddress.ip_network(other)
    return block.version == network.version and block.overlaps(network)
