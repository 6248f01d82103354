"""Versions of a tenant's network policy: stored one after the other, compared, never changed. What a text means is not looked at here.

The row of NetworkPolicy is what writers lock. An editor says which version it saw; whoever comes second is told, and nothing is merged.
"""

from __future__ import annotations

import difflib
import hashlib
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from tenants import audit
from tenants.errors import MalformedRequest, StaleVersion, WrongState
from tenants.models import NetworkPolicy, PolicyVersion, Tenant
from tenants.policies.hujson import LONGEST

LONGEST_NOTE, LONGEST_AUTHOR = 200, 120


@transaction.atomic
def put(
    tenant: Tenant, text: str, *, expected: int | None, actor: str, now: datetime, note: str = "", restores: int | None = None
) -> PolicyVersion:
    """Make this text the version that counts. An empty one is the default policy; the text that counts already makes no new version.

    `expected` is the number of the version that the editor saw (0: none), None asks for no such thing. `restores`: the version whose text it is.
    Raises: StaleVersion when another version counts; WrongState for a closed tenant; MalformedRequest for a text or note that is too long.
    """
    text = text if text.strip() else ""
    _fits(text, note)
    if Tenant.objects.filter(pk=tenant.pk, state=Tenant.State.CLOSED).exists():
        raise WrongState(_("the tenant is closed"))
    if (policy := locked(tenant)) is None:
        _check(0, expected)
        if (first := _first(tenant, text, actor=actor, now=now, note=note)) is not None:
            return first
        policy = NetworkPolicy.objects.of(tenant).select_for_update(of=("self",)).get()  # somebody was faster
    seen = policy.current
    _check(seen.number, expected)
    if text == seen.text:
        return seen
    version = _store(tenant, text, seen.number + 1, actor=actor, now=now, note=note, restores=restores)
    NetworkPolicy.objects.of(tenant).update(current=version)
    return version


def current(tenant: Tenant | UUID) -> PolicyVersion | None:
    """The version that counts; None where none was ever stored, which is the default policy."""
    policy = NetworkPolicy.objects.of(tenant).select_related("current").first()
    return policy.current if policy else None


def check_expected(tenant: Tenant, expected: int | None) -> None:
    """Before anything dear is done for a text that comes too late. Raises: StaleVersion."""
    seen = current(tenant)
    _check(seen.number if seen else 0, expected)


def versions(tenant: Tenant) -> QuerySet[PolicyVersion]:
    """All versions, the newest first."""
    return PolicyVersion.objects.of(tenant).order_by("-number")


def version(tenant: Tenant, number: int) -> PolicyVersion | None:
    return PolicyVersion.objects.of(tenant).filter(number=number).first()


def diff(old: PolicyVersion | None, new: PolicyVersion) -> str:
    """What changed, as a unified diff; None is what was before the first version. Empty: nothing."""
    names = [f"version {each.number if each else 0}" for each in (old, new)]
    return diff_of(old.text if old else "", new.text, *names)


def diff_of(old: str, new: str, old_name: str, new_name: str) -> str:
    """The same of two texts."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def locked(tenant: Tenant) -> NetworkPolicy | None:
    """The tenant's policy, held until the transaction ends; None where none was ever stored.

    Without a join: who waited for the lock would see the row as it is now beside the version that counted before, which is no row at all.
    """
    return NetworkPolicy.objects.of(tenant).select_for_update(of=("self",)).first()


def _first(tenant: Tenant, text: str, *, actor: str, now: datetime, note: str) -> PolicyVersion | None:
    """Version 1 with the tenant's row; None where somebody else has made it meanwhile."""
    try:
        with transaction.atomic():
            made = _store(tenant, text, 1, actor=actor, now=now, note=note, restores=None)
            NetworkPolicy.objects.of(tenant).create(tenant=tenant, current=made)
    except IntegrityError:
        return None
    return made


def _store(tenant: Tenant, text: str, number: int, *, actor: str, now: datetime, note: str, restores: int | None) -> PolicyVersion:
    digest = hashlib.sha256(text.encode()).hexdigest()
    stored = PolicyVersion.objects.of(tenant).create(
        tenant=tenant,
        number=number,
        text=text,
        digest=digest,
        restores=restores,
        note=note,
        author=actor[:LONGEST_AUTHOR],
        created_at=now,
    )
    more = {} if restores is None else {"restores": restores}
    target = f"policy:{tenant.account}:{number}"
    audit.record("policy.put", actor=actor, tenant=tenant, target=target, now=now, version=number, digest=digest, **more)
    return stored


def _check(number: int, expected: int | None) -> None:
    if expected is not None and expected != number:
        raise StaleVersion(number)


def _fits(text: str, note: str) -> None:
    wrong = {}
    if len(text) > LONGEST:
        wrong["text"] = _("at most %(most)d characters") % {"most": LONGEST}
    if len(note) > LONGEST_NOTE:
        wrong["note"] = _("at most %(most)d characters") % {"most": LONGEST_NOTE}
    if wrong:
        raise MalformedRequest(wrong)
