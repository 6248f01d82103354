"""Which documents a cluster was given, what became of each, how they differ, and how long they are kept."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, QuerySet

from placement.models import Cluster, ClusterPolicy, PolicyPush

State = PolicyPush.State
KEPT, KEPT_OF_EACH = timedelta(days=90), 50
AT_ONCE = 500  # documents may be large


@dataclass(frozen=True)
class Status:
    """Whether a cluster runs what it should. `running`: the document that it took last; `sure` whether nobody else can have changed it meanwhile."""

    cluster: Cluster
    waiting: int
    waiting_since: datetime | None
    running: PolicyPush | None
    sure: bool
    failures: int
    try_at: datetime | None
    trouble: str
    checked_at: datetime | None


def status(cluster: Cluster) -> Status:
    row = ClusterPolicy.objects.filter(pk=cluster.pk).select_related("running").first() or ClusterPolicy(cluster=cluster)
    running = row.running or of(cluster.pk).filter(state=State.STORED).first()
    return Status(
        cluster=cluster,
        waiting=row.wanted - row.done,
        waiting_since=row.wanted_at if row.wanted > row.done else None,
        running=running,
        sure=row.running is not None,
        failures=row.failures,
        try_at=row.try_at,
        trouble=row.trouble,
        checked_at=row.checked_at,
    )


def of(cluster_id: str) -> QuerySet[PolicyPush]:
    """Its pushes, the latest first."""
    return PolicyPush.objects.filter(cluster_id=cluster_id).order_by("-id")


def former(push: PolicyPush) -> PolicyPush | None:
    """What the cluster ran before."""
    return of(push.cluster_id).filter(pk__lt=push.pk, state=State.STORED).first()


def diff(push: PolicyPush, other: PolicyPush | None) -> list[str]:
    """From `other` (nothing, where there is none) to the push, in unified lines."""
    before = other.document.splitlines() if other else []
    name = f"#{other.pk}" if other else "nothing"
    return list(difflib.unified_diff(before, push.document.splitlines(), name, f"#{push.pk}", lineterm="", n=1))


def waits() -> list[tuple[str, datetime | None]]:
    """Clusters whose document is behind what was asked for, and since when."""
    rows = ClusterPolicy.objects.filter(wanted__gt=F("done")).exclude(cluster__state=Cluster.State.OFFLINE)
    return list(rows.order_by("cluster_id").values_list("cluster_id", "wanted_at"))


def forget(*, now: datetime) -> int:
    """Drop pushes that are old and not among the newest of their cluster, nor what it runs. Returns how many."""
    dropped = 0
    for cluster_id in list(Cluster.objects.values_list("pk", flat=True)):
        newest = list(of(cluster_id).values_list("pk", flat=True)[:KEPT_OF_EACH])
        if len(newest) < KEPT_OF_EACH:
            continue
        running = ClusterPolicy.objects.filter(pk=cluster_id, running__isnull=False).values("running_id")
        old = of(cluster_id).filter(pk__lt=newest[-1], started_at__lt=now - KEPT).exclude(pk__in=running).exclude(state=State.PUSHING)
        while oldest := list(old.values_list("pk", flat=True)[:AT_ONCE]):
            dropped += PolicyPush.objects.filter(pk__in=oldest).delete()[0]
    return dropped
