"""The fleet at a glance, for the operators' first page: as many queries, however many clusters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count

from placement import outbox
from placement.models import Alert, Cluster, Device, Grant, Waiting, Watch
from placement.outbox import Outbox

LATE = 3  # a poll this many intervals old is late
LISTED = 60  # clusters on the page; what ails is among them


@dataclass(frozen=True)
class Glance:
    """One cluster. `poll_age` is None when it was never polled completely."""

    cluster: Cluster
    online: int
    devices: int
    unsettled: int
    poll_age: timedelta | None
    failures: int
    late: bool


@dataclass(frozen=True)
class Overview:
    """Every cluster, what waits in our own fleet's outbox, how many tenants wait for a place, and how many alerts are open."""

    clusters: list[Glance]
    waiting: Outbox
    oldest: timedelta | None
    queue: int
    alerts: int

    @property
    def listed(self) -> list[Glance]:
        """Those to show: all of them where they are few, else the first, and before them those that want a look."""
        if len(self.clusters) <= LISTED:
            return self.clusters
        return sorted(self.clusters, key=lambda glance: (not glance.late, -glance.failures, glance.cluster.pk))[:LISTED]

    @property
    def unlisted(self) -> int:
        return len(self.clusters) - len(self.listed)

    @property
    def online(self) -> int:
        return sum(glance.online for glance in self.clusters)

    @property
    def devices(self) -> int:
        return sum(glance.devices for glance in self.clusters)

    @property
    def unsettled(self) -> int:
        return sum(glance.unsettled for glance in self.clusters)

    @property
    def ailing(self) -> int:
        """Clusters that should be polled and are not, or whose polls fail."""
        return sum(glance.late for glance in self.clusters)


def look(now: datetime, *, interval: timedelta) -> Overview:
    """`interval` is how often clusters are polled."""
    present = Device.objects.across_tenants().filter(gone_at=None)
    devices, online = _per_cluster(present), _per_cluster(present.filter(online=True))
    unsettled = _per_cluster(Grant.objects.across_tenants().filter(settled_at=None))
    watches = {watch.cluster_id: watch for watch in Watch.objects.all()}
    glances = [
        _glance(cluster, watches.get(cluster.pk), now, interval, (online, devices, unsettled))
        for cluster in Cluster.objects.select_related("fleet")
    ]
    waiting = outbox.look()
    queue, alerts = Waiting.objects.across_tenants().count(), Alert.objects.filter(closed_at=None).count()
    return Overview(glances, waiting, now - waiting.oldest if waiting.oldest else None, queue, alerts)


def _glance(cluster: Cluster, watch: Watch | None, now: datetime, interval: timedelta, counts: tuple[dict[str, int], ...]) -> Glance:
    age = now - watch.complete_at if watch and watch.complete_at else None
    late = cluster.state != Cluster.State.OFFLINE and (age is None or age > interval * LATE)
    online, devices, unsettled = (numbers.get(cluster.pk, 0) for numbers in counts)
    return Glance(cluster, online, devices, unsettled, age, watch.failures if watch else 0, late)


def _per_cluster(rows: Any) -> dict[str, int]:
    return dict(rows.order_by().values_list("cluster_id").annotate(Count("pk")))
