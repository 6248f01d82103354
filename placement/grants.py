"""Promised keys: a slot of the quota, the grant and, on a fleet in our own database, the key itself, in one statement.

A slot's grant is `live` while its key may still be redeemed. What ends a grant: its key is used (redeemed), or the key expired and a
complete poll that started later still shows it unused (expired); what was promised and provably never made is released.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection

from placement import settling
from placement.headscale import ahead, keys
from placement.models import Echo, Grant
from placement.policies.facts import server_tag
from placement.standing import Promise as Held
from placement.standing import Standing
from tenants.errors import BadCredential, QuotaExceeded
from tenants.models import EnrolmentKey


@dataclass(frozen=True)
class Asked:
    """What of the request becomes part of the grant."""

    digest: bytes
    idempotency_key: str | None
    registration_id: str | None
    hostname: str
    os: str


@dataclass(frozen=True)
class Promised:
    """A grant as just made. `key_id` is None until the server has the key; `tags` are the tenant's own words."""

    grant_id: UUID
    keyring_id: str
    expires_at: datetime
    key_id: int | None
    key: keys.AuthKey | None
    text: str = field(default="", repr=False)  # from the stock of an external cluster
    queued: bool = False
    tags: tuple[str, ...] = ()


TAKE_NEW_SLOT = """
quota as (
    update tenants_quota set used = used + 1 where tenant_id = %(tenant_id)s and used < "limit" returning 1
), slot as (
    insert into placement_slot (id, tenant_id, registration_id, enrolment_key_id, proven, taken_at)
    select %(slot_id)s, %(tenant_id)s, %(registration_id)s, %(enrolment_key_id)s, %(proves)s, %(now)s from quota, key_use returning id
)"""
# A device that is installed again needs a key for the slot that its former self still holds, even where the quota is full. Each such key may bring
# one machine more, which counts for itself once both are online: so no further one where those that are there already would not fit.
KEEP_SLOT = """
quota as (
    select 1 from tenants_quota where tenant_id = %(tenant_id)s and (%(machines)s = 0 or used + %(machines)s - 1 <= "limit")
), slot as (
    update placement_slot set proven = proven or %(proves)s where id = %(slot_id)s and released_at is null and (%(proves)s or not proven)
        and exists (select 1 from quota, key_use) returning id
)"""
PUT_KEY = """
key as (
    insert into headscale.pre_auth_keys (prefix, hash, user_id, reusable, ephemeral, used, tags, created_at, expiration, cluster_id)
    select %(prefix)s, %(hash)s, %(headscale_user_id)s, false, %(ephemeral)s, false, %(server_tags)s, %(now)s, %(expires_at)s, %(cluster_id)s from slot
    returning id
)"""
NO_KEY_YET = "key as (select null::bigint as id from slot)"
FULL = "every device slot of the tenant is taken"
OVERFULL = "the tenant has more machines than device slots: delete those that are not needed before this one enrols again"
PROMISE = """
with key_use as (
    update tenants_enrolmentkey set uses = uses + 1, last_used_at = %(now)s, devices = devices + {new}
    where id = %(enrolment_key_id)s and (max_uses is null or uses < max_uses) and ({new} = 0 or max_devices is null or devices < max_devices) returning 1
), {slot}, {key}, granted as (
    insert into placement_grant (id, tenant_id, cluster_id, slot_id, enrolment_key_id, state, idempotency_key, request_digest, hostname, os,
        ephemeral, tags, keyring_id, key_prefix, key_id, answer_sealed, created_at, expires_at, issued_at)
    select %(grant_id)s, %(tenant_id)s, %(cluster_id)s, slot.id, %(enrolment_key_id)s, case when key.id is null then 'reserved' else 'issued' end,
        %(idempotency_key)s, %(digest)s, %(hostname)s, %(os)s, %(ephemeral)s, %(tags)s, %(keyring_id)s, %(prefix)s, key.id, '', %(now)s,
        %(expires_at)s, case when key.id is null then null else %(now)s end
    from slot, key returning key_id
)
select (select count(*) from key_use), (select count(*) from quota), (select count(*) from slot), (select key_id from granted)
"""
STATEMENTS = {
    (new, with_key): PROMISE.format(new=int(new), slot=TAKE_NEW_SLOT if new else KEEP_SLOT, key=PUT_KEY if with_key else NO_KEY_YET)
    for new in (True, False)
    for with_key in (True, False)
}


class SlotVanished(Exception):
    """The slot was released, or its name proven, between reading and using it: ask again."""


def promise(standing: Standing, asked: Asked, *, now: datetime) -> Promised:
    """Take a slot (or keep the one that the registration holds) and promise a key. Must run inside the transaction of `standing`.

    Raises: BadCredential (the enrolment key is used up), QuotaExceeded (the tenant's, or the credential's own), SlotVanished; IntegrityError when the same idempotency key
    or registration is being admitted right now: roll back and look again.
    """
    fresh = ahead.take(settings.KEYRING)
    expires_at = now + standing.key_lifetime
    if not standing.fleet_is_own:  # after a silence the key is found again by its expiration: no two may share one
        expires_at = settling.unique_expiration(expires_at)
    key = fresh.key if standing.fleet_name else None
    statement = STATEMENTS[standing.slot_id is None, standing.fleet_is_own]
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "now": now,
                "expires_at": expires_at,
                "enrolment_key_id": standing.enrolment_key_id,
                "tenant_id": standing.tenant_id,
                "cluster_id": standing.cluster_id,
                "headscale_user_id": standing.headscale_user_id,
                "ephemeral": standing.ephemeral,
                "tags": standing.tags,
                "server_tags": on_server(standing.account, standing.tags),
                "slot_id": standing.slot_id or uuid.uuid4(),
                "machines": standing.machines,
                "proves": standing.proves,
                "registration_id": asked.registration_id,
                "grant_id": fresh.grant_id,
                "idempotency_key": asked.idempotency_key,
                "digest": asked.digest,
                "hostname": asked.hostname,
                "os": asked.os,
                "keyring_id": fresh.keyring_id,
                "prefix": key.prefix if key else "",
                "hash": fresh.hashed if standing.fleet_is_own else None,
            },
        )
        *done, key_id = cursor.fetchone()
    _refuse_undone(standing, *done)
    return Promised(fresh.grant_id, fresh.keyring_id, expires_at, key_id, key, tags=tuple(standing.tags))


def on_server(account: str, tags: Iterable[str]) -> str:
    """The tags of a key as headscale's table has them."""
    return json.dumps([server_tag(account, tag) for tag in tags])


def prover_of(tenant_id: UUID, slot_id: UUID) -> str:
    """In a few words: the group or the policy that asked for this slot last, whose name is proven by that."""
    proving = Grant.objects.of(tenant_id).filter(slot_id=slot_id).exclude(enrolment_key__kind=EnrolmentKey.Kind.BEARER)
    return proving.order_by("-created_at").values_list("enrolment_key__hint", flat=True).first() or "credential that took it"


def _refuse_undone(standing: Standing, key_uses: int, quota_taken: int, slots: int) -> None:
    """Raises: BadCredential, QuotaExceeded, SlotVanished."""
    if not key_uses:
        if standing.full and standing.slot_id is None:
            raise QuotaExceeded("the credential has as many devices as it may have")
        raise BadCredential
    if not quota_taken:
        raise QuotaExceeded(FULL if standing.slot_id is None else OVERFULL)
    if not slots:
        raise SlotVanished


HOLD = """
with credential as materialized (select 1 from tenants_enrolmentkey where id = %s for no key update)
select 1 from placement_slot where id = %s and exists (select 1 from credential) for no key update
"""


def retire(live: Held, standing: Standing, *, now: datetime) -> None:
    """End a live grant whose slot is about to get another key: it no longer counts as live. Must run inside the transaction of `promise`.

    Credential and slot are locked before the grant, as all do: several credentials may ask under one name at once.
    In our own fleet its unused key expires on the server at once. Elsewhere the sweeper tells the server, and until then the grant keeps the key's own end.
    """
    own_fleet = standing.fleet_is_own
    with connection.cursor() as cursor:
        cursor.execute(HOLD, [standing.enrolment_key_id, standing.slot_id])
        if own_fleet and live.key_id is not None:
            cursor.execute("select headscale.retire_key(%s, %s)", [live.cluster_id, live.key_id])
    over = {"expires_at": settling.moment(now)} if own_fleet or live.key_id is None else {}
    Grant.objects.across_tenants().filter(pk=live.grant_id, state__in=Grant.LIVE).update(state=Grant.State.EXPIRED, **over)


def answer_context(grant_id: UUID) -> str:
    """What an external key's sealed text is bound to."""
    return f"placement_grant:{grant_id}:answer"


def mark_issued(grant_id: UUID, *, key_id: int, now: datetime, answer_sealed: str = "") -> bool:
    """The server has made the key."""
    fields = {"state": Grant.State.ISSUED, "key_id": key_id, "issued_at": now, "answer_sealed": answer_sealed}
    return Grant.objects.across_tenants().filter(pk=grant_id, state=Grant.State.RESERVED).update(**fields) == 1


def mark_put(grant_id: UUID, *, key_id: int, expires_at: datetime, now: datetime) -> bool:
    """A fleet elsewhere has the key. False where the slot got another key while this one was put: then the sweeper expires it there."""
    if mark_issued(grant_id, key_id=key_id, now=now):
        return True
    replaced = Grant.objects.across_tenants().filter(pk=grant_id, state=Grant.State.EXPIRED, key_id=None, settled_at=None)
    return replaced.update(key_id=key_id, expires_at=expires_at) == 0


def mark_unknown(grant_id: UUID) -> bool:
    """The server fell silent: nobody knows whether the key exists. The sweeper finds out."""
    return Grant.objects.across_tenants().filter(pk=grant_id, state=Grant.State.RESERVED).update(state=Grant.State.UNKNOWN) == 1


def forget_idempotency(grant_id: UUID) -> None:
    """An idempotency key is held for a day; after that it may name another request."""
    Grant.objects.across_tenants().filter(pk=grant_id).update(idempotency_key=None)


IDEMPOTENCY_HELD = timedelta(hours=24)


def echoed(enrolment_key_id: UUID, idempotency_key: str, *, now: datetime) -> tuple[UUID, bytes] | None:
    """The grant with which this idempotency key was answered, though another request had made it, and that request's digest."""
    held = Echo.objects.filter(enrolment_key_id=enrolment_key_id, idempotency_key=idempotency_key, created_at__gt=now - IDEMPOTENCY_HELD)
    row = held.values_list("grant_id", "request_digest").first()
    return (row[0], bytes(row[1])) if row else None


def remember_echo(enrolment_key_id: UUID, idempotency_key: str, grant_id: UUID, digest: bytes, *, now: datetime) -> None:
    """A repeat under this idempotency key is answered alike for a day. Must run inside the transaction of the answer."""
    Echo.objects.filter(enrolment_key_id=enrolment_key_id, idempotency_key=idempotency_key).delete()  # one that was held long enough
    Echo.objects.create(
        enrolment_key_id=enrolment_key_id, idempotency_key=idempotency_key, grant_id=grant_id, request_digest=digest, created_at=now
    )
