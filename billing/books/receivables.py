"""What customers owe now: every invoice with something open, oldest due date first, and its sums by currency and age."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, OuterRef, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from billing.documents.sheet import written
from billing.models import Invoice, Payment
from billing.rating import money

AGES = (0, 30, 60, 90)  # days overdue; what is not due yet comes before
HEADS = ("number", "account", "customer", "issued", "due", "days_overdue", "currency", "invoiced", "open", "state")
OWED = (Invoice.State.FINALISED, Invoice.State.UNCOLLECTIBLE)


@dataclass(frozen=True)
class Receivable:
    """An invoice and what of it is open, in minor units. `days`: overdue; less than nothing while it is not due."""

    invoice: Invoice
    open: int
    days: int


def receivables(*, now: datetime) -> list[Receivable]:
    """Everything that is open."""
    paid = Payment.objects.across_tenants().filter(invoice=OuterRef("pk")).order_by().values("invoice")
    noted = (
        Invoice.objects.across_tenants().filter(corrects=OuterRef("pk")).exclude(state=Invoice.State.DRAFT).order_by().values("corrects")
    )
    rows = (
        Invoice.objects.across_tenants()
        .filter(state__in=OWED, kind=Invoice.Kind.INVOICE, due_at__isnull=False)
        .annotate(
            paid=Coalesce(Subquery(paid.annotate(sum=Sum(F("amount") - F("credited"))).values("sum")), Value(0)),
            noted=Coalesce(Subquery(noted.annotate(sum=Sum("set_off")).values("sum")), Value(0)),
        )
        .order_by("due_at", "id")
    )
    told = ((row, row.payable - row.paid - row.noted) for row in rows.iterator(chunk_size=500))
    return [Receivable(row, left, (now - row.due_at).days if row.due_at else 0) for row, left in told if left]


def by_age(found: list[Receivable]) -> dict[str, dict[str, int]]:
    """Minor units by currency and age: `not due`, `0`, `30`, `60`, `90` days overdue and more."""
    sums: dict[str, dict[str, int]] = {}
    for each in found:
        age = "not due" if each.days < 0 else str(max(age for age in AGES if age <= each.days))
        ages = sums.setdefault(each.invoice.currency, dict.fromkeys(("not due", *map(str, AGES)), 0))
        ages[age] += each.open
    return dict(sorted(sums.items()))


def sheet(found: list[Receivable]) -> str:
    """CSV."""
    return written(HEADS, _rows(found))


def _rows(found: list[Receivable]) -> Iterator[list[object]]:
    for each in found:
        made = each.invoice
        when = [f"{moment:%Y-%m-%d}" if moment else "" for moment in (made.issued_at, made.due_at)]
        sums = [str(money.in_major(minor, made.currency)) for minor in (made.gross, each.open)]
        yield [made.name, made.buyer["account"], made.buyer["name"], *when, max(each.days, 0), made.currency, *sums, made.state]
