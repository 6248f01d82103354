"""Live load: each cluster's counters, sampled on a short interval of its own, and what they make of its heat.

The poll, which looks at the same things less often, feeds the same function. A sample that failed changes nothing but the record that it failed.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce

from placement import alerts, clusters, facts, snapshots
from placement.engine.choice import FLOOR
from placement.engine.facts import INELIGIBLE_AFTER, ClusterFacts, Pool, PoolKey
from placement.engine.heat import Limits, Reading, Warmth, step
from placement.errors import ClusterError
from placement.headscale import metrics
from placement.headscale.metrics import LoadReading
from placement.models import Alert, Cluster, Heat, LoadSample
from tenants.keyring import Unsealable

log = structlog.get_logger(__name__)

HOT, HOT_ANYWAY = 1.10, 0.80  # times the pool's mean; utilisation: above either of them a cluster is to shed load
SPREAD = 0.8  # of the interval: clusters have their turns in it
PATIENCE = 0.5  # of the interval: so long may one sample take, and the next one begins no earlier
WAITS = 3  # intervals at most, from one failure to the next attempt: a server that hangs shall not keep a worker busy


def sampled() -> list[str]:
    """The clusters that have a load to look at."""
    return list(_sampled().values_list("cluster_id", flat=True))


def turn(cluster_id: str) -> float:
    """Seconds into the interval at which this cluster is sampled: not all at once, and always the same, so that its samples keep their distance."""
    return zlib.crc32(cluster_id.encode()) / 2**32 * settings.LOAD_SECONDS * SPREAD


def pull(cluster_id: str, *, now: datetime) -> bool:
    """Sample one cluster. False when another process is at it, when there is nothing to sample, or when it did not answer."""
    cluster = _sampled().select_related("fleet").filter(pk=cluster_id).first()
    if cluster is None or not _claim(cluster_id, now):
        return False
    try:
        reading, sessions = look(cluster, deadline=time.monotonic() + settings.LOAD_SECONDS * PATIENCE)
    except (ClusterError, Unsealable) as error:
        _missed(cluster, str(error) or type(error).__name__, now)
        return False
    return take(cluster, reading, sessions=sessions, at=now)


def _sampled() -> QuerySet[Cluster]:
    return Cluster.objects.exclude(state=Cluster.State.OFFLINE).exclude(metrics_url="")


def _claim(cluster_id: str, now: datetime) -> bool:
    """One sample at a time: whoever moves `attempted_at` takes it. One that died is followed by the next interval's."""
    heat, _ = Heat.objects.get_or_create(cluster_id=cluster_id)
    rest = timedelta(seconds=settings.LOAD_SECONDS) * (min(max(heat.failures, 1), WAITS) - 1 + PATIENCE)
    if heat.attempted_at is not None and now - heat.attempted_at < rest:
        return False
    return Heat.objects.filter(pk=cluster_id, attempted_at=heat.attempted_at).update(attempted_at=now) == 1


def look(cluster: Cluster, *, deadline: float) -> tuple[LoadReading, int]:
    """Counters and devices online, read before `deadline` (time.monotonic()). Raises: ClusterError, Unsealable."""
    reading = metrics.fetch(cluster.cluster_id, cluster.metrics_url, timeout=deadline - time.monotonic())
    with clusters.admin_of(cluster, timeout=max(0.001, deadline - time.monotonic())) as admin:
        return reading, sum(1 for node in admin.nodes() if node.online)


@transaction.atomic
def take(cluster: Cluster, reading: LoadReading, *, sessions: int, at: datetime) -> bool:
    """Store a sample and what follows from it. False when one as new is known already."""
    Heat.objects.get_or_create(cluster_id=cluster.pk)
    heat = Heat.objects.select_for_update(of=("self",)).get(pk=cluster.pk)
    known = _warmth(heat)
    raw = Reading(at, reading.cpu_seconds, sessions, reading.queue_depth, reading.peer_calculation_buckets, reading.memory_bytes)
    warmth = step(known, raw, limits_of(cluster))
    if warmth is known:
        return False
    _store(cluster.pk, reading, sessions, at)
    Heat.objects.filter(pk=cluster.pk).update(
        at=at,
        failures=0,
        promised=Cluster.objects.filter(pk=cluster.pk).values("committed"),
        cpu_seconds=warmth.cpu_seconds,
        peer_buckets=list(warmth.counts),
        cpu=warmth.cpu,
        sessions=warmth.sessions,
        sessions_smooth=warmth.sessions_smooth,
        queue=warmth.queue,
        peer_seconds=warmth.peer_seconds,
        memory=warmth.memory,
        measured=warmth.measured,
        breaker_open=warmth.breaker_open,
        above=warmth.above,
        cool_since=warmth.cool_since,
    )
    _tell(cluster.pk, heat.breaker_open, warmth, at)
    return True


def limits_of(cluster: Cluster) -> Limits:
    sessions = cluster.max_sessions or cluster.capacity
    watched = timedelta(seconds=max(60, 3 * settings.LOAD_SECONDS))
    return Limits(cluster.cores, sessions, cluster.max_queue, cluster.max_peer_seconds, cluster.max_memory, watched)


def _warmth(heat: Heat) -> Warmth | None:
    if heat.at is None:
        return None
    return Warmth(
        at=heat.at,
        cpu_seconds=heat.cpu_seconds,
        counts=tuple(heat.peer_buckets),
        cpu=heat.cpu,
        sessions=heat.sessions,
        sessions_smooth=heat.sessions_smooth,
        queue=heat.queue,
        peer_seconds=heat.peer_seconds,
        memory=heat.memory,
        measured=heat.measured or 0.0,
        breaker_open=heat.breaker_open,
        above=heat.above,
        cool_since=heat.cool_since,
    )


def _store(cluster_id: str, reading: LoadReading, sessions: int, at: datetime) -> None:
    LoadSample.objects.create(
        cluster_id=cluster_id,
        at=at,
        sessions=sessions,
        cpu_seconds=reading.cpu_seconds,
        memory_bytes=reading.memory_bytes,
        queue_depth=reading.queue_depth,
        peer_calculations=reading.peer_calculations,
        peer_calculation_p95=reading.peer_calculation_p95,
    )


def _tell(cluster_id: str, was_open: bool, warmth: Warmth, at: datetime) -> None:
    alerts.over(Alert.Kind.SAMPLES_STALE, cluster_id, now=at)
    if warmth.breaker_open:
        told = {"measured": round(warmth.measured, 3), "cpu": round(warmth.cpu, 2), "sessions": warmth.sessions}
        alerts.raise_(Alert.Kind.BREAKER, cluster_id, facts=told, now=at)
    elif was_open:
        alerts.over(Alert.Kind.BREAKER, cluster_id, now=at)


def _missed(cluster: Cluster, reason: str, now: datetime) -> None:
    """A sample that did not come. After five intervals without one the cluster takes no tenants, and operators hear of it."""
    log.warning("load_unread", cluster_id=cluster.pk, reason=reason)
    Heat.objects.filter(pk=cluster.pk).update(failures=F("failures") + 1)
    last = Heat.objects.values_list("at", flat=True).get(pk=cluster.pk) or cluster.registered_at
    if last is not None and last < _oldest(now):
        _stale(cluster.pk, last, reason, now)


def _oldest(now: datetime) -> datetime:
    return now - timedelta(seconds=INELIGIBLE_AFTER * settings.LOAD_SECONDS)


def _stale(cluster_id: str, last: datetime, reason: str, now: datetime) -> None:
    alerts.raise_(Alert.Kind.SAMPLES_STALE, cluster_id, facts={"last": last.isoformat(), "reason": reason[:200]}, now=now)


def watch(*, now: datetime) -> int:
    """What no sample can tell: that none is taken at all, and that a cluster left whose trouble is therefore over. Returns how many are not heard from."""
    unseen = Heat.objects.filter(cluster__metrics_url="").exclude(at=None)  # of a load that nobody looks at any more nothing is known
    unseen.update(at=None, measured=None, breaker_open=False, above=0, cool_since=None)
    told = Alert.objects.filter(closed_at=None, kind__in=[Alert.Kind.SAMPLES_STALE, Alert.Kind.BREAKER])
    for kind, subject in told.exclude(subject__in=_sampled().values("cluster_id")).values_list("kind", "subject"):
        alerts.over(Alert.Kind(kind), subject, now=now)
    unheard = _sampled().annotate(last=Coalesce("heat__at", "registered_at")).filter(last__lt=_oldest(now))
    stale = dict(unheard.values_list("cluster_id", "last"))
    known = set(told.filter(kind=Alert.Kind.SAMPLES_STALE).values_list("subject", flat=True))
    for cluster_id in sorted(stale.keys() - known):
        _stale(cluster_id, stale[cluster_id], "no sample was taken", now)
    return len(stale)


def mark_hot(*, now: datetime) -> int:
    """Note since when each cluster is above the watermark that starts a rebalance. Returns how many are."""
    fleet = snapshots.build(0, facts.load(now=now))
    hot = set()
    for cluster in fleet.clusters.values():
        pool = fleet.pool(PoolKey(cluster.region, cluster.service_class))
        if cluster.kind == Cluster.Kind.SHARED and cluster.state != Cluster.State.OFFLINE and _heat(cluster, pool) > watermark(pool):
            hot.add(cluster.cluster_id)
    Heat.objects.bulk_create([Heat(cluster_id=cluster_id) for cluster_id in sorted(hot)], ignore_conflicts=True)
    Heat.objects.filter(pk__in=hot, hot_since=None).update(hot_since=now)
    Heat.objects.exclude(pk__in=hot).exclude(hot_since=None).update(hot_since=None)
    return len(hot)


def watermark(pool: Pool) -> float:
    return min(max(HOT * pool.mean, FLOOR), HOT_ANYWAY)


def _heat(cluster: ClusterFacts, pool: Pool) -> float:
    """Utilisation as a reason to move tenants away. That a sample is old makes a choice careful; it makes no server hot."""
    unheard = cluster.age is not None and cluster.age > INELIGIBLE_AFTER
    return replace(cluster, age=0.0).utilisation(blind=pool.blind or unheard)
