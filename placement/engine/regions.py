"""Where to look for a tenant's cluster, in which order: the wish, else the nearest region, else the plan's default.

A wish is honoured to the letter: that region or none. Without one, a region that is full may be left for its neighbours; a residency needs no
rule here, for a pool of a residency holds no other clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


class NotAllowed(Exception):
    """The wished region is not one of those that the plan allows."""


@dataclass(frozen=True)
class Wish:
    """What a device told of where it is. `latencies` in milliseconds by region; `near`: the region of its network or country, if known;
    `cluster`: the one that its credential hints at, tried first where it may take the tenant.
    """

    want_region: str = ""
    latencies: Mapping[str, float] = field(default_factory=dict)
    near: str = ""
    cluster: str = ""


@dataclass(frozen=True)
class Preference:
    """Regions in the order in which to look, and why. `level`: none is nearer than another, so the emptiest comes first."""

    regions: tuple[str, ...]
    why: str
    level: bool = False


def prefer(wish: Wish, *, allowed: Sequence[str], default: str = "", neighbours: Mapping[str, Sequence[str]] | None = None) -> Preference:
    """`allowed`: the plan's regions, or every region there is. `neighbours`: where each region's tenants may go when it is full.

    Raises: NotAllowed.
    """
    if wish.want_region:
        if wish.want_region not in allowed:
            raise NotAllowed(wish.want_region)
        return Preference((wish.want_region,), "the device wished it")
    if measured := sorted((ms, region) for region, ms in wish.latencies.items() if region in allowed):
        return Preference(tuple(region for _, region in measured), f"{measured[0][0]:g} ms away, the nearest that the device measured")
    if wish.near in allowed:
        return Preference(_with_neighbours(wish.near, allowed, neighbours), "near the device's network")
    if default in allowed:
        return Preference(_with_neighbours(default, allowed, neighbours), "the plan's default")
    return Preference(tuple(sorted(allowed)), "no region is known to be nearer", level=True)


def _with_neighbours(region: str, allowed: Iterable[str], neighbours: Mapping[str, Sequence[str]] | None) -> tuple[str, ...]:
    near = (neighbours or {}).get(region, ())
    return tuple(dict.fromkeys((region, *(other for other in near if other in set(allowed)))))
