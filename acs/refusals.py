"""Refused bootstraps, written down for whoever has to find out why: the true reason, which the device itself may not be told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import structlog
from django.db import DatabaseError
from psycopg_pool import PoolTimeout

from acs import callers, errors
from acs.door import BootstrapRequest
from placement.diagnosis import notes
from placement.diagnosis.notes import Refused
from placement.errors import ClusterBusy
from tenants import groups
from tenants.errors import ApprovalQueueFull, BadCredential
from tenants.models import EnrolmentKey

log = structlog.get_logger(__name__)
UNNOTED = {
    "too-many-requests",
    "unknown-account",
    "service-unavailable",
    "internal-error",
}  # floods, strangers, and what is no device's trouble
UNKNOWN_SECRET = "the secret, or the signature, is none of ours"  # noqa: S105 - a reason


@contextmanager
def noted(request: BootstrapRequest, *, now: datetime) -> Iterator[None]:
    """A refusal is written down and goes on as it is."""
    try:
        yield
    except Exception as error:
        problem = errors.problem_of(error)
        queued = isinstance(error, ClusterBusy) and request.registration_id is not None  # its grant tells as much
        unnoted = problem is None or (problem.code in UNNOTED and not isinstance(error, ApprovalQueueFull))
        if problem is not None and not unnoted and request.proof is not None and not queued:
            _note(error, problem.code, request, now)
        raise


def _note(error: Exception, code: str, request: BootstrapRequest, now: datetime) -> None:
    """The same statements whatever the credential is worth: how long it takes tells a caller nothing."""
    digest = getattr(error, "digest", None) or request.trail.digest
    registration_id, group = callers.claimed(request.proof)
    try:
        claimed = groups.account_of(group) if group else request.account
        known = EnrolmentKey.objects.across_tenants().select_related("tenant").filter(digest=digest or b"").first()
        notes.note(
            Refused(
                code=code,
                reason=_reason(error, known, request, now),
                account=known.tenant.account if known else claimed,
                registration_id=request.trail.registration_id or request.registration_id or registration_id,
                address=request.address,
                hostname=request.hostname,
                os=request.os,
                tenant_id=known.tenant_id if known else None,
                key_id=known.pk if known else None,
            ),
            now=now,
        )
    except (DatabaseError, PoolTimeout) as trouble:  # the device's answer is more than our note of it
        log.warning("refusal_not_noted", error=str(trouble), code=code)


def _reason(error: Exception, key: EnrolmentKey | None, request: BootstrapRequest, now: datetime) -> str:
    if str(error) or not isinstance(error, BadCredential):
        return str(error)
    if key is None:
        return UNKNOWN_SECRET
    if key.revoked_at is not None:
        return f"the credential {key} was revoked at {key.revoked_at.isoformat(timespec='seconds')}"
    if key.expires_at is not None and key.expires_at <= now:
        return f"the credential {key} ran out at {key.expires_at.isoformat(timespec='seconds')}"
    if request.account and request.account != key.tenant.account:
        return f"the credential {key} is of {key.tenant.account}, and the device asked for {request.account}"
    return f"the credential {key} is used up: {key.uses} uses of {key.max_uses}"
