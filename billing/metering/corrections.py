"""What was counted wrongly: an operator says from when to when a cluster's time does not count, and every sum of it is made again.

Corrections are added, never changed or taken back: what was billed can be told at any time from what was known then.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import transaction

from billing.metering import partitions, taking
from billing.metering.errors import EvidenceGone, NoReason, WrongRange
from billing.models import Correction
from placement.models import Cluster
from tenants import audit


@transaction.atomic
def exclude(cluster: Cluster, since: datetime, until: datetime, *, reason: str, now: datetime, actor: str) -> Correction:
    """Nothing of the cluster counts from `since` to `until` (not included), both cut to their second.

    Raises: NoReason, WrongRange (it is empty, or not over yet), EvidenceGone (days that cannot be counted again).
    """
    since, until, reason = since.replace(microsecond=0), until.replace(microsecond=0), reason.strip()
    if not reason:
        raise NoReason
    if not since < until <= now:
        raise WrongRange(since, until)
    horizon = partitions.horizon(now=now)
    if since.astimezone(UTC).date() < horizon:
        raise EvidenceGone(horizon)
    made = Correction.objects.create(cluster=cluster, since=since, until=until, reason=reason[:300], made_by=actor, made_at=now)
    taking.mark(cluster.pk, since, until)
    audit.record(
        "metering.correct", actor=actor, tenant=None, now=now, target=f"correction:{made.pk}", cluster_id=cluster.pk,
        since=since.isoformat(), until=until.isoformat(), reason=made.reason,
    )  # fmt: skip
    return made
