"""Experiments on paper: the real fleet with clusters added, removed or resized, tenants added, regions lost; and what the engine would make of it.

Nothing is written anywhere: the state that comes in is copied, the decisions are the engine's own, the ledger is in memory.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from placement.engine.choice import choose, choose_dedicated
from placement.engine.facts import ANY, ClusterFacts, Decision, Newcomer, Pool, PoolKey
from placement.engine.ring import Ring, weight_of

SPACE = uuid.UUID("6f2c1a52-7d8e-5b13-9a44-0e6f5f7b9c21")  # ids of tenants that exist on paper only


@dataclass(frozen=True, slots=True)
class Guest:
    """A tenant, where it lives (empty: nowhere yet) and where it may, in order of preference."""

    newcomer: Newcomer
    cluster_id: str
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddCluster:
    cluster: ClusterFacts


@dataclass(frozen=True, slots=True)
class RemoveCluster:
    cluster_id: str


@dataclass(frozen=True, slots=True)
class Reweight:
    cluster_id: str
    capacity: int


@dataclass(frozen=True, slots=True)
class AddTenants:
    """So many tenants like this one. `name` tells them apart from others in the outcome."""

    name: str
    count: int
    like: Newcomer
    regions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoseRegion:
    region: str


Change = AddCluster | RemoveCluster | Reweight | AddTenants | LoseRegion


class UnknownCluster(Exception):
    """A change names a cluster that is not there, or adds one that is."""


@dataclass
class Outcome:
    """What came of it. Loads count devices."""

    before: dict[str, dict[str, Any]]
    after: dict[str, dict[str, Any]] = field(default_factory=dict)
    landed: dict[str, Counter[str]] = field(default_factory=dict)  # cluster -> tenants and devices
    uprooted: dict[str, bool] = field(default_factory=dict)  # tenants whose cluster went: whether they have another now
    added: Counter[str] = field(default_factory=Counter)  # by group of tenants
    refused: Counter[str] = field(default_factory=Counter)  # by group of tenants
    rules: Counter[str] = field(default_factory=Counter)  # what refused them, per cluster that was looked at

    def as_document(self) -> dict[str, Any]:
        """As JSON."""
        homeless = [tenant_id for tenant_id, housed in self.uprooted.items() if not housed]
        return {
            "pools": [
                {"pool": name, "before": self.before.get(name), "after": self.after.get(name)}
                for name in sorted({*self.before, *self.after})
            ],
            "landed": {cluster_id: dict(counts) for cluster_id, counts in sorted(self.landed.items())},
            "refused": dict(sorted(self.refused.items())),
            "rules": dict(sorted(self.rules.items())),
            "moved": len(self.uprooted) - len(homeless),
            "homeless": len(homeless),
            "homeless_tenants": homeless[:100],
        }


class Paper:
    """The fleet on paper. Pools are made anew when their members change and kept current placement by placement."""

    def __init__(self, clusters: Iterable[ClusterFacts], guests: Iterable[Guest]) -> None:
        self.clusters = {cluster.cluster_id: cluster for cluster in clusters}
        self.guests = {guest.newcomer.tenant_id: guest for guest in guests}
        self._pools: dict[PoolKey, Pool] = {}
        self._active: dict[PoolKey, int] = {}

    def pool(self, key: PoolKey) -> Pool:
        if key not in self._pools:
            inside = {
                cluster.cluster_id: cluster
                for cluster in self.clusters.values()
                if (cluster.region, cluster.service_class, cluster.kind) == (*key[:2], "shared")
                and key.residency in (ANY, cluster.residency)
            }
            ring = Ring.build({cluster.cluster_id: weight_of(cluster.capacity) for cluster in inside.values()})
            self._pools[key] = Pool.of(key, ring, inside.values())
            self._active[key] = sum(cluster.state == "active" for cluster in inside.values())
        return self._pools[key]

    def reshaped(self) -> None:
        self._pools.clear()

    def place(self, guest: Guest) -> tuple[str, list[Decision]]:
        """Where the engine puts it, now in the ledger; nowhere: an empty text."""
        looked: list[Decision] = []
        for region in guest.regions:
            decision = self._decide(guest.newcomer, region)
            if decision.chosen:
                self._promise(decision.chosen, guest.newcomer)
                self.guests[guest.newcomer.tenant_id] = replace(guest, cluster_id=decision.chosen)
                return decision.chosen, looked
            looked.append(decision)
        return "", looked

    def _decide(self, newcomer: Newcomer, region: str) -> Decision:
        if newcomer.kind == "dedicated":
            there = [cluster for cluster in self.clusters.values() if cluster.kind == "dedicated" and cluster.region == region]
            return choose_dedicated(newcomer, there)
        return choose(newcomer, self.pool(PoolKey(region, newcomer.service_class, newcomer.residency or ANY)))

    def _promise(self, cluster_id: str, newcomer: Newcomer) -> None:
        before = self.clusters[cluster_id]
        after = replace(
            before,
            committed=before.committed + newcomer.load,
            tenants=before.tenants + 1,
            promised_since=before.promised_since + (newcomer.load if before.measured is not None else 0),
            reserved_for=newcomer.tenant_id if before.kind == "dedicated" else "",
        )
        self.clusters[cluster_id] = after
        for key, pool in self._pools.items():
            if cluster_id in pool.clusters:
                change = after.utilisation(blind=pool.blind) - before.utilisation(blind=pool.blind)
                cast(dict[str, ClusterFacts], pool.clusters)[cluster_id] = after  # our own, made in `pool`
                self._pools[key] = replace(pool, mean=pool.mean + change / max(1, self._active[key]))

    def standing(self) -> dict[str, dict[str, Any]]:
        """Every pool of a region and service class: clusters, mean and highest utilisation."""
        told = {}
        for key in sorted({PoolKey(c.region, c.service_class) for c in self.clusters.values() if c.kind == "shared"}):
            active = [
                c.utilisation()
                for c in self.clusters.values()
                if (c.region, c.service_class, c.kind, c.state) == (*key[:2], "shared", "active")
            ]
            mean, highest = (sum(active) / len(active), max(active)) if active else (0.0, 0.0)
            told[str(key)] = {"clusters": len(active), "mean": mean, "highest": highest, "ratio": highest / mean if mean else 1.0}
        return told


def experiment(clusters: Sequence[ClusterFacts], guests: Iterable[Guest], changes: Sequence[Change]) -> Outcome:
    """The changes, one after the other. Raises: UnknownCluster."""
    paper = Paper(clusters, guests)
    outcome = Outcome(paper.standing())
    for change in changes:
        _carry_out(change, paper, outcome)
    outcome.after = paper.standing()
    return outcome


def _carry_out(change: Change, paper: Paper, outcome: Outcome) -> None:
    if isinstance(change, AddCluster):
        if change.cluster.cluster_id in paper.clusters:
            raise UnknownCluster(f"{change.cluster.cluster_id} is there already")
        paper.clusters[change.cluster.cluster_id] = change.cluster
    elif isinstance(change, Reweight):
        paper.clusters[change.cluster_id] = replace(_known(paper.clusters, change.cluster_id), capacity=change.capacity)
    elif isinstance(change, AddTenants):
        _add(change, paper, outcome)
        return
    else:
        gone = _going(change, paper)
        for cluster_id in gone:
            del paper.clusters[cluster_id]
        paper.reshaped()
        _rehouse(set(gone), paper, outcome)
        return
    paper.reshaped()


def _going(change: RemoveCluster | LoseRegion, paper: Paper) -> list[str]:
    if isinstance(change, RemoveCluster):
        return [_known(paper.clusters, change.cluster_id).cluster_id]
    gone = [cluster.cluster_id for cluster in paper.clusters.values() if cluster.region == change.region]
    if not gone:
        raise UnknownCluster(f"no cluster is in the region {change.region}")
    return gone


def _known(clusters: Mapping[str, ClusterFacts], cluster_id: str) -> ClusterFacts:
    if cluster_id not in clusters:
        raise UnknownCluster(f"there is no cluster {cluster_id}")
    return clusters[cluster_id]


def _add(change: AddTenants, paper: Paper, outcome: Outcome) -> None:
    first = outcome.added[change.name]  # a second group of the same name is of other tenants
    outcome.added[change.name] += change.count
    for number in range(first, first + change.count):
        newcomer = replace(change.like, tenant_id=str(uuid.uuid5(SPACE, f"{change.name}:{number}")))
        chosen, looked = paper.place(Guest(newcomer, "", change.regions))
        _count(chosen, looked, newcomer, outcome)
        if not chosen:
            outcome.refused[change.name] += 1


def _rehouse(gone: set[str], paper: Paper, outcome: Outcome) -> None:
    """Who lived on a cluster that went, largest first."""
    for cluster_id in gone:
        outcome.landed.pop(cluster_id, None)
    homeless = [guest for guest in paper.guests.values() if guest.cluster_id in gone]
    for guest in sorted(homeless, key=lambda one: (-one.newcomer.load, one.newcomer.tenant_id)):
        paper.guests[guest.newcomer.tenant_id] = replace(guest, cluster_id="")
        chosen, looked = paper.place(guest)
        _count(chosen, looked, guest.newcomer, outcome)
        outcome.uprooted[guest.newcomer.tenant_id] = bool(chosen)


def _count(chosen: str, looked: list[Decision], newcomer: Newcomer, outcome: Outcome) -> None:
    if chosen:
        outcome.landed.setdefault(chosen, Counter()).update(tenants=1, devices=newcomer.load)
        return
    for decision in looked:
        outcome.rules.update(decision.refusals)
