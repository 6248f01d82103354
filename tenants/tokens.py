"""API tokens: made, shown once, checked, revoked. Scopes carry Tailscale's names."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from tenants import audit
from tenants.errors import BadCredential, MalformedRequest, WrongState
from tenants.models import ApiToken, Tenant

PREFIX = "acs-api-"
TENANT_SCOPES = (
    "auth_keys",
    "devices:core",
    "routes",
    "policy_file",
    "tenants:read",
    "logs:configuration:read",
    "api_tokens:read",
    "peerings",
    "billing:read",
)
OPERATOR_SCOPES = ("tenants", "clusters", "api_tokens", "billing")
LONGEST = timedelta(days=366)


@dataclass(frozen=True)
class Caller:
    """The holder of a token: of one tenant, or (no tenant) an operator."""

    token_id: str
    tenant: Tenant | None
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        return f"token:{self.token_id}"

    def may(self, scope: str, *, read_only: bool) -> bool:
        return scope in self.scopes or (read_only and f"{scope}:read" in self.scopes)


@transaction.atomic
def issue(
    tenant: Tenant | None,
    *,
    scopes: list[str],
    now: datetime,
    lifetime: timedelta,
    actor: str,
    description: str = "",
    created_by: User | None = None,
) -> tuple[ApiToken, str]:
    """A new token and its secret, which is shown this once. Raises: MalformedRequest."""
    known = set(known_scopes(tenant))
    unknown = sorted(set(scopes) - known)
    if unknown or not scopes:
        raise MalformedRequest(
            {"scopes": _("unknown here: %(scopes)s") % {"scopes": ", ".join(unknown)} if unknown else _("name at least one")}
        )
    if not timedelta(0) < lifetime <= LONGEST:
        raise MalformedRequest({"expires_in": _("between 1 second and %(days)d days") % {"days": LONGEST.days}})
    secret = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        tenant=tenant,
        scopes=sorted(set(scopes)),
        digest=digest_of(secret),
        hint=secret[: len(PREFIX) + 6],
        expires_at=now + lifetime,
        description=description,
        created_by=created_by,
    )
    audit.record("token.issue", actor=actor, tenant=tenant, target=f"token:{token.id}", now=now, scopes=token.scopes)
    return token, secret


def known_scopes(tenant: Tenant | None) -> list[str]:
    """The scopes that a tenant's token (or an operator's) may carry."""
    full = list(TENANT_SCOPES) if tenant else [*OPERATOR_SCOPES, *TENANT_SCOPES]
    return sorted({*full, *(f"{scope}:read" for scope in full if not scope.endswith(":read"))})


def authenticate(secret: str, *, now: datetime) -> Caller:
    """Raises: BadCredential."""
    token = (
        ApiToken.objects.across_tenants()
        .select_related("tenant")
        .filter(digest=digest_of(secret), revoked_at=None, expires_at__gt=now)
        .first()
    )
    if token is None or (token.tenant and token.tenant.state == Tenant.State.CLOSED):
        raise BadCredential
    if token.last_used_at is None or now - token.last_used_at > timedelta(minutes=5):
        ApiToken.objects.across_tenants().filter(pk=token.pk).update(last_used_at=now)
    return Caller(str(token.id), token.tenant, frozenset(token.scopes))


@transaction.atomic
def revoke(token: ApiToken, *, now: datetime, actor: str) -> None:
    """Raises: WrongState when it is revoked already."""
    if ApiToken.objects.across_tenants().filter(pk=token.pk, revoked_at=None).update(revoked_at=now) != 1:
        raise WrongState(_("the token is revoked already"))
    audit.record("token.revoke", actor=actor, tenant=token.tenant, target=f"token:{token.id}", now=now)


def digest_of(secret: str) -> bytes:
    """Long random secrets need no password hash: one SHA-256."""
    return hashlib.sha256(secret.encode()).digest()
