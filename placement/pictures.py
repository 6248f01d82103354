"""Pictures of a pool as numbers and paths for SVG: its ring, and a column per cluster. Pure: facts in, geometry out; templates draw it.

A picture stays readable, and small, however many clusters there are: arcs of one colour are joined where no eye could part them, and columns stand
for several clusters each where there are more clusters than columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

OUTER, INNER = 100.0, 68.0  # radii of the ring, in a picture that reaches from -124 to 124
RAISED, NARROWEST = 7.0, 0.006  # how far a marked slice stands out, and the least part of a turn that it is drawn with
TOLD_APART = 60  # clusters whose arcs are drawn one by one and named
SLICES = 720  # of the circle
COLUMNS = 240  # at most
WIDTH, WIDEST, GAP = 1000.0, 60.0, 0.18  # of the columns' picture; of one column; between two, as a part of one
LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)  # utilisation at which the colour changes


@dataclass(frozen=True)
class Mark:
    """How a cluster is drawn: the name of its colour in the style sheet, what is said of it, and whether it stands out from the others."""

    colour: str
    title: str
    raised: bool = False


@dataclass(frozen=True)
class Slice:
    """A piece of the ring: the path that draws it."""

    path: str
    colour: str
    title: str


@dataclass(frozen=True)
class RingPicture:
    """`point`: the line that marks a tenant's place, from inside the ring to its tip outside; empty without one."""

    slices: tuple[Slice, ...]
    point: str = ""


@dataclass(frozen=True)
class Column:
    """One cluster, or the fullest of several. Heights count down from the top, as SVG does; `measured` None: nobody measured it."""

    x: float
    width: float
    promised: float
    measured: float | None
    colour: str
    title: str
    alarm: bool

    @property
    def inner_x(self) -> float:
        return round(self.x + self.width * 0.3, 2)

    @property
    def inner_width(self) -> float:
        return round(self.width * 0.4, 2)

    @property
    def promised_height(self) -> float:
        return round(100 - self.promised, 2)

    @property
    def measured_height(self) -> float:
        return round(100 - self.measured, 2) if self.measured is not None else 0


@dataclass(frozen=True)
class ColumnsPicture:
    """`scale`: the utilisation at the top. Lines by what they mark: the pool's mean, the bound, and everything promised (1.0)."""

    columns: tuple[Column, ...]
    scale: float
    mean: float
    bound: float
    full: float
    each: int  # clusters that a column stands for


@dataclass(frozen=True)
class Bar:
    """What a column shows of one cluster."""

    cluster_id: str
    promised: float
    measured: float | None
    takes: bool
    alarm: bool
    title: str

    @property
    def highest(self) -> float:
        return max(self.promised, self.measured or 0.0)


def colour_of(utilisation: float, *, takes: bool = True) -> str:
    """The name of a colour: `still` for what takes nobody, else `heat-0` to `heat-5`."""
    return f"heat-{sum(utilisation >= level for level in LEVELS)}" if takes else "still"


def ring(arcs: Iterable[tuple[float, float, str]], marks: Mapping[str, Mark], *, point: float | None = None) -> RingPicture:
    """`arcs`: start, end (parts of one turn) and cluster_id, in order. `point`: a tenant's place, a part of one turn."""
    apart = len(marks) <= TOLD_APART
    joined: list[tuple[float, float, Mark]] = []
    for start, end, cluster_id in arcs:
        mark = marks.get(cluster_id, Mark("still", cluster_id))
        mark = mark if apart or mark.raised else Mark(mark.colour, "")
        same = joined and joined[-1][2] == mark and joined[-1][1] == start
        joined.append((joined.pop()[0] if same else start, end, mark))
    joined.sort(key=lambda arc: arc[2].raised)  # what stands out is drawn over the others
    slices = tuple(Slice(_slice(start, end, mark), mark.colour, mark.title) for start, end, mark in joined)
    return RingPicture(slices, "" if point is None else _needle(point))


def columns(bars: Sequence[Bar], *, mean: float, bound: float) -> ColumnsPicture:
    """`bars` in the order in which they stand, the fullest first."""
    each = max(1, math.ceil(len(bars) / COLUMNS))
    binned = [_fullest(bars[first : first + each]) for first in range(0, len(bars), each)]
    highest = max((bar.highest for bar in bars), default=0.0)
    scale = min(max(1.0, math.ceil(highest * 5) / 5), 2.0)
    width = min(WIDTH / max(1, len(binned)), WIDEST)

    def y(utilisation: float) -> float:
        return round(100 - 100 * min(utilisation, scale) / scale, 2)

    drawn = (
        Column(
            x=round((number + GAP / 2) * width, 2),
            width=round(width * (1 - GAP), 2),
            promised=y(bar.promised),
            measured=None if bar.measured is None else y(bar.measured),
            colour=colour_of(bar.highest, takes=bar.takes),
            title=bar.title,
            alarm=bar.alarm,
        )
        for number, bar in enumerate(binned)
    )
    return ColumnsPicture(tuple(drawn), scale, y(mean), y(bound), y(1.0), each)


def _fullest(bars: Sequence[Bar]) -> Bar:
    first = max(bars, key=lambda bar: bar.highest)
    if len(bars) == 1:
        return first
    title = f"{bars[0].cluster_id} ... {bars[-1].cluster_id}"
    return Bar(title, first.promised, first.measured, any(bar.takes for bar in bars), any(bar.alarm for bar in bars), title)


def _slice(start: float, end: float, mark: Mark) -> str:
    if not mark.raised:
        return _sector(start, end, OUTER, INNER)
    lacking = max(0.0, NARROWEST - (end - start)) / 2
    return _sector(start - lacking, end + lacking, OUTER + RAISED, INNER - RAISED)


def _sector(start: float, end: float, outer: float, inner: float) -> str:
    """A piece of the ring between two parts of a turn. A whole turn is drawn as two halves: an arc to its own start is none."""
    if end - start >= 1:
        return _sector(0, 0.5, outer, inner) + _sector(0.5, 0.9999, outer, inner)
    large = int(end - start > 0.5)
    (a, b), (c, d) = _at(start, outer), _at(end, outer)
    (e, f), (g, h) = _at(end, inner), _at(start, inner)
    return f"M{a} {b}A{outer} {outer} 0 {large} 1 {c} {d}L{e} {f}A{inner} {inner} 0 {large} 0 {g} {h}Z"


def _needle(point: float) -> str:
    (a, b), (c, d) = _at(point, INNER - 10), _at(point, OUTER + 6)
    (e, f), (g, h) = _at(point - 0.012, OUTER + 18), _at(point + 0.012, OUTER + 18)
    return f"M{a} {b}L{c} {d}L{e} {f}L{g} {h}L{c} {d}"


def _at(turn: float, radius: float) -> tuple[float, float]:
    """Clockwise from the top."""
    angle = 2 * math.pi * turn
    return round(radius * math.sin(angle), 2), round(-radius * math.cos(angle), 2)
