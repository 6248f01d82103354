"""What plans of moves are made of: tenants where they live, single moves, and the plan as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from placement.engine.facts import ENGINE, ClusterFacts

REASONS = {
    "fits_the_excess": "the largest tenant that is no more than what its cluster carries too much",
    "covers_the_rest": "the smallest tenant that is more, where its cluster is relieved of at least half of it",
    "leaves_evenly": "its cluster is emptied, and the target stays within the line",
    "leaves_within_caps": "its cluster is emptied, and the target comes above the line, not above its hard cap",
    "makes_room": "its cluster came above the line by those that left an emptied one",
}


class Lodger(NamedTuple):
    """A tenant and the cluster it lives on. `load` in devices; `residency` empty: it may live anywhere."""

    tenant_id: str
    cluster_id: str
    load: int
    residency: str = ""
    moved_at: datetime | None = None


class Move(NamedTuple):
    """One tenant from one cluster to another. `reason`: what it is for, one of REASONS; plans of before it was told have none."""

    tenant_id: str
    source: str
    target: str
    load: int
    reason: str = ""


class Stay(NamedTuple):
    """A tenant that should have gone and cannot."""

    tenant_id: str
    cluster_id: str
    why: str


@dataclass(frozen=True)
class Limits:
    """What a plan may do. Utilisations relative to the pool's mean, but for `start_anyway`, which is absolute. None: as many moves as it takes."""

    start: float = 1.10
    start_anyway: float = 0.80
    shed_to: float = 1.05
    hot_for: timedelta = timedelta(minutes=15)
    rest: timedelta = timedelta(hours=24)
    most_moves: int | None = None
    most_from: int | None = None  # one cluster
    most_to: int | None = None  # one cluster
    at_once: bool = False  # after clusters were added: no waiting, and `shed_to` is where to start


@dataclass(frozen=True)
class Balance:
    """How a pool stands: mean, by capacity, and highest utilisation of the clusters that stay in it. Old samples are no heat in it."""

    mean: float
    highest: float

    @property
    def ratio(self) -> float:
        return self.highest / self.mean if self.mean else 1.0


@dataclass(frozen=True)
class Plan:
    """Moves on paper. `least`: the load that any plan to the same end has to move at least."""

    kind: str
    moves: tuple[Move, ...]
    stays: tuple[Stay, ...]
    before: Balance
    after: Balance
    least: int
    engine: str = field(default=ENGINE)

    @property
    def load(self) -> int:
        return sum(move.load for move in self.moves)

    def as_document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind,
            "engine": self.engine,
            "moves": [move._asdict() for move in self.moves],
            "stays": [stay._asdict() for stay in self.stays],
            "before": asdict(self.before) | {"ratio": self.before.ratio},
            "after": asdict(self.after) | {"ratio": self.after.ratio},
            "load": self.load,
            "least": self.least,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Plan:
        return cls(
            document["kind"],
            tuple(Move(**move) for move in document["moves"]),
            tuple(Stay(**stay) for stay in document["stays"]),
            Balance(document["before"]["mean"], document["before"]["highest"]),
            Balance(document["after"]["mean"], document["after"]["highest"]),
            document["least"],
            document["engine"],
        )


def carried_out(
    plan: Plan, clusters: Sequence[ClusterFacts], lodgers: Sequence[Lodger], *, at: datetime
) -> tuple[list[ClusterFacts], list[Lodger]]:
    """The pool after the plan, as its ledger and its samples would show it."""
    change: dict[str, int] = {}
    tenants: dict[str, int] = {}
    for move in plan.moves:
        for cluster_id, sign in ((move.source, -1), (move.target, 1)):
            change[cluster_id] = change.get(cluster_id, 0) + sign * move.load
            tenants[cluster_id] = tenants.get(cluster_id, 0) + sign
    gone = {move.tenant_id: move.target for move in plan.moves}
    moved = [lodger._replace(cluster_id=gone[lodger.tenant_id], moved_at=at) if lodger.tenant_id in gone else lodger for lodger in lodgers]
    return [_changed(cluster, change.get(cluster.cluster_id, 0), tenants.get(cluster.cluster_id, 0)) for cluster in clusters], moved


def _changed(cluster: ClusterFacts, load: int, tenants: int) -> ClusterFacts:
    measured, since = cluster.measured, cluster.promised_since
    if measured is not None and cluster.capacity:
        measured += load / cluster.capacity
        if measured < 0:  # some of those that left had come after the sample
            measured, since = max(0.0, measured + since / cluster.capacity), 0
    committed, living = max(0, cluster.committed + load), max(0, cluster.tenants + tenants)
    return replace(cluster, committed=committed, tenants=living, measured=measured, promised_since=since)
