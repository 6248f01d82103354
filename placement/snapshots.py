"""The fleet as this process knows it: rings and pools, replaced as a whole, never changed.

A process that serves requests runs `start()` once: a thread of its own then listens for changes of the membership (NOTIFY acs_topology), looks
at the version when nobody told it anything, and swaps in a new snapshot. No request builds a ring. Processes without the thread (commands,
tasks) read the facts when they ask, and build rings only when the version is another one.

A snapshot may be seconds old, so a decision looks again at the clusters it weighs (`renewed`), and the ledger's update has the last word.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import connection
from django.utils import timezone

from placement import facts
from placement.engine.facts import ANY, ClusterFacts, Pool, PoolKey
from placement.engine.ring import Ring, point_of, weight_of
from placement.headscale.fleet import connect

log = structlog.get_logger(__name__)

CHANNEL = "acs_topology"
LOOKED_AT_AGAIN = 16  # clusters from the tenant's point on: more than a choice weighs, unless most of them are refused
TOO_OLD = 4  # refresh intervals; past them the thread is taken for dead and the request reads for itself


@dataclass(frozen=True)
class Snapshot:
    """The fleet at one moment. `version`: the membership's, as PostgreSQL counts it; `taken`: time.monotonic()."""

    version: int
    taken: float
    clusters: Mapping[str, ClusterFacts]
    pools: Mapping[PoolKey, Pool]

    @property
    def regions(self) -> list[str]:
        return sorted({cluster.region for cluster in self.clusters.values()})

    @property
    def dedicated(self) -> list[ClusterFacts]:
        return [cluster for cluster in self.clusters.values() if cluster.kind == "dedicated"]

    def pool(self, key: PoolKey) -> Pool:
        """An empty one where nobody serves that region, class and residency."""
        return self.pools.get(key) or Pool.of(key, Ring.build({}), ())


class Renewed(Mapping[str, ClusterFacts]):
    """The pool's clusters, some of them as just read. A cluster that is gone meanwhile is offline."""

    def __init__(self, known: Mapping[str, ClusterFacts], fresh: Mapping[str, ClusterFacts]) -> None:
        self._known, self._fresh = known, fresh

    def __getitem__(self, cluster_id: str) -> ClusterFacts:
        return self._fresh.get(cluster_id) or self._known[cluster_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def members(clusters: Mapping[str, ClusterFacts]) -> dict[PoolKey, list[ClusterFacts]]:
    """The pools that each cluster is in: that of its region and class, and that of its residency too. Dedicated ones are in none."""
    pools: dict[PoolKey, list[ClusterFacts]] = {}
    for cluster in clusters.values():
        if cluster.kind == "shared":
            for residency in (ANY, cluster.residency) if cluster.residency else (ANY,):
                pools.setdefault(PoolKey(cluster.region, cluster.service_class, residency), []).append(cluster)
    return pools


def build(version: int, clusters: list[ClusterFacts], before: Snapshot | None = None) -> Snapshot:
    """A snapshot of these facts. Rings of an earlier one of the same version are kept."""
    known = {cluster.cluster_id: cluster for cluster in clusters}
    kept = before.pools if before is not None and before.version == version else {}
    pools = {}
    for key, inside in members(known).items():
        same = key in kept and kept[key].clusters.keys() == {cluster.cluster_id for cluster in inside}
        ring = kept[key].ring if same else Ring.build({cluster.cluster_id: weight_of(cluster.capacity) for cluster in inside})
        pools[key] = Pool.of(key, ring, inside)
    return Snapshot(version, time.monotonic(), known, pools)


_latest: Snapshot | None = None
_refresher: threading.Thread | None = None


def current(*, now: datetime) -> Snapshot:
    """The snapshot to decide on."""
    global _latest  # noqa: PLW0603 - one reference, swapped whole
    latest = _latest
    if latest is not None and _refresher is not None and time.monotonic() - latest.taken < TOO_OLD * settings.PLACEMENT_REFRESH_SECONDS:
        return latest
    with connection.cursor() as cursor:
        _latest = built = _read(cursor, now)
    return built


def fresh(*, now: datetime) -> Snapshot:
    """Read this moment, for people who look: what they changed a second ago is in it."""
    with connection.cursor() as cursor:
        return _read(cursor, now)


def _read(cursor: Any, now: datetime) -> Snapshot:
    """The version first: facts read after it are as new, or newer, and then the next look rebuilds."""
    return build(facts.version(cursor), facts.read(cursor, now=now), _latest)


def renewed(pool: Pool, tenant_id: str, *, now: datetime) -> Pool:
    """The pool with the clusters from the tenant's point on as they are this moment."""
    nearest = list(islice(pool.ring.walk(point_of(tenant_id)), LOOKED_AT_AGAIN))
    fresh = {cluster.cluster_id: cluster for cluster in facts.load(now=now, only=nearest)}
    gone = {cluster_id: replace(pool.clusters[cluster_id], state="offline") for cluster_id in nearest if cluster_id not in fresh}
    return replace(pool, clusters=Renewed(pool.clusters, {**fresh, **gone}))


def start() -> None:
    """Keep this process's snapshot current from a thread of its own. Call it after the last fork."""
    global _refresher  # noqa: PLW0603 - started once in a process
    if _refresher is None:
        _refresher = threading.Thread(target=_refresh_for_ever, name="placement-snapshots", daemon=True)
        _refresher.start()


def _refresh_for_ever() -> None:
    while True:
        try:
            with connect.connect(connect.own_database()) as link:  # outside the pool: a listener holds its connection for good
                link.execute("set application_name to 'acs placement'")  # for whoever looks at pg_stat_activity
                link.execute(f"listen {CHANNEL}")
                while True:
                    _swap(link)
                    for _told in link.notifies(timeout=settings.PLACEMENT_REFRESH_SECONDS, stop_after=1):
                        pass
        except psycopg.Error as error:
            log.warning("snapshots_interrupted", error=str(error))
            time.sleep(1)


def _swap(link: psycopg.Connection[Any]) -> None:
    global _latest  # noqa: PLW0603 - one reference, swapped whole
    with link.cursor() as cursor:
        _latest = _read(cursor, timezone.now())
