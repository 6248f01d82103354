"""Reach as a table: devices that reach and are reached alike are one line of it, so that a thousand of them stay readable. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from placement.policies import spans
from placement.policies.reach import DEVICE, OUTSIDE, PEERING, PREFIX, Point, Reach
from tenants.policies.document import EVERYONE, MEMBER, Service

ORDER = (DEVICE, PREFIX, OUTSIDE, PEERING)
Services = tuple[Service, ...]
Cells = dict[tuple[int, int], Services]
Known = dict[int, Services]
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Alike:
    """Points of one kind that no rule tells apart. `word`: a word of the policy that means just them, or nothing."""

    kind: str
    points: tuple[Point, ...]
    word: str = ""

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(point.key for point in self.points)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(point.label for point in self.points)

    @property
    def alone(self) -> bool:
        """One device, which always reaches itself."""
        return self.kind == DEVICE and len(self.points) == 1


@dataclass(frozen=True)
class Matrix:
    """`cells` are what the class of the first number reaches of the second one's; pairs that are not there reach nothing.

    `rows` and `columns`: which classes can reach something at all, and which can be reached.
    """

    classes: tuple[Alike, ...]
    cells: Cells
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def of(self, row: int, column: int) -> Services:
        return self.cells.get((row, column), ())


@dataclass(frozen=True)
class Change:
    """What devices of `src` reach of `dst` on one side of a comparison and not on the other."""

    src: Alike
    dst: Alike
    services: Services


@dataclass(frozen=True)
class Difference:
    gained: tuple[Change, ...]
    lost: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.gained or self.lost)


def matrix(reach: Reach) -> Matrix:
    classes, (cells,) = _classes([reach])
    rows = tuple(number for number, alike in enumerate(classes) if alike.points[0].key in reach.sources)
    columns = tuple(number for number, alike in enumerate(classes) if alike.points[0].key in reach.destinations)
    return Matrix(classes, cells, rows, columns)


def difference(before: Reach, after: Reach) -> Difference:
    """Pairs that reach each other on more services afterwards, and on fewer. What has no rule for itself any more has lost them."""
    classes, (was, is_now) = _classes([before, after])
    return Difference(_more(classes, was, is_now), _more(classes, is_now, was))


def _more(classes: Sequence[Alike], was: Cells, is_now: Cells) -> tuple[Change, ...]:
    found = []
    known: dict[tuple[Services, Services], Services] = {}  # of very many pairs few differ in their services
    for pair in sorted(is_now):
        both = is_now[pair], was.get(pair, ())
        if both not in known:
            known[both] = spans.minus(*both)
        if known[both]:
            found.append(Change(classes[pair[0]], classes[pair[1]], known[both]))
    return tuple(found)


def _classes(reaches: Sequence[Reach]) -> tuple[tuple[Alike, ...], list[Cells]]:
    """The classes that all of these views share, in order, and each view's cells."""
    points: dict[str, Point] = {}
    for reach in reaches:
        points |= reach.sources | reach.destinations
    marks = _marks(reaches, points)
    groups = _grouped(points.values(), lambda point: (point.kind, marks[point.key]))
    known: list[Known] = [{0: ()} for _ in reaches]
    while True:
        cells = [_cells(reach, groups, told) for reach, told in zip(reaches, known, strict=True)]
        merged = _grouped(range(len(groups)), _lines(reaches, groups, cells).__getitem__)
        if len(merged) == len(groups):
            break
        groups = [[point for number in numbers for point in groups[number]] for numbers in merged]
    return _ordered(groups, cells, _words(reaches[-1]))


def _ordered(
    groups: Sequence[Sequence[Point]], cells: Sequence[Cells], words: Mapping[frozenset[str], str]
) -> tuple[tuple[Alike, ...], list[Cells]]:
    """Devices first, the largest class before the others; a single device's way to itself is no pair."""
    alike = [_alike(points, words) for points in groups]
    order = sorted(range(len(alike)), key=lambda number: (ORDER.index(alike[number].kind), -len(groups[number]), alike[number].labels))
    place = {number: at for at, number in enumerate(order)}
    placed: list[Cells] = [
        {(place[src], place[dst]): services for (src, dst), services in one.items() if src != dst or not alike[src].alone} for one in cells
    ]
    return tuple(alike[number] for number in order), placed


def _marks(reaches: Sequence[Reach], points: Mapping[str, Point]) -> dict[str, tuple[int, ...]]:
    """By key, the rules that have it as a source or destination, and whether it can be one at all."""
    marks: dict[str, list[int]] = {key: [] for key in points}
    number = 0
    for reach in reaches:
        for keys in (reach.sources, reach.destinations, *(side for sides in reach.sides for side in sides)):
            number += 1
            for key in keys:
                marks[key].append(number)
    return {key: tuple(seen) for key, seen in marks.items()}


def _cells(reach: Reach, groups: Sequence[Sequence[Point]], known: Known) -> Cells:
    """What each class reaches of each. The statements that join two are a number with a bit for each: of very many pairs few differ in theirs.

    `known`: what statements let pass together, as far as it was needed before. The same services are one object.
    """
    has_source, has_destination = ([0] * len(groups), [0] * len(groups))
    first = {group[0].key: number for number, group in enumerate(groups)}
    for bit, sides in enumerate(reach.sides):
        for marks, keys in zip((has_source, has_destination), sides, strict=True):
            for number in (first[key] for key in keys if key in first):
                marks[number] |= 1 << bit
    same = {services: services for services in known.values()}
    found: Cells = {}
    for src, dst in product(range(len(groups)), repeat=2):
        joining = has_source[src] & has_destination[dst]
        if joining not in known:
            services = spans.joined(service for bit, one in enumerate(reach.statements) if joining >> bit & 1 for service in one.services)
            known[joining] = same.setdefault(services, services)
        if known[joining]:
            found[src, dst] = known[joining]
    return found


def _lines(reaches: Sequence[Reach], groups: Sequence[Sequence[Point]], cells: Sequence[Cells]) -> list[object]:
    """What tells a class from others: its kind, whether it can reach and be reached, all that it reaches and all that reaches it."""
    lines: list[list[tuple[int, int, int, int]]] = [[] for _ in groups]
    for view, one in enumerate(cells):
        for (src, dst), services in one.items():
            lines[src].append((view, 0, dst, id(services)))
            lines[dst].append((view, 1, src, id(services)))
    can = [tuple(group[0].key in known for reach in reaches for known in (reach.sources, reach.destinations)) for group in groups]
    return [(groups[number][0].kind, can[number], frozenset(line)) for number, line in enumerate(lines)]


def _grouped(things: Iterable[Thing], by: Callable[[Thing], object]) -> list[list[Thing]]:
    groups: dict[object, list[Thing]] = {}
    for thing in things:
        groups.setdefault(by(thing), []).append(thing)
    return list(groups.values())


def _alike(points: Sequence[Point], words: Mapping[frozenset[str], str]) -> Alike:
    ordered = tuple(sorted(points, key=lambda point: (point.label, point.key)) if points[0].kind == DEVICE else points)
    keys = frozenset(point.key for point in points)
    return Alike(points[0].kind, ordered, words.get(keys, "") if len(points) > 1 else "")


def _words(reach: Reach) -> dict[frozenset[str], str]:
    """Words of the policy by the devices that they mean, the plainest last so that it counts."""
    tenant = reach.tenant
    named = [*tenant.fact.document.groups, *sorted(tenant.fact.members), *sorted(tenant.tags), MEMBER, EVERYONE]
    return {tenant.of(word, towards=False).devices: word for word in named}
