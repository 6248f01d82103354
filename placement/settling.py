"""How grants end: redeemed when their key was used, expired when it provably never will be, released when it was never made.

Every verb is conditional on the state it saw, so events, polls and a second sweeper may all report the same fact, in any order.
An expired grant is settled only by what a server showed *after* the key had expired; until then the slot stays taken.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from placement.models import Cluster, Grant
from tenants.models import Enrolment, EnrolmentKey

log = structlog.get_logger(__name__)

PATIENCE = timedelta(minutes=2)  # longer than any request to an external server may last


def unique_expiration(latest: datetime, *, odd: bool = False) -> datetime:
    """A microsecond of the last second before `latest`: by it a key is found again after a silence. Even ones are grants', odd ones the stock's."""
    chosen = latest - timedelta(microseconds=secrets.randbelow(1_000_000))
    return chosen - timedelta(microseconds=(chosen.microsecond + odd) % 2)


def moment(now: datetime) -> datetime:
    """When a key was ended that is ended by now: not before the server did it, however long the caller waited for its turn since `now`.

    A poll that began in between may have seen the key unused, and it was used a moment later.
    """
    return max(now, timezone.now())


@dataclass(frozen=True)
class KeyFact:
    """A pre-auth key as a server shows it."""

    used: bool
    expiration: datetime | None


def redeem(cluster_id: str, key_ids: Collection[int], *, now: datetime) -> int:
    """These keys of the cluster were used. Returns how many grants became redeemed by it."""
    open_states = [Grant.State.ISSUED, Grant.State.UNKNOWN, Grant.State.EXPIRED]
    grants = _grants(cluster_id).filter(key_id__in=list(key_ids), state__in=open_states)
    return grants.update(state=Grant.State.REDEEMED, redeemed_at=now, settled_at=now)


def unsettled_keys(cluster_id: str) -> list[int]:
    """The keys whose fate is still open: what a poll has to look at."""
    open_keys = _grants(cluster_id).filter(settled_at=None).values_list("key_id", flat=True)
    return [key_id for key_id in open_keys if key_id is not None]


def settle(cluster: Cluster, keys: Mapping[int, KeyFact], *, seen_from: datetime, now: datetime) -> list[int]:
    """Settle the cluster's grants by a complete list of the keys in question, read after `seen_from`.

    Returns the ids of keys that nobody was ever told and that the caller should expire on the server.
    """
    redeem(cluster.cluster_id, [key_id for key_id, fact in keys.items() if fact.used], now=now)
    strays = _settle_silent(cluster, keys, seen_from=seen_from, now=now) if cluster.is_external else []
    _grants(cluster.cluster_id).exclude(answer_sealed="").filter(expires_at__lt=seen_from).update(answer_sealed="")
    unused = Q(key_id=None) | ~Q(key_id__in=[key_id for key_id, fact in keys.items() if fact.used])
    late = _grants(cluster.cluster_id).filter(unused, settled_at=None, expires_at__lt=seen_from)
    late = late.filter(state__in=[Grant.State.ISSUED, Grant.State.EXPIRED, Grant.State.RESERVED])
    for grant_id in late.values_list("id", flat=True):
        _close(grant_id, Grant.State.EXPIRED, now=now)
    return strays


def release(grant_id: UUID, *, now: datetime, of: Grant.State | None = None) -> bool:
    """The key was provably never made: the slot is free at once and the use given back. With `of`, only while it is in that state."""
    return _close(grant_id, Grant.State.RELEASED, now=now, of=of)


@transaction.atomic
def _close(grant_id: UUID, state: Grant.State, *, now: datetime, of: Grant.State | None = None) -> bool:
    """End an unredeemed grant exactly once and give its use back to the enrolment key. The slot follows when nothing holds it (placement/slots.py)."""
    open_grants = Grant.objects.across_tenants().filter(pk=grant_id, settled_at=None).exclude(state=Grant.State.REDEEMED)
    if of is not None:
        open_grants = open_grants.filter(state=of)
    list(
        EnrolmentKey.objects.across_tenants().filter(grants=grant_id).select_for_update(of=("self",), no_key=True).values_list("pk")
    )  # first
    if open_grants.update(state=state, settled_at=now, answer_sealed="") != 1:
        return False
    EnrolmentKey.objects.across_tenants().filter(grants=grant_id, uses__gt=0).update(uses=F("uses") - 1)
    return True


def _settle_silent(cluster: Cluster, keys: Mapping[int, KeyFact], *, seen_from: datetime, now: datetime) -> list[int]:
    """Grants whose server fell silent, or whose process died while asking it: found by their unique expiration, or released."""
    strays = []
    by_expiration = {fact.expiration: key_id for key_id, fact in keys.items()}
    asked = Coalesce("minting_at", "created_at")  # who waited in the queue was promised long before the server was asked
    waiting = _grants(cluster.cluster_id).filter(state__in=[Grant.State.RESERVED, Grant.State.UNKNOWN])
    for grant in waiting.alias(asked=asked).filter(asked__lt=seen_from - PATIENCE):
        key_id = by_expiration.get(grant.expires_at)
        if key_id is None:
            _never_made(grant, now=now)
            continue
        log.info("silent_key_found", cluster_id=cluster.cluster_id, grant=str(grant.pk))
        strays.append(key_id)
        found = Grant.objects.across_tenants().filter(pk=grant.pk, state=grant.state)
        found.update(state=Grant.State.EXPIRED, key_id=key_id, expires_at=moment(now))
    return strays


def _never_made(grant: Grant, *, now: datetime) -> None:
    """Who had waited in the queue has its place again; anybody else's slot is free."""
    if grant.asked_at is None:
        release(grant.pk, now=now)
        return
    found = Grant.objects.across_tenants().filter(pk=grant.pk, state=grant.state, key_id=None)
    found.update(state=Grant.State.QUEUED, minting_at=None)


def orphaned(cluster_id: str, *, now: datetime) -> QuerySet[Grant]:
    """Grants whose unused keys have to go: their tenant, enrolment key or device is no longer entitled to them, or their slot has another key by now."""
    gone = ~Q(tenant__state="active") | Q(enrolment_key__revoked_at__isnull=False) | Q(unwanted())
    replaced = Q(state=Grant.State.EXPIRED, settled_at=None, expires_at__gt=now)
    return _grants(cluster_id).filter(Q(gone, state=Grant.State.ISSUED) | replaced)


def unwanted() -> Exists:
    """Of grants: whether an admin has disabled their device."""
    disabled = Enrolment.objects.across_tenants().filter(state=Enrolment.State.DISABLED)
    return Exists(disabled.filter(tenant=OuterRef("tenant"), registration_id=OuterRef("slot__registration_id")))


def mark_retired(cluster_id: str, key_ids: Collection[int], *, now: datetime) -> None:
    """These keys were expired on the server: the next complete poll settles their grants."""
    unused = _grants(cluster_id).filter(key_id__in=list(key_ids), state__in=[Grant.State.ISSUED, Grant.State.EXPIRED], settled_at=None)
    unused.update(state=Grant.State.EXPIRED, expires_at=moment(now))


def _grants(cluster_id: str) -> QuerySet[Grant]:
    return Grant.objects.across_tenants().filter(cluster_id=cluster_id)
