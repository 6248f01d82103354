"""The queue of an external cluster: devices that asked for more keys than it can mint, in the order in which they came.

A queued grant is a slot, and a place by `created_at`; both are in the database and survive everything but being forgotten: nobody asked for it
for a quarter of an hour in which the refill served. The refill mints for the queue before it mints for the stock (placement/refill.py).
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from placement import settling, slots
from placement.models import Cluster, Grant, Minting
from tenants.models import Enrolment, Tenant

HELD = timedelta(minutes=15)  # a place that nobody asks for; longer than the longest Retry-After
SHORTEST_WAIT, LONGEST_WAIT, JITTER = 1, 300, 0.25  # seconds; of the wait


def waits(cluster_id: str) -> bool:
    """Whether anybody queues there: then a newcomer, too, has to."""
    return _queue(cluster_id).exists()


def join(grant_id: UUID, *, now: datetime) -> bool:
    """Give a grant that was just promised its place."""
    reserved = Grant.objects.across_tenants().filter(pk=grant_id, state=Grant.State.RESERVED, key_id=None)
    return reserved.update(state=Grant.State.QUEUED, asked_at=now) == 1


def ask_again(grant_id: UUID, *, now: datetime) -> None:
    Grant.objects.across_tenants().filter(pk=grant_id, state=Grant.State.QUEUED).update(asked_at=now)


def place(cluster_id: str, grant_id: UUID, *, now: datetime) -> int:
    """How many came before it and still ask. 0 is the first."""
    mine = Grant.objects.across_tenants().filter(pk=grant_id).values_list("created_at", flat=True).first()
    if mine is None:
        return 0
    earlier = Q(created_at__lt=mine) | Q(created_at=mine, pk__lt=grant_id)
    return _queue(cluster_id).filter(earlier, asked_at__gt=now - HELD).count()


def length(cluster_id: str) -> int:
    return _queue(cluster_id).count()


def retry_after(ahead: int, seconds: float) -> int:
    """When to ask again: the queue's length by the rate of the refill, and a little by chance, lest all come back at once."""
    wait = (ahead + 1) * seconds / settings.STOCK_SHARE
    spread = wait * random.uniform(1.0, 1.0 + JITTER) + random.uniform(0.0, 1.0)  # noqa: S311 - no secret
    return min(LONGEST_WAIT, max(SHORTEST_WAIT, math.ceil(spread)))


def first(cluster_id: str, *, now: datetime, but: Collection[UUID] = ()) -> Grant | None:
    """Whose turn it is, of those who are entitled to a key; `but` names tenants to pass over."""
    waiting = _queue(cluster_id).filter(entitled(now), within_limit(), tenant__binding__cluster=F("cluster")).exclude(tenant__in=list(but))
    return waiting.select_related("tenant__binding", "enrolment_key", "slot").order_by("created_at", "id").first()


def lifetime(grant: Grant) -> timedelta:
    """How long its key may live: the device's own setting wins over its credential's."""
    registered = Enrolment.objects.of(grant.tenant).filter(registration_id=grant.slot.registration_id)
    return registered.values_list("key_lifetime", flat=True).first() or grant.enrolment_key.key_lifetime


def leave(grant_id: UUID, lives: timedelta, *, now: datetime) -> datetime | None:
    """Its turn has come: reserved again, under a new unique expiration, which is returned. None: somebody else was faster, or it has lost its right meanwhile."""
    expires_at = settling.unique_expiration(now + lives)
    try:
        with transaction.atomic():
            queued = Grant.objects.across_tenants().filter(entitled(now), within_limit(), pk=grant_id, state=Grant.State.QUEUED)
            left = queued.update(state=Grant.State.RESERVED, expires_at=expires_at, minting_at=now)
    except IntegrityError:  # that microsecond is taken: the next turn has another one
        return None
    return expires_at if left == 1 else None


def back(grant_id: UUID) -> bool:
    """The server never heard of it: its old place, for `created_at` has not changed."""
    reserved = Grant.objects.across_tenants().filter(pk=grant_id, state=Grant.State.RESERVED, asked_at__isnull=False)
    return reserved.update(state=Grant.State.QUEUED, minting_at=None) == 1


def forget(cluster: Cluster, *, now: datetime) -> int:
    """Release the places of those who ask no more, and of those who are no longer entitled to a key here; of a tenant over its limit the latest ones, until the
    others fit. Returns how many."""
    since = Minting.objects.filter(pk=cluster.pk).values_list("serving_since", flat=True).first()
    silent = Q(asked_at__lt=now - HELD) if since is not None and since < now - HELD else Q(pk__in=[])
    gone = _queue(cluster.pk).filter(silent | ~entitled(now) | ~Q(tenant__binding__cluster=cluster.pk))
    released = sum(release(grant_id, tenant_id, now=now) for grant_id, tenant_id in list(gone.values_list("pk", "tenant_id")))
    too_many = _queue(cluster.pk).filter(~within_limit()).order_by("-created_at", "-id").values_list("pk", "tenant_id")
    return released + sum(is_too_many(grant_id) and release(grant_id, tenant_id, now=now) for grant_id, tenant_id in list(too_many))


def release(grant_id: UUID, tenant_id: UUID, *, now: datetime) -> bool:
    """Its place is free, and its slot if nothing else holds it."""
    left = settling.release(grant_id, now=now, of=Grant.State.QUEUED)
    if left:
        slots.release_empty(tenant_id, seen_from=now, now=now)
    return left


def is_too_many(grant_id: UUID) -> bool:
    """Whether its tenant were over its limit even without those that queued later: who came first is served first."""
    grant = Grant.objects.across_tenants().select_related("tenant__quota").filter(pk=grant_id, state=Grant.State.QUEUED).first()
    if grant is None or grant.tenant.quota.used <= grant.tenant.quota.limit:
        return False
    later = Q(created_at__gt=grant.created_at) | Q(created_at=grant.created_at, pk__gt=grant.pk)
    behind = Grant.objects.of(grant.tenant).filter(later, state=Grant.State.QUEUED).count()
    return grant.tenant.quota.used - behind > grant.tenant.quota.limit


def entitled(now: datetime) -> Q:
    """Grants whose tenant is active and has paid, whose credential is still valid and whose device nobody has disabled."""
    lasts = Q(enrolment_key__expires_at=None) | Q(enrolment_key__expires_at__gt=now)
    return (
        lasts & Q(tenant__state=Tenant.State.ACTIVE, tenant__restricted_at=None, enrolment_key__revoked_at=None) & ~Q(settling.unwanted())
    )


def within_limit() -> Q:
    """Grants whose tenant has no more slots taken than it may: a limit that was lowered after they were promised counts too."""
    return Q(tenant__quota__used__lte=F("tenant__quota__limit"))


def _queue(cluster_id: str) -> QuerySet[Grant]:
    return Grant.objects.across_tenants().filter(cluster_id=cluster_id, state=Grant.State.QUEUED)
