"""The refill of an external cluster: a key for each of its queue, in order, then keys for the stock of tenants whose devices come often.

One refill of a cluster at a time, over all processes. It takes no more than ACS_STOCK_SHARE of one core of the server: a mint that took
120 ms is followed by a rest, so that the next begins 240 ms after it began; when that will be is written down before the server is asked, so neither a
crash nor a second refill makes it faster. It asks nothing of a cluster that is offline or overloaded, and stops when the server does not answer.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Case, Count, F, Q, When
from django.utils import timezone

from placement import fulfilment, lanes, lineup, minting, stock
from placement.errors import ClusterError, ClusterRefused
from placement.fulfilment import Wanted
from placement.models import Cluster, Grant, Heat, Minting
from placement.policies.facts import server_tag

log = structlog.get_logger(__name__)

LONGEST = 8.0  # seconds of a run
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURS_KEPT = 2  # of a day's mean demand, for tenants that were quiet in the last hour
PAUSE = timedelta(minutes=2)  # between runs; after a longer one nobody's place is forgotten for a while
REFUSALS = 3  # of different tenants, after which the server is left alone


@dataclass(frozen=True)
class Demand:
    """How many keys one tenant should have ahead on its cluster, and how many it has."""

    cluster_id: str
    tenant_id: UUID
    ephemeral: bool
    headscale_user_id: int
    wanted: int
    ready: int

    @property
    def lack(self) -> float:
        return (self.wanted - self.ready) / self.wanted


def refill(cluster_id: str, *, seconds: float = LONGEST) -> bool:
    """Mint for up to so many seconds. Returns whether there is more to do. False also where another refill is at it, or the cluster must rest."""
    cluster = Cluster.objects.filter(pk=cluster_id, fleet=None).first()
    if cluster is None or not may_mint(cluster_id):
        return False
    with lanes.lane(cluster_id, lanes.REFILL, 1) as mine:
        return mine and _run(cluster, time.monotonic() + seconds)


def may_mint(cluster_id: str) -> bool:
    overloaded = Heat.objects.filter(pk=cluster_id, breaker_open=True).exists()
    return not overloaded and Cluster.objects.filter(pk=cluster_id).exclude(state=Cluster.State.OFFLINE).exists()


def _run(cluster: Cluster, deadline: float) -> bool:
    _begin(cluster.pk, timezone.now())
    refused: set[UUID] = set()
    while len(refused) < REFUSALS and may_mint(cluster.pk):
        grant, demand = _next(cluster.pk, refused)
        if grant is None and demand is None:
            return False
        if grant is not None and _from_stock(grant):
            continue
        begun = _turn(cluster.pk, deadline)
        if begun is None:
            return True
        grant, demand = _next(cluster.pk, refused)  # somebody may have come, or have been served, while we waited for the turn
        try:
            try:
                _mint(cluster, grant, demand)
            finally:
                _paid(cluster.pk, begun)
        except ClusterRefused as refusal:
            log.warning("mint_refused", cluster_id=cluster.pk, reason=refusal.reason)
            refused |= {about.tenant_id for about in (grant, demand) if about is not None}
        except ClusterError as error:
            log.warning("refill_interrupted", cluster_id=cluster.pk, error=str(error))
            return False
    return False


def _begin(cluster_id: str, now: datetime) -> None:
    Minting.objects.get_or_create(pk=cluster_id, defaults={"seconds": minting.AT_FIRST})
    unbroken = Case(When(ran_at__gt=now - PAUSE, then=F("serving_since")), default=now)
    Minting.objects.filter(pk=cluster_id).update(serving_since=unbroken, ran_at=now)


def _next(cluster_id: str, refused: set[UUID]) -> tuple[Grant | None, Demand | None]:
    """Whose key is next: the first of the queue, or else the tenant whose stock is lowest."""
    now = timezone.now()
    grant = lineup.first(cluster_id, now=now, but=refused)
    return grant, None if grant else short(cluster_id, now=now, but=refused)


def _turn(cluster_id: str, deadline: float) -> datetime | None:
    """Wait for the next turn and take it, paying for it beforehand. None when it is not before the deadline."""
    pace = Minting.objects.get(pk=cluster_id)
    wait = max(0.0, (pace.free_at - timezone.now()).total_seconds()) if pace.free_at else 0.0
    if time.monotonic() + wait > deadline:
        return None
    time.sleep(wait)
    begun = timezone.now()
    Minting.objects.filter(pk=cluster_id).update(free_at=begun + timedelta(seconds=pace.seconds / settings.STOCK_SHARE))
    return begun


def _paid(cluster_id: str, begun: datetime) -> None:
    """What the turn has really taken decides when the next one is."""
    Minting.objects.filter(pk=cluster_id).update(free_at=begun + (timezone.now() - begun) / settings.STOCK_SHARE)


def _mint(cluster: Cluster, grant: Grant | None, demand: Demand | None) -> None:
    now = timezone.now()
    if grant is not None:
        expires_at = lineup.leave(grant.pk, lineup.lifetime(grant), now=now)
        if expires_at is not None:
            user_id = grant.tenant.binding.headscale_user_id
            tags = tuple(server_tag(grant.tenant.account, tag) for tag in grant.tags)
            wanted = Wanted(grant.pk, grant.tenant_id, user_id, grant.ephemeral, expires_at, tags, queued=True)
            fulfilment.fulfil(cluster, wanted, now=now)
    elif demand is not None:
        stock.mint_one(cluster, demand.tenant_id, ephemeral=demand.ephemeral, headscale_user_id=demand.headscale_user_id, now=now)


@transaction.atomic
def _from_stock(grant: Grant) -> bool:
    """Whether a key that is there already fits the first of the queue. Those in stock have no tags."""
    if grant.tags:
        return False
    lives, now = lineup.lifetime(grant), timezone.now()
    told = stock.take(grant.tenant_id, grant.cluster_id, grant.pk, ephemeral=grant.ephemeral, lifetime=lives, now=now, queued=True)
    return told is not None


def short(cluster_id: str, *, now: datetime, but: set[UUID] | None = None) -> Demand | None:
    """The tenant that lacks most of what it should have ahead."""
    lacking = [each for each in demands(cluster_id, now=now) if each.ready < each.wanted and each.tenant_id not in (but or ())]
    return max(lacking, key=lambda each: (each.lack, each.wanted, str(each.tenant_id)), default=None)


def demands(*cluster_ids: str, now: datetime) -> list[Demand]:
    """What each tenant should have ahead: what its devices took in the last hour, or two hours' share of the last day; never more than its
    quota has room for. Credentials whose keys live shorter than the stock's, or bear tags, do not count: it would not suit them."""
    recent = Grant.objects.across_tenants().filter(
        lineup.entitled(now), cluster__in=cluster_ids, key_prefix="", tags=[], created_at__gt=now - DAY
    )
    here = recent.filter(tenant__binding__cluster=F("cluster"), enrolment_key__key_lifetime__gte=stock.LIFE)
    of = ("cluster_id", "tenant_id", "ephemeral", "tenant__binding__headscale_user_id", "tenant__quota__limit", "tenant__quota__used")
    asked = here.exclude(state=Grant.State.RELEASED).order_by().values_list(*of)
    counted = asked.annotate(hour=Count("pk", filter=Q(created_at__gt=now - HOUR)), day=Count("pk"))
    held = stock.ready(*cluster_ids, now=now).order_by().values_list("cluster_id", "tenant_id", "ephemeral").annotate(Count("pk"))
    ready = {(cluster_id, tenant_id, ephemeral): number for cluster_id, tenant_id, ephemeral, number in held}
    return [
        Demand(
            cluster_id=cluster_id,
            tenant_id=tenant_id,
            ephemeral=ephemeral,
            headscale_user_id=user_id,
            wanted=min(settings.STOCK_MOST, max(0, limit - used), wanted(hour, day)),
            ready=ready.get((cluster_id, tenant_id, ephemeral), 0),
        )
        for cluster_id, tenant_id, ephemeral, user_id, limit, used, hour, day in counted
    ]


def wanted(hour: int, day: int) -> int:
    """Keys ahead for so many grants of the last hour and day."""
    return max(hour, math.ceil(day * HOURS_KEPT / 24))


def wanted_per_cluster(cluster_ids: Iterable[str], *, now: datetime) -> Counter[str]:
    """How many keys all tenants of each cluster should have ahead."""
    total: Counter[str] = Counter()
    for each in demands(*cluster_ids, now=now):
        total[each.cluster_id] += each.wanted
    return total
