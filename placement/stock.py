"""The stock: keys of an external cluster, minted ahead for one tenant, so that a burst of its devices waits for no server.

A key lives an hour, the default lifetime of a credential's keys, and is handed out while it has ten minutes left and no more left than the
credential's own lifetime: a grant made from stock has the key's expiration. Keys of the stock have no tags, so that a grant with tags never takes one. Taking one is one
statement that passes over rows which others are taking;
the constraints `taken_stock_and_no_other_has_a_grant` and `key_belongs_to_one_grant` would refuse a second grant for it even so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection
from django.db.models import F, Q, QuerySet

from placement import alerts, clusters, lineup, minting, settling
from placement.errors import ClusterBusy, ClusterRefused, ClusterSilent, ClusterUnreachable
from placement.grants import Promised, answer_context
from placement.models import Alert, Cluster, Grant, StockedKey
from placement.settling import KeyFact
from placement.standing import Standing
from tenants.keyring import Unsealable
from tenants.models import Tenant

log = structlog.get_logger(__name__)

LIFE = timedelta(hours=1)
LEFT = timedelta(minutes=10)  # at least, when it is handed out

AT_ONCE = 50  # deletions of a sweep: each costs the server as much as a mint
NOT_THERE = 404
State = StockedKey.State

# who queues goes first: of a tenant whose devices queue, newcomers take nothing
# `next` is made once: as a part of the join it could be asked anew for every row, and each time hold another key that others then pass over.
TAKE = """
with next as materialized (
    select id, secret_sealed from placement_stockedkey
    where tenant_id = %(tenant_id)s and cluster_id = %(cluster_id)s and state = 'ready' and ephemeral = %(ephemeral)s
      and expires_at between %(earliest)s and %(latest)s
      and (%(queued)s or not exists (
          select 1 from placement_grant g
          where g.cluster_id = %(cluster_id)s and g.tenant_id = %(tenant_id)s and g.ephemeral = %(ephemeral)s and g.state = 'queued' and g.tags = '{}'
      ))
    order by expires_at limit 1 for update skip locked
) update placement_stockedkey s set state = 'taken', taken_at = %(now)s, grant_id = %(grant_id)s, secret_sealed = ''
from next where s.id = next.id returning s.id, s.key_id, s.expires_at, next.secret_sealed
"""


def hand_over(who: Standing, promised: Promised, *, named: bool, now: datetime) -> Promised:
    """The promise with a key from the stock, if there is one; with a place in the queue, if there is one; else as it was, for the server to be asked.

    In the transaction of the promise. Raises: ClusterBusy for a device that has no name to keep a place by, which then holds nothing.
    """
    if not promised.tags and (
        taken := take(who.tenant_id, who.cluster_id, promised.grant_id, ephemeral=who.ephemeral, lifetime=who.key_lifetime, now=now)
    ):
        text, key_id, expires_at = taken
        return replace(promised, key_id=key_id, expires_at=expires_at, text=text)
    if not lineup.waits(who.cluster_id):
        return promised
    if not named:
        ahead = lineup.length(who.cluster_id)
        raise ClusterBusy(who.cluster_id, retry_after=lineup.retry_after(ahead, minting.seconds_of(who.cluster_id)))
    lineup.join(promised.grant_id, now=now)
    return replace(promised, queued=True)


def take(
    tenant_id: UUID, cluster_id: str, grant_id: UUID, *, ephemeral: bool, lifetime: timedelta, now: datetime, queued: bool = False
) -> tuple[str, int, datetime] | None:
    """Issue a reserved or (with `queued`) a queued grant with a key from the stock: its text, its id, when it expires. Inside a transaction."""
    wish: dict[str, Any] = {
        "tenant_id": tenant_id,
        "cluster_id": cluster_id,
        "grant_id": grant_id,
        "ephemeral": ephemeral,
        "earliest": now + LEFT,
        "latest": now + lifetime,
        "queued": queued,
        "now": now,
    }
    while True:
        with connection.cursor() as cursor:
            cursor.execute(TAKE, wish)
            row = cursor.fetchone()
        if row is None:
            return None
        stocked_id, key_id, expires_at, sealed = row
        try:
            text = settings.KEYRING.open(sealed, context=_context(stocked_id))
        except Unsealable as error:  # its key has left the keyring: nobody will ever read it
            log.warning("stock_unreadable", cluster_id=cluster_id, key_id=key_id, error=str(error))
            _rows(cluster_id).filter(pk=stocked_id).update(state=State.SPENT, grant=None, taken_at=None)
            continue
        answer = settings.KEYRING.seal(text, context=answer_context(grant_id))
        waiting = Grant.objects.across_tenants().filter(pk=grant_id, state=Grant.State.QUEUED if queued else Grant.State.RESERVED)
        issued = {"state": Grant.State.ISSUED, "key_id": key_id, "expires_at": expires_at, "issued_at": now, "answer_sealed": answer}
        if waiting.update(**issued) == 1:
            return text, key_id, expires_at
        _rows(cluster_id).filter(pk=stocked_id).update(state=State.READY, grant=None, taken_at=None, secret_sealed=sealed)
        return None  # somebody else served the grant


def mint_one(cluster: Cluster, tenant_id: UUID, *, ephemeral: bool, headscale_user_id: int, now: datetime) -> bool:
    """Ask the server for one more. False when it came too late to be trusted. Raises: ClusterRefused, ClusterUnreachable, ClusterSilent."""
    expires_at = settling.unique_expiration(now + LIFE, odd=True)
    key = StockedKey.objects.across_tenants().create(
        tenant_id=tenant_id, cluster=cluster, ephemeral=ephemeral, state=State.RESERVED, created_at=now, expires_at=expires_at
    )
    mine = _rows(cluster.pk).filter(pk=key.pk, state=State.RESERVED)
    try:
        made = minting.mint(cluster, headscale_user_id=headscale_user_id, expires_at=expires_at, ephemeral=ephemeral)
    except (ClusterRefused, ClusterUnreachable):
        mine.delete()
        raise
    except ClusterSilent:
        mine.update(state=State.UNKNOWN)
        raise
    sealed = settings.KEYRING.seal(made.secret or "", context=_context(key.pk))
    if mine.update(state=State.READY, key_id=made.id, secret_sealed=sealed, ready_at=now) == 1:
        return True
    if _rows(cluster.pk).filter(pk=key.pk).update(state=State.SPENT, key_id=made.id) == 0:
        disown(cluster, tenant_id, made.id, expires_at=expires_at, now=now)
    return False


def disown(cluster: Cluster, tenant_id: UUID, key_id: int, *, expires_at: datetime, now: datetime) -> None:
    """A key that the server made and nobody may have: the sweeper expires it there."""
    row = StockedKey(tenant_id=tenant_id, cluster=cluster, state=State.SPENT, key_id=key_id, created_at=now, expires_at=expires_at)
    StockedKey.objects.across_tenants().bulk_create([row], ignore_conflicts=True)


def settle(cluster: Cluster, keys: Mapping[int, KeyFact], *, seen_from: datetime, now: datetime) -> None:
    """What a complete list of the server's keys, read after `seen_from`, says of the stock."""
    strangers = _rows(cluster.pk).filter(key_id__in=[key_id for key_id, fact in keys.items() if fact.used]).exclude(state=State.TAKEN)
    for row in strangers.select_related("tenant"):
        told = {"key": row.key_id, "tenant": row.tenant.account, "state": row.state}
        alerts.raise_(Alert.Kind.STOCK_USED, f"{cluster.pk}/{row.key_id}", facts=told, now=now)
        strangers.filter(pk=row.pk).delete()
    by_expiration = {fact.expiration: key_id for key_id, fact in keys.items()}
    silent = _rows(cluster.pk).filter(state__in=[State.RESERVED, State.UNKNOWN], created_at__lt=seen_from - settling.PATIENCE)
    for row in silent:
        same = _rows(cluster.pk).filter(pk=row.pk, state=row.state)
        if (key_id := by_expiration.get(row.expires_at)) is None:
            same.delete()
        else:  # its secret was never heard: it is of no use to anybody
            log.info("silent_stock_found", cluster_id=cluster.pk, key_id=key_id)
            same.update(state=State.SPENT, key_id=key_id)
    vanished = Q(state=State.READY, ready_at__lt=seen_from) & ~Q(key_id__in=list(keys))
    _rows(cluster.pk).filter(vanished | Q(state=State.TAKEN, grant__settled_at__isnull=False)).delete()
    past = Q(state__in=[State.READY, State.SPENT], expires_at__lt=seen_from) | Q(state=State.SPENT, retired_at__lt=seen_from)
    _rows(cluster.pk).filter(past, over_at=None).update(state=State.SPENT, secret_sealed="", over_at=now)


def retire(cluster: Cluster, *, now: datetime) -> int:
    """Expire on the server what must not be handed out any more, and delete there what is over. Returns how many. Raises: ClusterError; what was done until then stays done."""
    lost = ~Q(tenant__state=Tenant.State.ACTIVE) | Q(tenant__binding=None) | ~Q(tenant__binding__cluster=F("cluster"))
    ready = _rows(cluster.pk).filter(lost, state=State.READY).values_list("pk", flat=True)
    _rows(cluster.pk).filter(pk__in=list(ready), state=State.READY).update(state=State.SPENT, secret_sealed="")
    spent = list(_rows(cluster.pk).filter(state=State.SPENT, retired_at=None, over_at=None, expires_at__gt=now))
    over = list(_rows(cluster.pk).filter(state=State.SPENT, over_at__isnull=False).order_by("over_at")[:AT_ONCE])
    if not spent and not over:
        return 0
    with clusters.admin_of(cluster) as admin:
        for row in spent:
            _tell(admin.expire_key, row)
            _rows(cluster.pk).filter(pk=row.pk).update(retired_at=now)
        for row in over:  # a server keeps keys for ever, and lists them all at every poll
            _tell(admin.delete_key, row)
            _rows(cluster.pk).filter(pk=row.pk).delete()
    return len(spent)


def _tell(verb: Callable[[int], None], row: StockedKey) -> None:
    """Raises: ClusterError; a key that the server does not know is as good as told."""
    try:
        verb(row.key_id or 0)
    except ClusterRefused as refusal:
        if refusal.status != NOT_THERE:
            raise


def ready(*cluster_ids: str, now: datetime) -> QuerySet[StockedKey]:
    """What can be handed out now."""
    return StockedKey.objects.across_tenants().filter(cluster__in=cluster_ids, state=State.READY, expires_at__gt=now + LEFT)


def _rows(cluster_id: str) -> QuerySet[StockedKey]:
    return StockedKey.objects.across_tenants().filter(cluster_id=cluster_id)


def _context(stocked_id: UUID) -> str:
    return f"placement_stockedkey:{stocked_id}:secret"
