"""A promised key is made where its cluster is: by an external server's admin API, one lane at a time, or in the database of a fleet elsewhere.

Nothing here runs inside a transaction. What a process leaves half done is found by the sweeper: on external clusters by the key's unique
expiration, on a fleet elsewhere by the key's prefix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import F
from django.utils import timezone

from placement import external, grants, lanes, lineup, minting, settling, slots, stock
from placement.errors import ClusterBusy, ClusterRefused, ClusterSilent, ClusterUnreachable
from placement.grants import Promised
from placement.headscale import keys
from placement.models import Cluster, Grant
from placement.policies.facts import server_tag
from placement.standing import Promise, Standing
from tenants.errors import QuotaExceeded
from tenants.keyring import Unsealable

log = structlog.get_logger(__name__)

UNDER_WAY = timedelta(seconds=15)  # a request may still be putting its key


@dataclass(frozen=True)
class Wanted:
    """A reserved grant whose key is to be minted now. `queued`: it waited in the queue, and goes back there if the server hears nothing.

    `tags` are the server's words (`tag:acme--web`).
    """

    grant_id: UUID
    tenant_id: UUID
    headscale_user_id: int
    ephemeral: bool
    expires_at: datetime
    tags: tuple[str, ...] = ()
    queued: bool = False


def fulfil(cluster: Cluster, wanted: Wanted, *, now: datetime) -> str:
    """Ask the server for the key of a reserved grant and return its text.

    A refusal releases the slot; so does a request never sent, unless the device had queued: then it keeps its place. Silence is left to the
    sweeper. Raises: ClusterRefused, ClusterUnreachable, ClusterSilent.
    """
    try:
        made = minting.mint(
            cluster,
            headscale_user_id=wanted.headscale_user_id,
            expires_at=wanted.expires_at,
            ephemeral=wanted.ephemeral,
            tags=wanted.tags,
        )
    except (ClusterRefused, ClusterUnreachable) as error:
        if wanted.queued and isinstance(error, ClusterUnreachable):
            lineup.back(wanted.grant_id)
        else:
            settling.release(wanted.grant_id, now=now)
            slots.release_empty(wanted.tenant_id, seen_from=now, now=now)
        raise
    except ClusterSilent:
        grants.mark_unknown(wanted.grant_id)
        raise
    secret = made.secret or ""
    sealed = settings.KEYRING.seal(secret, context=grants.answer_context(wanted.grant_id))
    if not grants.mark_issued(wanted.grant_id, key_id=made.id, now=now, answer_sealed=sealed):
        log.warning("minted_too_late", cluster_id=cluster.pk, grant=str(wanted.grant_id), key_id=made.id)
        stock.disown(cluster, wanted.tenant_id, made.id, expires_at=wanted.expires_at, now=now)
        raise ClusterSilent(cluster.pk, "the grant was settled before its key came")
    return secret


def at_once(who: Standing, promised: Promised, *, named: bool, now: datetime) -> str:
    """Mint for a device that just came, if a lane is free. Else it queues; without a name to keep a place by it is told so and holds nothing.

    Raises: ClusterBusy, ClusterRefused, ClusterUnreachable, ClusterSilent.
    """
    cluster = Cluster.objects.get(pk=who.cluster_id)
    with lanes.lane(cluster.pk, lanes.REQUESTS, settings.STOCK_LANES) as free:
        if free:
            return fulfil(cluster, _wanted(who, promised, promised.expires_at), now=now)
    grant_id = promised.grant_id
    if named:
        lineup.join(grant_id, now=now)
    else:
        settling.release(grant_id, now=now)
        slots.release_empty(who.tenant_id, seen_from=now, now=now)
    raise busy(cluster.pk, lineup.place(cluster.pk, grant_id, now=now))


def ask_again(who: Standing, promised: Promised | Promise, *, now: datetime) -> tuple[str, datetime]:
    """A device that queues asks again: it keeps its place. The first of the queue mint for themselves where a lane is free, lest the door wait for the refill.
    Where the tenant's limit was lowered below what it holds, the device loses its place.

    Raises: QuotaExceeded, ClusterBusy, ClusterRefused, ClusterUnreachable, ClusterSilent.
    """
    grant_id = promised.grant_id
    if lineup.is_too_many(grant_id):
        lineup.release(grant_id, who.tenant_id, now=now)
        raise QuotaExceeded(grants.FULL)
    lineup.ask_again(grant_id, now=now)
    ahead = lineup.place(who.cluster_id, grant_id, now=now)
    if ahead < settings.STOCK_LANES:
        with lanes.lane(who.cluster_id, lanes.REQUESTS, settings.STOCK_LANES) as free:
            expires_at = lineup.leave(grant_id, who.key_lifetime, now=timezone.now()) if free else None
            if expires_at is not None:
                wanted = replace(_wanted(who, promised, expires_at), queued=True)
                return fulfil(Cluster.objects.get(pk=who.cluster_id), wanted, now=now), expires_at
    raise busy(who.cluster_id, ahead)


def _wanted(who: Standing, promised: Promised | Promise, expires_at: datetime) -> Wanted:
    tags = tuple(server_tag(who.account, tag) for tag in promised.tags)
    return Wanted(promised.grant_id, who.tenant_id, who.headscale_user_id, who.ephemeral, expires_at, tags)


def busy(cluster_id: str, ahead: int) -> ClusterBusy:
    return ClusterBusy(cluster_id, retry_after=lineup.retry_after(ahead, minting.seconds_of(cluster_id)))


def put_missing(cluster: Cluster, *, now: datetime) -> int:
    """Put the keys of a fleet elsewhere that no request could put, for those who are still entitled to them. Returns how many. Raises: ClusterError."""
    if cluster.fleet is None or cluster.fleet.is_own:
        return 0
    promised = Grant.objects.across_tenants().filter(lineup.entitled(now), cluster=cluster, state=Grant.State.RESERVED, key_id=None)
    missing = promised.filter(created_at__lt=now - UNDER_WAY, expires_at__gt=now, tenant__binding__cluster=F("cluster"))
    put = 0
    for grant in missing.select_related("tenant__binding").order_by("created_at"):
        try:
            key = keys.derive(settings.KEYRING, grant.keyring_id, grant.pk)
        except Unsealable as error:
            log.warning("key_not_derivable", cluster_id=cluster.pk, grant=str(grant.pk), error=str(error))
            continue
        user_id = grant.tenant.binding.headscale_user_id
        key_id = external.put(
            cluster,
            key,
            headscale_user_id=user_id,
            expires_at=grant.expires_at,
            ephemeral=grant.ephemeral,
            tags=grants.on_server(grant.tenant.account, grant.tags),
            now=now,
        )
        put += grants.mark_put(grant.pk, key_id=key_id, expires_at=grant.expires_at, now=now)
    return put
