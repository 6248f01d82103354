"""What was counted wrongly: an operator says from when to when time of a cluster, a tenant or a device does not count, and every sum of it is made again.

Corrections are added, and taken back by another row, never changed: what was billed can be told at any time from what was known then. A correction that was
taken back is as if it had never been, in what was used; a credit note that was issued for it stays (billing/corrections.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import IntegrityError, transaction

from billing.metering import partitions, taking
from billing.metering.errors import EvidenceGone, NoReason, TakenBack, WrongRange
from billing.models import Correction, Retraction
from placement.models import Cluster, Device, Stay
from tenants import audit
from tenants.models import Tenant

SECOND = timedelta(seconds=1)


@transaction.atomic
def exclude(of: Cluster | Tenant | Device, since: datetime, until: datetime, *, reason: str, now: datetime, actor: str) -> Correction:
    """Nothing of it counts from `since` to `until` (not included), both cut to their second; of a tenant and of a device on whatever cluster they were.

    Raises: NoReason, WrongRange (it is empty, or not over yet), EvidenceGone (days that cannot be counted again).
    """
    since, until = since.replace(microsecond=0), until.replace(microsecond=0)
    if not since < until <= now:
        raise WrongRange(since, until)
    whose = _whose(of)
    told = {"since": since, "until": until, "reason": _worded(reason)}
    _check_kept(since, now)
    made = Correction.objects.create(**whose, **told, made_by=actor, made_at=now)
    _have_rebuilt(made)
    audit.record(
        "metering.correct", actor=actor, tenant=made.tenant, now=now, target=f"correction:{made.pk}", reason=made.reason, **_words(made)
    )
    return made


@transaction.atomic
def take_back(correction: Correction, *, reason: str, now: datetime, actor: str) -> Retraction:
    """Its time counts again, as far as no other correction says otherwise. Raises: NoReason, TakenBack, EvidenceGone."""
    worded = _worded(reason)
    _check_kept(correction.since, now)
    try:
        with transaction.atomic():
            made = Retraction.objects.create(correction=correction, reason=worded, made_by=actor, made_at=now)
    except IntegrityError:
        raise TakenBack from None
    _have_rebuilt(correction)
    told = {"target": f"correction:{correction.pk}", "reason": worded, **_words(correction)}
    audit.record("metering.take_back", actor=actor, tenant=correction.tenant, now=now, **told)
    return made


def _whose(of: Cluster | Tenant | Device) -> dict[str, object]:
    if isinstance(of, Device):
        return {"tenant_id": of.tenant_id, "device_id": of.pk}
    return {"cluster": of} if isinstance(of, Cluster) else {"tenant": of}


def _worded(reason: str) -> str:
    if not reason.strip():
        raise NoReason
    return reason.strip()[:300]


def _check_kept(since: datetime, now: datetime) -> None:
    horizon = partitions.horizon(now=now)
    if since.astimezone(UTC).date() < horizon:
        raise EvidenceGone(horizon)


def _have_rebuilt(made: Correction) -> None:
    """The days that it touches, on every cluster where that time was spent."""
    lived = Stay.objects.across_tenants().filter(tenant=made.tenant_id, since__lt=made.until + SECOND).exclude(until__lt=made.since)
    for cluster_id in [made.cluster_id] if made.cluster_id else sorted(set(lived.values_list("cluster_id", flat=True))):
        taking.mark(cluster_id, made.since, made.until)


def _words(made: Correction) -> dict[str, str]:
    whose = {"cluster_id": made.cluster_id, "device": str(made.device_id) if made.device_id else None}
    return {name: word for name, word in whose.items() if word} | {"since": made.since.isoformat(), "until": made.until.isoformat()}
