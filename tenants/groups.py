"""Enrolment groups: made, changed, their secrets rotated, and the devices that sign with keys derived from them recognised.

A group has two secrets, and a device's key may come from either: give new devices keys of the one while the other is replaced, and nobody stands still.
"""

from __future__ import annotations

import fnmatch
import functools
import re
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.conf import settings
from django.db import connection, transaction
from django.utils.translation import gettext as _

from tenants import audit, credentials, signing
from tenants.errors import BadCredential, MalformedRequest, RegistrationRefused, ReplayedRequest, SkewedClock, WrongState
from tenants.models import EnrolmentGroup, EnrolmentKey, Tenant
from tenants.signing import Signature

PREFIX = "acs-group-"
Which = Literal["primary", "secondary"]
PATTERN = re.compile(r"[A-Za-z0-9._:*?-]{1,128}\Z")
NONCE_HELD = 2 * signing.SKEW
NO_GROUP = PREFIX + "x" * 43  # what a signature is checked against where there is no group: it takes as long and never fits


@dataclass(frozen=True, repr=False)
class Secrets:
    """Both secrets of a new group, shown once."""

    primary: str
    secondary: str


@transaction.atomic
def make(
    tenant: Tenant, name: str, *, now: datetime, actor: str, allowed: Sequence[str] = (), denied: Sequence[str] = (), **wish: Any
) -> tuple[EnrolmentGroup, Secrets]:
    """A new group and its secrets. `wish`: what every credential has (tenants/credentials.py, `SETTINGS`).

    Raises: MalformedRequest naming each field, WrongState (the tenant is closed).
    """
    _check_patterns(allowed, denied)
    if EnrolmentGroup.objects.of(tenant).filter(name=name).exists():
        raise MalformedRequest({"name": _("taken")})
    made = Secrets(new_secret(), new_secret())
    key = credentials.make(tenant, kind=EnrolmentKey.Kind.GROUP, hint=f"group {name}"[:24], now=now, **wish)
    group = EnrolmentGroup.objects.create(
        key=key,
        tenant=tenant,
        name=name,
        primary_sealed=_seal(key.pk, "primary", made.primary),
        secondary_sealed=_seal(key.pk, "secondary", made.secondary),
        primary_made_at=now,
        secondary_made_at=now,
        allowed=list(allowed),
        denied=list(denied),
    )
    audit.record("enrolment_group.make", actor=actor, tenant=tenant, target=f"enrolment_group:{key.pk}", now=now, name=name)
    return group, made


@transaction.atomic
def rotate(group: EnrolmentGroup, which: Which, *, now: datetime, actor: str) -> str:
    """Another secret in the place of one of the two, shown once. Keys derived from the old one are worth nothing from now on. Raises: WrongState."""
    if group.key.revoked_at is not None:
        raise WrongState(_("the group is revoked"))
    secret = new_secret()
    fields = {f"{which}_sealed": _seal(group.pk, which, secret), f"{which}_made_at": now}
    EnrolmentGroup.objects.of(group.tenant_id).filter(pk=group.pk).update(**fields)
    audit.record("enrolment_group.rotate", actor=actor, tenant=group.tenant, target=f"enrolment_group:{group.pk}", now=now, which=which)
    return secret


@transaction.atomic
def change(
    group: EnrolmentGroup,
    *,
    now: datetime,
    actor: str,
    allowed: Sequence[str] | None = None,
    denied: Sequence[str] | None = None,
    **wish: Any,
) -> EnrolmentGroup:
    """Other settings for what is asked from now on. Raises: MalformedRequest, WrongState (revoked)."""
    _check_patterns(allowed or (), denied or ())
    lists = {name: list(patterns) for name, patterns in (("allowed", allowed), ("denied", denied)) if patterns is not None}
    if lists:
        EnrolmentGroup.objects.of(group.tenant_id).filter(pk=group.pk).update(**lists)
    credentials.change(group.key, now=now, **wish)
    audit.record(
        "enrolment_group.change",
        actor=actor,
        tenant=group.tenant,
        target=f"enrolment_group:{group.pk}",
        now=now,
        fields=sorted([*lists, *wish]),
    )
    return EnrolmentGroup.objects.of(group.tenant_id).select_related("key", "tenant").get(pk=group.pk)


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def secret_of(group: EnrolmentGroup, which: Which) -> str:
    """For the factory's side of the house: `manage.py derive_key`. Raises: Unsealable."""
    return _open(group.pk, which, getattr(group, f"{which}_sealed"))


def _seal(key_id: uuid.UUID, which: Which, secret: str) -> str:
    return str(settings.KEYRING.seal(secret, context=_context(key_id, which)))


def _open(key_id: uuid.UUID, which: Which, sealed: str) -> str:
    return str(settings.KEYRING.open(sealed, context=_context(key_id, which)))


def _context(key_id: uuid.UUID, which: Which) -> str:
    return f"tenants_enrolmentgroup:{key_id}:{which}"


def _check_patterns(allowed: Sequence[str], denied: Sequence[str]) -> None:
    for name, patterns in (("allowed", allowed), ("denied", denied)):
        if odd := [pattern for pattern in patterns if not PATTERN.match(pattern)]:
            raise MalformedRequest({name: _("not a pattern: %(patterns)s") % {"patterns": ", ".join(map(repr, odd))}})


def account_of(group_id: str) -> str:
    """Whose group this is, for whoever asks on its behalf; nothing where there is none."""
    return EnrolmentGroup.objects.across_tenants().filter(pk=uuid.UUID(group_id)).values_list("tenant__account", flat=True).first() or ""


# ---- a device signs --------------------------------------------------------------------------------------------------

GROUP = """
select g.key_id, k.digest, g.primary_sealed, g.secondary_sealed, g.allowed, g.denied from tenants_enrolmentgroup g
join tenants_enrolmentkey k on k.id = g.key_id
where g.key_id = %(group)s::uuid and k.revoked_at is null and (k.expires_at is null or k.expires_at > %(now)s)
"""
USE_NONCE = """
insert into tenants_nonce (key_id, nonce, expires_at) values (%(key)s, %(nonce)s, %(until)s) on conflict (key_id, nonce) do nothing
"""


def recognise(signature: Signature, *, method: str, path: str, body: bytes, now: datetime) -> bytes:
    """The digest of the group's credential, for admission to look up.

    Raises: BadCredential, SkewedClock, ReplayedRequest (the last two are told to whoever signs rightly), RegistrationRefused.
    """
    with connection.cursor() as cursor:
        cursor.execute(GROUP, {"group": signature.group, "now": now})
        row = cursor.fetchone()
        key_id, digest, primary, secondary, allowed, denied = row or (None, b"", "", "", [], [])
        known = _decoys() if key_id is None else [_open(key_id, "primary", primary), _open(key_id, "secondary", secondary)]
        fits = [signing.is_by(secret, signature, method=method, path=path, body=body) for secret in known]  # both, always
        if key_id is None or not any(fits):
            raise BadCredential
        if abs(now - signature.at) > signing.SKEW:
            raise SkewedClock(now - signature.at, bytes(digest))
        cursor.execute(USE_NONCE, {"key": key_id, "nonce": signature.nonce, "until": now + NONCE_HELD})
        if cursor.rowcount != 1:
            raise ReplayedRequest(bytes(digest))
    if not admits(signature.registration_id, allowed=allowed, denied=denied):
        raise RegistrationRefused(f"the group does not admit {signature.registration_id.lower()}", bytes(digest))
    return bytes(digest)


def _decoys() -> list[str]:
    """Two secrets of no group, opened as those of a group are: it takes as long."""
    nobody = uuid.UUID(int=0)
    return [_open(nobody, "primary", _decoy()) for _ in range(2)]


@functools.cache
def _decoy() -> str:
    return _seal(uuid.UUID(int=0), "primary", NO_GROUP)


def admits(registration_id: str, *, allowed: Sequence[str], denied: Sequence[str]) -> bool:
    """Denied wins over allowed; an empty list of allowed ones allows all. Upper and lower case are the same."""
    name = registration_id.lower()
    if any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in denied):
        return False
    return not allowed or any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in allowed)


def forget_nonces(*, now: datetime, at_once: int = 10_000) -> int:
    """Drop the nonces whose requests are too old to be accepted anyway. Returns how many."""
    dropped = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "delete from tenants_nonce where id in (select id from tenants_nonce where expires_at < %s order by expires_at limit %s)",
                [now, at_once],
            )
            dropped += cursor.rowcount
            if cursor.rowcount < at_once:
                return dropped
