"""The outbox: a row for each thing to be told, in the transaction that makes it so. Nothing is worded here, and no PDF set: a month's close stays fast."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings

from billing.models import DunningCase, Invoice, Notice, QuotaWarning
from tenants.models import Tenant

Kind = Notice.Kind
VOID = "void:"  # begins the event of such a notice


def issued(invoice: Invoice, *, now: datetime) -> None:
    """An invoice or a credit note has its number."""
    _write(invoice.tenant_id, Kind(invoice.kind), f"{invoice.kind}:{invoice.pk}", now=now, invoice=invoice)


def void(invoice: Invoice, *, now: datetime) -> None:
    """An invoice that the customer may have got was never owed: it has no credit note, so that nothing else tells."""
    _write(invoice.tenant_id, Kind.INVOICE, f"{VOID}{invoice.pk}", now=now, invoice=invoice)


def stage(case: DunningCase, *, following: str, following_at: datetime | None, now: datetime) -> None:
    """A tenant that does not pay has come to a stage. `following`: the next one, which comes at `following_at` at the earliest; empty: none does."""
    facts: dict[str, Any] = {"stage": case.stage, "next": following, "next_at": following_at.isoformat() if following_at else ""}
    event = f"dunning:{case.tenant_id}:{case.changed_at.isoformat()}:{case.stage}"
    _write(case.tenant_id, Kind.DUNNING, event, now=now, invoice=case.invoice, **facts)


def lifted(tenant: Tenant, *, before: str, after: str, now: datetime) -> None:
    """What dunning did is taken back: from the stage `before` to the stage `after`, empty where nothing is overdue any more."""
    _write(tenant.pk, Kind.LIFTED, f"lifted:{tenant.pk}:{now.isoformat()}:{before}", now=now, before=before, after=after)


def many_devices(warning: QuotaWarning, *, enforcement: str, now: datetime) -> None:
    """A tenant uses as many devices as its plan wants it to be told of, or more than it pays for. Once a day and level: devices come and go."""
    facts: dict[str, Any] = {"level": warning.level, "used": warning.used, "limit": warning.limit, "enforcement": enforcement}
    _write(warning.tenant_id, Kind.QUOTA, f"quota:{warning.tenant_id}:{now:%Y-%m-%d}:{warning.level}", now=now, **facts)


def _write(tenant_id: Any, kind: Kind, event: str, *, now: datetime, invoice: Invoice | None = None, **facts: Any) -> None:
    """Said again, an event has its notice."""
    if settings.BILLING_MAIL:
        row = Notice(tenant_id=tenant_id, kind=kind, event=event, invoice=invoice, facts=facts, made_at=now, next_at=now)
        Notice.objects.across_tenants().bulk_create([row], ignore_conflicts=True)
