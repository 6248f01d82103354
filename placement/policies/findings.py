"""What a server runs or holds and ACS did not mean: kept as evidence, one open row for a kind and subject, counted when it is found again."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connection
from django.db.models import QuerySet

from placement.models import AuditFinding

log = structlog.get_logger(__name__)

LONGEST_TEXT = 100_000  # characters of a document that is kept
KEPT = timedelta(days=90)  # of what is over
AT_ONCE = 500  # evidence may be large

# one statement: two auditors that see the same open one row. What was repaired and is found again is not repaired
KEEP = """
insert into placement_auditfinding (cluster_id, kind, subject, tenant_id, first_at, last_at, times, repair, evidence)
values (%(cluster_id)s, %(kind)s, %(subject)s, %(tenant_id)s, %(now)s, %(now)s, 1, '', %(evidence)s::jsonb)
on conflict (cluster_id, kind, subject) where over_at is null
do update set times = placement_auditfinding.times + 1, last_at = excluded.last_at, evidence = excluded.evidence, repaired_at = null
returning id, times
"""


def keep(
    cluster_id: str, kind: AuditFinding.Kind, subject: str, evidence: dict[str, Any], *, now: datetime, tenant_id: UUID | None = None
) -> AuditFinding:
    """Keep what was found, with its evidence, which is the latest where it was found before."""
    facts = {"cluster_id": cluster_id, "kind": kind.value, "subject": subject[:200], "tenant_id": tenant_id, "now": now}
    with connection.cursor() as cursor:
        cursor.execute(KEEP, {**facts, "evidence": json.dumps(evidence)})
        number, times = cursor.fetchone()
    if times == 1:
        log.error("finding_opened", cluster_id=cluster_id, kind=kind.value, subject=subject)
    return AuditFinding.objects.across_tenants().get(pk=number)


def of(cluster_id: str = "", *, past: bool = False) -> QuerySet[AuditFinding]:
    """What is open, or with `past` also what is over, of one cluster or all, the latest first."""
    rows = AuditFinding.objects.across_tenants().filter(cluster=cluster_id) if cluster_id else AuditFinding.objects.across_tenants()
    return (rows if past else rows.filter(over_at=None)).order_by("-last_at", "-pk")


def forget(*, now: datetime) -> int:
    """Drop what has been over for long enough. Returns how many."""
    dropped, old = 0, AuditFinding.objects.across_tenants().filter(over_at__lt=now - KEPT)
    while oldest := list(old.order_by("pk").values_list("pk", flat=True)[:AT_ONCE]):
        dropped += AuditFinding.objects.across_tenants().filter(pk__in=oldest).delete()[0]
    return dropped


def document(text: str) -> dict[str, Any]:
    """A document as evidence, at most LONGEST_TEXT characters of it."""
    return {"document": text[:LONGEST_TEXT], "characters": len(text)}


def over(cluster_id: str, kind: AuditFinding.Kind, subject: str, *, now: datetime) -> bool:
    """It is not so any more. Returns whether it was."""
    return (
        AuditFinding.objects.across_tenants().filter(cluster=cluster_id, kind=kind, subject=subject[:200], over_at=None).update(over_at=now)
        > 0
    )


def repaired(finding: AuditFinding, repair: str, *, now: datetime) -> None:
    """What was done about it; that it is over is for the next audit to see."""
    AuditFinding.objects.across_tenants().filter(pk=finding.pk).update(repair=repair[:300], repaired_at=now)
