"""What devices ask with: bearer keys (made, shown once, revoked), and what groups have in common with them.

The database holds a SHA-256 of a bearer key; the secret is 256 random bits.
"""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils.translation import gettext as _

from tenants import audit, tags
from tenants.errors import BadCredential, MalformedRequest, WrongState
from tenants.models import EnrolmentKey, Tenant
from tenants.tokens import digest_of

PREFIX = "acs-enrol-"
DEFAULT_LIFETIME = timedelta(hours=1)
LONGEST_LIFETIME = timedelta(hours=24)  # the fleet's database refuses longer ones from the door
SHORTEST_LIFETIME = timedelta(minutes=2)
SLUG = re.compile(r"[A-Za-z0-9_-]{0,32}\Z")
SETTINGS = (
    "description",
    "max_uses",
    "max_devices",
    "expires_at",
    "ephemeral",
    "key_lifetime",
    "approval",
    "re_enrolment",
    "want_region",
    "want_cluster",
    "tags",
)


@transaction.atomic
def issue(tenant: Tenant, *, now: datetime, actor: str, **wish: Any) -> tuple[EnrolmentKey, str]:
    """A new bearer key and its secret, which is shown this once. `max_uses=1` makes it single-use; the wish's other fields are SETTINGS.

    Raises: MalformedRequest, WrongState (the tenant is closed).
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    key = make(tenant, kind=EnrolmentKey.Kind.BEARER, hint=secret[: len(PREFIX) + 6], digest=digest_of(secret), now=now, **wish)
    audit.record(
        "enrolment_key.issue",
        actor=actor,
        tenant=tenant,
        target=f"enrolment_key:{key.id}",
        now=now,
        max_uses=key.max_uses,
        ephemeral=key.ephemeral,
        tags=key.tags,
    )
    return key, secret


def make(tenant: Tenant, *, kind: EnrolmentKey.Kind, hint: str, now: datetime, digest: bytes | None = None, **wish: Any) -> EnrolmentKey:
    """The row that every credential has. One that is no bearer key has a digest that no secret fits. Inside a transaction.

    Raises: MalformedRequest, WrongState (the tenant is closed).
    """
    _check(tenant, wish, now=now)
    if tenant.state == Tenant.State.CLOSED:
        raise WrongState(_("the tenant is closed"))
    fields = {"key_lifetime": DEFAULT_LIFETIME} | wish | {"tags": tags.kept(wish.get("tags", ()))}
    return EnrolmentKey.objects.create(tenant=tenant, kind=kind, hint=hint, digest=digest or secrets.token_bytes(32), **fields)


def change(key: EnrolmentKey, *, now: datetime, **wish: Any) -> None:
    """Other settings for what is asked from now on; the caller audits. Inside a transaction. Raises: MalformedRequest, WrongState (revoked)."""
    _check(key.tenant, wish, now=now)
    if "tags" in wish:
        wish = wish | {"tags": tags.kept(wish["tags"])}
    live = EnrolmentKey.objects.of(key.tenant_id).filter(pk=key.pk, revoked_at=None)
    if (live.update(**wish) if wish else live.count()) != 1:
        raise WrongState(_("the credential is revoked"))


def _check(tenant: Tenant, wish: dict[str, Any], *, now: datetime) -> None:
    """Raises: MalformedRequest naming each field."""
    wrong = {name: _("unknown field") for name in wish if name not in SETTINGS}
    if reason := tags.wrong(tenant, wish.get("tags", ())):
        wrong["tags"] = reason
    for name in ("max_uses", "max_devices"):
        if (most := wish.get(name)) is not None and most < 1:
            wrong[name] = _("at least 1, or none for no limit")
    if (expires_at := wish.get("expires_at")) is not None and expires_at <= now:
        wrong["expires_at"] = _("in the past")
    if not SHORTEST_LIFETIME <= wish.get("key_lifetime", DEFAULT_LIFETIME) <= LONGEST_LIFETIME:
        wrong["key_lifetime"] = _("between 2 minutes and 24 hours")
    if wish.get("re_enrolment", EnrolmentKey.ReEnrolment.NEW) not in EnrolmentKey.ReEnrolment.values:
        wrong["re_enrolment"] = _("one of %(values)s") % {"values": ", ".join(EnrolmentKey.ReEnrolment.values)}
    for name in ("want_region", "want_cluster"):
        if not SLUG.match(wish.get(name, "")):
            wrong[name] = _("letters, digits, - and _")
    if wrong:
        raise MalformedRequest(wrong)


@functools.lru_cache(maxsize=50_000)
def _tenant_of(digest: bytes) -> UUID:
    """Held for good: a credential never changes its tenant. Raises: DoesNotExist, which is not held."""
    return EnrolmentKey.objects.across_tenants().values_list("tenant_id", flat=True).get(digest=digest)


def tenant_of(digest: bytes) -> UUID | None:
    """Whose credential this is, valid or not; None for one that nobody has."""
    try:
        return _tenant_of(digest)
    except EnrolmentKey.DoesNotExist:
        return None


def valid(digest: bytes, *, now: datetime) -> EnrolmentKey:
    """The credential with its tenant, if it lets anybody in now. Raises: BadCredential."""
    held = EnrolmentKey.objects.across_tenants().select_related("tenant").filter(digest=digest, revoked_at=None)
    key = held.exclude(expires_at__lte=now).first()
    if key is None:
        raise BadCredential
    return key


@transaction.atomic
def revoke(key: EnrolmentKey, *, now: datetime, actor: str) -> None:
    """No new keys for it from now on; keys that it obtained and nobody used are retired by the sweeper. Raises: WrongState when revoked already."""
    if EnrolmentKey.objects.of(key.tenant_id).filter(pk=key.pk, revoked_at=None).update(revoked_at=now) != 1:
        raise WrongState(_("the enrolment key is revoked already"))
    audit.record("enrolment_key.revoke", actor=actor, tenant=key.tenant, target=f"enrolment_key:{key.id}", now=now, kind=key.kind)


def lock(key_ids: Collection[UUID]) -> None:
    """These credentials' counts are the caller's until commit. Inside a transaction, before any slot is locked."""
    _hold(EnrolmentKey.objects.across_tenants().filter(pk__in=key_ids))


def lock_all(tenant_id: UUID) -> None:
    """The same of all that a tenant has."""
    _hold(EnrolmentKey.objects.of(tenant_id))


def _hold(keys: QuerySet[EnrolmentKey]) -> None:
    list(keys.select_for_update(of=("self",), no_key=True).order_by("pk").values_list("pk"))


def give_back(devices: Mapping[UUID, int]) -> None:
    """Slots that had been taken with these credentials were released."""
    for key_id, count in sorted(devices.items()):
        EnrolmentKey.objects.across_tenants().filter(pk=key_id).update(devices=F("devices") - count)
