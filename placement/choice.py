"""Which cluster should take this tenant: the one with the most room among those that may.

Pure: facts in, a decision with its reasons out. This is the seam of the placement engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Candidate:
    """What the choice knows of a cluster. Room and load count devices."""

    cluster_id: str
    region: str
    kind: str
    state: str
    capacity: int
    committed: int

    @property
    def room(self) -> int:
        return self.capacity - self.committed


@dataclass(frozen=True)
class Newcomer:
    """What the choice knows of a tenant. `regions` in order of preference; empty means any."""

    regions: tuple[str, ...]
    kind: str
    load: int


@dataclass(frozen=True)
class Decision:
    """Clusters in the order in which to try them, and why each other one was refused."""

    ranked: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)
    reason: str = ""


def choose(newcomer: Newcomer, clusters: Iterable[Candidate]) -> Decision:
    refused: dict[str, str] = {}
    fit: list[Candidate] = []
    for cluster in clusters:
        if objection := _objection(newcomer, cluster):
            refused[cluster.cluster_id] = objection
        else:
            fit.append(cluster)
    fit.sort(key=lambda cluster: (-(cluster.room / max(1, cluster.capacity)), cluster.cluster_id))
    reason = f"most room of {len(fit)}" if len(fit) > 1 else "the only one that fits"
    return Decision(tuple(cluster.cluster_id for cluster in fit), refused, reason)


def _objection(newcomer: Newcomer, cluster: Candidate) -> str:
    """The first rule that says no, or nothing."""
    if cluster.state != "active":
        return f"is {cluster.state}"
    if newcomer.regions and cluster.region not in newcomer.regions:
        return f"is in region {cluster.region}"
    if cluster.kind != newcomer.kind:
        return f"is {cluster.kind}"
    if cluster.kind == "dedicated" and cluster.committed:
        return "is another tenant's"
    if cluster.room < newcomer.load:
        return "has no room"
    return ""
