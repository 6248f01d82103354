"""Who comes first: a consistent-hash ring, built by uhashring and then kept as an immutable snapshot that any number of threads may read.

uhashring says where the points of a cluster lie; its own objects are not for sharing (a reader meets KeyErrors while the membership changes).
Points depend on nothing but the cluster and its weight, so each cluster is built once, remembered, and a new ring is only a merge of what is
known. The snapshot answers exactly as one uhashring over all clusters would; a test holds it to that.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from uhashring import HashRing
from xxhash import xxh3_64_intdigest

CIRCLE = 2**64  # positions are values of xxh3_64
POINTS = 64  # per unit of weight
DEVICES_PER_WEIGHT = 250
HEAVIEST = 64
KNOWN_CLUSTERS = 2**15  # whose points are remembered: 16 MB at an average weight of one
# A sort holds every other thread up. Points lie evenly, so they are sorted stretch by stretch, each point carrying its owner's index in its low bits.
STRETCHES = 2**12
STRETCH = CIRCLE // STRETCHES
INDEX_BITS = 24
INDEX_MASK = 2**INDEX_BITS - 1


class Arc(NamedTuple):
    """A stretch of the circle and whose it is. Start and end are parts of one turn, 0 to 1."""

    start: float
    end: float
    cluster_id: str


def point_of(tenant_id: str) -> int:
    """Where on the circle a tenant stands: by the text of its UUID, which never changes."""
    return xxh3_64_intdigest(tenant_id.lower().encode())


def weight_of(capacity: int) -> int:
    """The capacity class: powers of two of 250 devices, rounded down, so that a small change of capacity moves nobody."""
    return 1 << min(max(1, capacity // DEVICES_PER_WEIGHT).bit_length(), HEAVIEST.bit_length()) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Ring:
    """`digest` is the ring's version: equal members with equal weights have an equal one in every process."""

    weights: Mapping[str, int]
    digest: str
    _members: tuple[str, ...]
    _positions: array[int]
    _owners: array[int]

    @classmethod
    def build(cls, weights: Mapping[str, int]) -> Ring:
        """Raises ValueError where a weight is no whole number from 1: who should take nobody has no place in the ring."""
        for member, weight in weights.items():
            if type(weight) is not int or weight < 1:  # 2.0 is remembered as 2 and told as another digest
                raise ValueError(f"{member} weighs {weight!r}: weights are whole numbers from 1")
        members = tuple(sorted(weights))
        stretches: list[list[int]] = [[] for _ in range(STRETCHES)]
        for index, member in enumerate(members):
            for point in _points(member, weights[member]):
                stretches[point // STRETCH].append(point << INDEX_BITS | index)
        positions, owners = array("Q"), array("I")
        for stretch in stretches:
            stretch.sort()
            positions.extend([point >> INDEX_BITS for point in stretch])
            owners.extend([point & INDEX_MASK for point in stretch])
        known = {member: weights[member] for member in members}
        digest = hashlib.sha256(json.dumps([POINTS, known]).encode()).hexdigest()[:12]
        return cls(MappingProxyType(known), digest, members, positions, owners)

    def __len__(self) -> int:
        return len(self._members)

    def walk(self, point: int) -> Iterator[str]:
        """Every cluster once, in the order in which the ring offers them to this point."""
        owners, members, count = self._owners, self._members, len(self._members)
        start, seen = bisect(self._positions, point), set[int]()
        for place in chain(range(start, len(owners)), range(start)):
            owner = owners[place]
            if owner not in seen:
                yield members[owner]
                seen.add(owner)
                if len(seen) == count:
                    return

    def shares(self) -> dict[str, float]:
        """The part of the circle that each cluster owns."""
        owned = [0] * len(self._members)
        before = self._positions[-1] - CIRCLE if self._positions else 0
        for position, owner in zip(self._positions, self._owners, strict=True):
            owned[owner] += position - before
            before = position
        return {member: length / CIRCLE for member, length in zip(self._members, owned, strict=True)}

    def arcs(self) -> Iterator[Arc]:
        """The whole circle from 0 to 1, an arc per point; the one that crosses the zero comes in two parts."""
        before = 0.0
        for position, owner in zip(self._positions, self._owners, strict=True):
            yield Arc(before, position / CIRCLE, self._members[owner])
            before = position / CIRCLE
        if self._positions:
            yield Arc(before, 1.0, self._members[self._owners[0]])

    def sketch(self, slices: int = 720) -> list[Arc]:
        """The circle as a picture shows it: the owner at the middle of each of so many slices, neighbours of one owner joined. Costs no more for more clusters."""
        drawn: list[Arc] = []
        for number in range(slices if self._positions else 0):
            owner = next(self.walk((2 * number + 1) * CIRCLE // (2 * slices)))
            start = drawn.pop().start if drawn and drawn[-1].cluster_id == owner else number / slices
            drawn.append(Arc(start, (number + 1) / slices, owner))
        return drawn


@lru_cache(KNOWN_CLUSTERS)
def _points(cluster_id: str, weight: int) -> array[int]:
    return array("Q", HashRing({cluster_id: {"weight": weight, "vnodes": POINTS}}, hash_fn=_position).ring)


def _position(name: str) -> int:
    return xxh3_64_intdigest(name.encode())
