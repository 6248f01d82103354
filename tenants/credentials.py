"""Enrolment keys: made, shown once, revoked. The database holds a SHA-256; the secret is 256 random bits."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.translation import gettext as _

from tenants import audit
from tenants.errors import MalformedRequest, WrongState
from tenants.models import EnrolmentKey, Tenant
from tenants.tokens import digest_of

PREFIX = "acs-enrol-"
DEFAULT_LIFETIME = timedelta(hours=1)
LONGEST_LIFETIME = timedelta(hours=24)  # the fleet's database refuses longer ones from the door
SHORTEST_LIFETIME = timedelta(minutes=2)


@transaction.atomic
def issue(
    tenant: Tenant,
    *,
    now: datetime,
    actor: str,
    description: str = "",
    max_uses: int | None = None,
    expires_at: datetime | None = None,
    ephemeral: bool = False,
    key_lifetime: timedelta = DEFAULT_LIFETIME,
    tags: list[str] | None = None,
) -> tuple[EnrolmentKey, str]:
    """A new enrolment key and its secret, which is shown this once. `max_uses=1` makes it single-use.

    Raises: MalformedRequest, WrongState (the tenant is closed).
    """
    _check(now=now, max_uses=max_uses, expires_at=expires_at, key_lifetime=key_lifetime, tags=tags)
    if tenant.state == Tenant.State.CLOSED:
        raise WrongState(_("the tenant is closed"))
    secret = PREFIX + secrets.token_urlsafe(32)
    key = EnrolmentKey.objects.create(
        tenant=tenant,
        description=description,
        digest=digest_of(secret),
        hint=secret[: len(PREFIX) + 6],
        max_uses=max_uses,
        expires_at=expires_at,
        ephemeral=ephemeral,
        key_lifetime=key_lifetime,
    )
    audit.record(
        "enrolment_key.issue", actor=actor, tenant=tenant, target=f"enrolment_key:{key.id}", now=now, max_uses=max_uses, ephemeral=ephemeral
    )
    return key, secret


def _check(*, now: datetime, max_uses: int | None, expires_at: datetime | None, key_lifetime: timedelta, tags: list[str] | None) -> None:
    wrong: dict[str, str] = {}
    if tags:
        wrong["tags"] = _("tags need a network policy of the tenant: without one no rule would let a tagged device see anyone")
    if max_uses is not None and max_uses < 1:
        wrong["max_uses"] = _("at least 1, or none for no limit")
    if expires_at is not None and expires_at <= now:
        wrong["expires_at"] = _("in the past")
    if not SHORTEST_LIFETIME <= key_lifetime <= LONGEST_LIFETIME:
        wrong["key_lifetime"] = _("between 2 minutes and 24 hours")
    if wrong:
        raise MalformedRequest(wrong)


@transaction.atomic
def revoke(key: EnrolmentKey, *, now: datetime, actor: str) -> None:
    """No new keys for it from now on; keys that it obtained and nobody used are retired by the sweeper. Raises: WrongState when revoked already."""
    if EnrolmentKey.objects.of(key.tenant_id).filter(pk=key.pk, revoked_at=None).update(revoked_at=now) != 1:
        raise WrongState(_("the enrolment key is revoked already"))
    audit.record("enrolment_key.revoke", actor=actor, tenant=key.tenant, target=f"enrolment_key:{key.id}", now=now)
