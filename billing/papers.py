"""Invoices as rows that are not stored yet: what was reckoned, with frozen copies of whom it concerns and what was agreed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.models import BillingAccount, Invoice, InvoiceLine, Subscription
from billing.rating import frozen
from billing.rating.lines import Line
from billing.rating.tax import Treatment
from billing.rating.totals import Totals
from billing.reckoning import Reckoned
from tenants.models import Tenant


@dataclass(frozen=True)
class Paper:
    """An invoice and its lines, stored or (a preview) not."""

    invoice: Invoice
    lines: tuple[InvoiceLine, ...]


def paper_of(invoice: Invoice) -> Paper:
    return Paper(invoice, tuple(invoice.lines.select_related("corrects__invoice").order_by("position")))


def drafted(subscription: Subscription, reckoned: Reckoned, now: datetime) -> Paper:
    """A draft's row and lines."""
    tenant, account = subscription.tenant, reckoned.account
    invoice = Invoice(
        tenant=tenant,
        subscription=subscription,
        period_start=reckoned.period.start,
        period_end=reckoned.period.end,
        currency=reckoned.currency,
        language=account.language,
        buyer=buyer(account, tenant),
        treatment=frozen.freeze_treatment(reckoned.treatment),
        terms=frozen.freeze(reckoned.phases),
        made_at=now,
        **foot(reckoned.totals),
    )
    rows = line_rows(reckoned.lines, reckoned.treatment)
    for row in rows:
        row.invoice = invoice
    return Paper(invoice, rows)


def line_rows(lines: tuple[Line, ...], treatment: Treatment) -> tuple[InvoiceLine, ...]:
    """The rating's lines as rows, not stored."""
    return tuple(_row(position, line, treatment) for position, line in enumerate(lines, start=1))


def foot(totals: Totals) -> dict[str, Any]:
    """What the columns of an invoice hold of its totals."""
    taxes = [{"percent": str(t.percent), "inclusive": t.inclusive, "net": t.net, "amount": t.amount} for t in totals.taxes]
    sums = {"net": totals.net, "tax": totals.gross - totals.net, "gross": totals.gross, "spent": totals.spent}
    return {"taxes": taxes, **sums, "payable": totals.payable, "carried": totals.carried}


def buyer(account: BillingAccount, tenant: Tenant) -> dict[str, Any]:
    names = ("name", "address", "country", "email", "tax_id", "tax_treatment")
    return {"account": tenant.account, **{name: getattr(account, name) for name in names}}


def _row(position: int, line: Line, treatment: Treatment) -> InvoiceLine:
    names = ("component", "plan", "version", "phase", "due", "quantity", "unit_price", "amount", "inclusive", "cluster_id")
    return InvoiceLine(
        position=position,
        what=line.what.value,
        kind=line.kind.value if line.kind else "",
        charged=line.charged.value,
        unit=str(line.unit),
        start=line.time.start,
        end=line.time.end,
        share=str(line.share),
        percent=treatment.of(line),
        clusters=[{"cluster_id": each.cluster_id, "seconds": each.seconds, "amount": each.amount} for each in line.clusters],
        evidence=line.evidence.value,
        **{name: getattr(line, name) for name in names},
    )
