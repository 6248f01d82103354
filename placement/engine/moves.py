"""What plans of moves are made of: tenants where they live, single moves, and the plan as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from placement.engine.facts import ENGINE, ClusterFacts


class Lodger(NamedTuple):
    """A tenant and the cluster it lives on. `load` in devices; `residency` empty: it may live anywhere."""

    tenant_id: str
    cluster_id: str
    load: int
    residency: str = ""
    moved_at: datetime | None = None


class Move(NamedTuple):
    """One tenant from one cluster to another."""

    tenant_id: str
    source: str
    target: str
    load: int


class Stay(NamedTuple):
    """A tenant that should have gone and cannot."""

    tenant_id: str
    cluster_id: str
    why: str


@dataclass(frozen=True)
class Limits:
    """What a plan may do. Utilisations relative to the pool's mean, but for `start_anyway`, which is absolute."""

    start: float = 1.10
    start_anyway: float = 0.80
    shed_to: float = 1.05
    hot_for: timedelta = timedelta(minutes=15)
    rest: timedelta = timedelta(hours=24)
    most_moves: int | None = None
    at_once: bool = False  # after clusters were added: no waiting, and `shed_to` is where to start


@dataclass(frozen=True)
class Balance:
    """How a pool stands: weighted mean and highest utilisation of its active clusters."""

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
    measured = cluster.measured
    if measured is not None:
        measured = max(0.0, measured + load / cluster.capacity)
    return replace(cluster, committed=max(0, cluster.committed + load), tenants=max(0, cluster.tenants + tenants), measured=measured)
