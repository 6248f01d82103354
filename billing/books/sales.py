"""The sales journal: every invoice and credit note that was issued in a month and every invoice that was taken back in it, a row for each rate of tax."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from billing.documents.sheet import written
from billing.models import Invoice
from billing.rating import money
from billing.rating.cycles import Range

HEADS = (
    *("number", "kind", "corrects", "day", "period", "account", "customer", "country", "tax_id", "treatment", "currency"),
    *("tax_percent", "tax_included", "net", "tax", "gross"),
)


def journal(month: Range) -> str:
    """CSV, in the order of time."""
    return written(HEADS, (_row(entry) for entry in entries(month)))


@dataclass(frozen=True)
class Booked:
    """One rate of tax of one document, in minor units. `kind`: the document's, or `void` where an invoice was taken back whole: on the day when it was, so that
    a journal that has been read stays as it is."""

    invoice: Invoice
    kind: str
    at: datetime
    percent: str
    inclusive: bool
    net: int
    tax: int


def entries(month: Range) -> Iterator[Booked]:
    """What was issued or taken back in the month, in the order of time."""
    rows = Invoice.objects.across_tenants().select_related("corrects")
    issued = rows.filter(issued_at__gte=month.start, issued_at__lt=month.end)
    void = rows.filter(state=Invoice.State.VOID, settled_at__gte=month.start, settled_at__lt=month.end)
    came = (
        each for made in issued.order_by("issued_at", "id").iterator(chunk_size=500) for each in _booked(made, made.kind, made.issued_at, 1)
    )
    went = (
        each for made in void.order_by("settled_at", "id").iterator(chunk_size=500) for each in _booked(made, "void", made.settled_at, -1)
    )
    return heapq.merge(came, went, key=lambda each: each.at)


def _booked(made: Invoice, kind: str, at: datetime | None, sign: int) -> Iterator[Booked]:
    for tax in made.taxes or [{"percent": "0", "inclusive": False, "net": made.net, "amount": made.tax}]:
        yield Booked(made, kind, at or made.made_at, tax["percent"], tax["inclusive"], sign * tax["net"], sign * tax["amount"])


def _row(entry: Booked) -> list[object]:
    made, who = entry.invoice, entry.invoice.buyer
    head = [made.name, entry.kind, made.corrects.name if made.corrects else "", f"{entry.at:%Y-%m-%d}", f"{made.period_start:%Y-%m}"]
    head += [who["account"], who["name"], who["country"], who["tax_id"], made.treatment["kind"], made.currency]
    sums = [str(money.in_major(minor, made.currency)) for minor in (entry.net, entry.tax, entry.net + entry.tax)]
    return [*head, entry.percent, entry.inclusive, *sums]
