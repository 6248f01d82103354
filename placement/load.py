"""Live load: each cluster's counters, sampled on a short interval of its own, and what they make of its heat.

The poll, which looks at the same things less often, feeds the same function. A sample that failed changes nothing but the record that it failed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from placement import alerts, clusters, facts, snapshots
from placement.engine.choice import FLOOR
from placement.engine.facts import INELIGIBLE_AFTER, PoolKey
from placement.engine.heat import Limits, Reading, Warmth, step
from placement.errors import ClusterError
from placement.headscale import metrics
from placement.headscale.metrics import LoadReading
from placement.models import Alert, Cluster, Heat, LoadSample

log = structlog.get_logger(__name__)

HOT, HOT_ANYWAY = 1.10, 0.80  # times the pool's mean; utilisation: above either of them a cluster is to shed load
TIMEOUT = 5.0  # seconds for one call: a sample that takes longer is late for its interval


def pull(cluster_id: str, *, now: datetime) -> bool:
    """Sample one cluster. False when another process is at it, when there is nothing to sample, or when it did not answer."""
    cluster = Cluster.objects.select_related("fleet").get(pk=cluster_id)
    if not cluster.metrics_url or not _claim(cluster_id, now):
        return False
    try:
        reading = metrics.fetch(cluster_id, cluster.metrics_url, timeout=TIMEOUT)
        with clusters.admin_of(cluster) as admin:
            online = sum(1 for node in admin.nodes() if node.online)
    except ClusterError as error:
        _missed(cluster, str(error), now)
        return False
    return take(cluster, reading, sessions=online, at=now)


def _claim(cluster_id: str, now: datetime) -> bool:
    """One sample at a time: whoever moves `attempted_at` takes it. One that died is followed by the next interval's."""
    Heat.objects.get_or_create(cluster_id=cluster_id)
    stale = Q(attempted_at=None) | Q(attempted_at__lt=now - timedelta(seconds=settings.LOAD_SECONDS * 0.5))
    return Heat.objects.filter(stale, pk=cluster_id).update(attempted_at=now) == 1


@transaction.atomic
def take(cluster: Cluster, reading: LoadReading, *, sessions: int, at: datetime) -> bool:
    """Store a sample and what follows from it. False when a newer one is known already."""
    Heat.objects.get_or_create(cluster_id=cluster.pk)
    heat = Heat.objects.select_for_update(of=("self",)).get(pk=cluster.pk)
    if heat.at is not None and at <= heat.at:
        return False
    raw = Reading(at, reading.cpu_seconds, sessions, reading.queue_depth, reading.peer_calculation_buckets, reading.memory_bytes)
    warmth = step(_warmth(heat), raw, limits_of(cluster))
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
    return Limits(cluster.cores, sessions, cluster.max_queue, cluster.max_peer_seconds, cluster.max_memory)


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
    if last is not None and (now - last).total_seconds() > INELIGIBLE_AFTER * settings.LOAD_SECONDS:
        alerts.raise_(Alert.Kind.SAMPLES_STALE, cluster.pk, facts={"last": last.isoformat(), "reason": reason[:200]}, now=now)


def mark_hot(*, now: datetime) -> int:
    """Note since when each cluster is above the watermark that starts a rebalance. Returns how many are."""
    fleet = snapshots.build(0, facts.load(now=now))
    hot = set()
    for cluster in fleet.clusters.values():
        pool = fleet.pool(PoolKey(cluster.region, cluster.service_class))
        used = cluster.utilisation(blind=pool.blind)
        if cluster.kind == Cluster.Kind.SHARED and used > min(max(HOT * pool.mean, FLOOR), HOT_ANYWAY):
            hot.add(cluster.cluster_id)
    Heat.objects.bulk_create([Heat(cluster_id=cluster_id) for cluster_id in sorted(hot)], ignore_conflicts=True)
    Heat.objects.filter(pk__in=hot, hot_since=None).update(hot_since=now)
    Heat.objects.exclude(pk__in=hot).exclude(hot_since=None).update(hot_since=None)
    return len(hot)
