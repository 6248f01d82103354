"""How stock and queue of each external cluster stand, for operators: a few queries for all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Min

from placement import minting, refill, stock
from placement.models import Cluster, Grant, Minting, StockedKey


@dataclass(frozen=True)
class Line:
    """One external cluster. `oldest`: when the first of its queue came; `ends`: when the first of its stock can no longer be handed out."""

    cluster_id: str
    ready: int
    wanted: int
    unsettled: int
    queued: int
    oldest: datetime | None
    seconds: float
    minted: int
    ran_at: datetime | None
    ends: datetime | None

    @property
    def rate(self) -> float:
        """Keys a second of the refill."""
        return settings.STOCK_SHARE / self.seconds

    def waited(self, now: datetime) -> float:
        return (now - self.oldest).total_seconds() if self.oldest else 0.0


def lines(*, now: datetime) -> list[Line]:
    cluster_ids = list(Cluster.objects.filter(fleet=None).order_by("cluster_id").values_list("cluster_id", flat=True))
    if not cluster_ids:
        return []
    queue = Grant.objects.across_tenants().filter(cluster__in=cluster_ids, state=Grant.State.QUEUED).order_by()
    queued = {row[0]: row[1:] for row in queue.values_list("cluster_id").annotate(Count("pk"), Min("created_at"))}
    usable = StockedKey.objects.across_tenants().filter(state=StockedKey.State.READY, expires_at__gt=now + stock.LEFT).order_by()
    ready = {row[0]: row[1:] for row in usable.values_list("cluster_id").annotate(Count("pk"), Min("expires_at"))}
    silent = StockedKey.objects.across_tenants().filter(state__in=[StockedKey.State.RESERVED, StockedKey.State.UNKNOWN])
    unsettled = Counter(silent.values_list("cluster_id", flat=True))
    wanted = refill.wanted_per_cluster(cluster_ids, now=now)
    paces = {pace.pk: pace for pace in Minting.objects.all()}
    told = []
    for cluster_id in cluster_ids:
        devices, oldest = queued.get(cluster_id, (0, None))
        number, first = ready.get(cluster_id, (0, None))
        pace = paces.get(cluster_id)
        told.append(
            Line(
                cluster_id=cluster_id,
                ready=number,
                wanted=wanted[cluster_id],
                unsettled=unsettled[cluster_id],
                queued=devices,
                oldest=oldest,
                seconds=pace.seconds if pace else minting.AT_FIRST,
                minted=pace.minted if pace else 0,
                ran_at=pace.ran_at if pace else None,
                ends=first - stock.LEFT if first else None,
            )
        )
    return told
