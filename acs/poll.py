"""One poll of one cluster: look at it, then let each reader make of it what it needs.

One observation, its readers: devices and grants, routes, load, online time. A poll that failed, or whose answer is suspect,
changes nothing but the record that it failed. The network stays outside the transaction.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from acs import wiring
from billing.metering import taking as metering
from placement import autoroutes, clusters, devices, fleetdb, history, load, logins, pollruns, retiring, routing, settling, slots, stock
from placement.devices import Sighting
from placement.errors import ClusterError
from placement.headscale import metrics
from placement.headscale.metrics import LoadReading
from placement.models import Cluster, Device, PollRun, Watch
from placement.policies import taking
from placement.routing import Announced
from placement.settling import KeyFact

log = structlog.get_logger(__name__)

SLOWEST = timedelta(seconds=20)  # an answer older than this says too little about now
AHEAD = timedelta(
    seconds=5
)  # of the database's clock, or of the hour at which it is taken in: a look from there is from no clock that is right
EMPTY_TWICE = 2  # a server that had nodes must show none this often in a row before it is believed


@dataclass(frozen=True)
class Observation:
    """What one look at a cluster showed, begun at `started_at`."""

    started_at: datetime
    nodes: list[Sighting]
    keys: dict[int, KeyFact]
    load: LoadReading | None
    routes: Announced = field(default_factory=dict)
    clock_off: timedelta | None = None  # the server's clock minus ours

    @property
    def online(self) -> int:
        return sum(1 for node in self.nodes if node.online)


class Suspect(Exception):
    """An answer that came, but is not to be believed."""


def poll(cluster_id: str, *, now: datetime, truly: datetime | None = None) -> PollRun | None:
    """Poll one cluster. Returns its record, or None when another process has just polled it.

    `truly`: what another clock says, the database's; where ours is ahead of it, what is seen is not believed.
    """
    if not _claim(cluster_id, now):
        return None
    cluster = Cluster.objects.select_related("fleet").get(pk=cluster_id)
    structlog.contextvars.bind_contextvars(cluster_id=cluster_id)
    begun = time.monotonic()
    try:
        seen = look(cluster, started_at=now)
        if time.monotonic() - begun > SLOWEST.total_seconds():
            raise Suspect(f"the answers took {time.monotonic() - begun:.0f} s")
        _believe(cluster_id, seen, truly or now)
    except (ClusterError, Suspect) as problem:
        outcome = PollRun.Outcome.SUSPECT if isinstance(problem, Suspect) else PollRun.Outcome.FAILED
        return _record_failure(cluster_id, outcome, str(problem), started_at=now, seconds=time.monotonic() - begun)
    finally:
        structlog.contextvars.unbind_contextvars("cluster_id")
    return record(cluster, seen, seconds=time.monotonic() - begun, now=now)


def _claim(cluster_id: str, now: datetime) -> bool:
    """One poll at a time: whoever moves `attempted_at` polls. A poll that died is followed by the next interval's; one that is to come was attempted by a clock
    that was ahead, and keeps nobody from looking."""
    Watch.objects.get_or_create(cluster_id=cluster_id)
    stale = (
        Q(attempted_at=None) | Q(attempted_at__lt=now - timedelta(seconds=settings.POLL_SECONDS * 0.5)) | Q(attempted_at__gt=now + AHEAD)
    )
    return Watch.objects.filter(stale, pk=cluster_id).update(attempted_at=now) == 1


def look(cluster: Cluster, *, started_at: datetime) -> Observation:
    """Raises: ClusterError."""
    reading = _counters(cluster)  # first, for they are dated `started_at`: rates are made of them
    with clusters.admin_of(cluster) as admin:
        shown = admin.nodes()
        clock_off = admin.clock_off
        listed = admin.keys() if cluster.is_external else []
    if cluster.fleet is None:
        keys = {key.id: KeyFact(key.used, key.expiration) for key in listed}
    else:
        with fleetdb.cursor_of(cluster.fleet) as cursor:
            keys = fleetdb.key_facts(cursor, cluster.cluster_id, settling.unsettled_keys(cluster.cluster_id))
    routes = {node.id: (node.available_routes, node.approved_routes) for node in shown}
    return Observation(started_at, [devices.sighting_of(node) for node in shown], keys, reading, routes, clock_off)


def _counters(cluster: Cluster) -> LoadReading | None:
    """None where there are none; a server that tells its nodes alone has been looked at all the same."""
    if not cluster.metrics_url:
        return None
    try:
        return metrics.fetch(cluster.cluster_id, cluster.metrics_url, timeout=settings.CLUSTER_TIMEOUT)
    except ClusterError as error:
        log.warning("metrics_unreadable", cluster_id=cluster.cluster_id, error=str(error))
        return None


def _believe(cluster_id: str, seen: Observation, truly: datetime) -> None:
    if seen.started_at > truly + AHEAD:
        raise Suspect(f"our clock is {(seen.started_at - truly).total_seconds():.0f} s ahead of the database's")
    watch = Watch.objects.get(pk=cluster_id)
    if seen.nodes or watch.failures >= EMPTY_TWICE:
        return
    known = Device.objects.across_tenants().filter(cluster_id=cluster_id, gone_at=None).count()
    if known:
        raise Suspect(f"no nodes at all, where {known} devices are known")


@transaction.atomic
def _record_failure(cluster_id: str, outcome: PollRun.Outcome, reason: str, *, started_at: datetime, seconds: float) -> PollRun:
    log.warning("poll_failed", cluster_id=cluster_id, outcome=outcome, reason=reason)
    Watch.objects.filter(pk=cluster_id).update(failures=F("failures") + 1)
    return pollruns.write(cluster_id, started_at=started_at, seconds=seconds, outcome=outcome, reason=reason[:300])


def record(cluster: Cluster, seen: Observation, *, seconds: float, now: datetime) -> PollRun | None:
    """Take in what a look at the cluster showed. None where a newer one was taken in before it. Raises: ClusterError."""
    if seen.started_at > now + AHEAD:
        reason = "it began later than it is now"
        return _record_failure(cluster.pk, PollRun.Outcome.SUSPECT, reason, started_at=seen.started_at, seconds=seconds)
    with transaction.atomic():
        watch = Watch.objects.select_for_update(of=("self",)).get(pk=cluster.pk)
        if watch.complete_at is not None and seen.started_at <= watch.complete_at:
            return None  # late or delivered twice: a newer look has been recorded
        observed = devices.observe(cluster.cluster_id, seen.nodes, seen_at=seen.started_at, now=now, complete=True)
        logins.settle(cluster.cluster_id, seen_from=seen.started_at, now=now)
        routing.observe(cluster.cluster_id, seen.routes, now=now)
        autoroutes.decide_all(cluster.cluster_id, now=now)
        strays = settling.settle(cluster, seen.keys, seen_from=seen.started_at, now=now)
        if cluster.is_external:
            stock.settle(cluster, seen.keys, seen_from=seen.started_at, now=now)
        slots.release_of_cluster(cluster.cluster_id, seen_from=seen.started_at, now=now)
        if seen.load is not None:
            load.take(cluster, seen.load, sessions=seen.online, at=seen.started_at)
        metering.take(_metered(cluster.cluster_id, seen))
        history.note(cluster.cluster_id, at=seen.started_at)
        run = pollruns.write(
            cluster.pk,
            started_at=seen.started_at,
            seconds=seconds,
            outcome=PollRun.Outcome.OK,
            nodes=len(seen.nodes),
            online=seen.online,
            reason=f"{observed.strangers} nodes of no tenant" if observed.strangers else "",
        )
        Watch.objects.filter(pk=cluster.pk).update(complete_at=seen.started_at, nodes=len(seen.nodes), failures=0)
    routing.tell(cluster, routing.astray(cluster.cluster_id, seen.routes))
    retiring.retire(cluster, strays, now=now)
    differing = {node.node_id: (node.account, node.tags) for node in seen.nodes if node.node_id in observed.differing}
    if taking.not_taken(cluster.pk, differing):
        wiring.audit_now(cluster.pk)
    return run


def _metered(cluster_id: str, seen: Observation) -> metering.Poll:
    """What metering reads of a look: who is online."""
    samples = (metering.Sample(node.node_id, bool(node.online), node.last_seen) for node in seen.nodes)
    return metering.Poll(cluster_id, seen.started_at, samples, seen.load.started_at if seen.load else None, seen.clock_off)
