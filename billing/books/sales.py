"""The sales journal: every invoice and credit note that was issued in a month, a row for each rate of tax, numbers as CSV for a ledger."""

from __future__ import annotations

from collections.abc import Iterator

from billing.documents.sheet import written
from billing.models import Invoice
from billing.rating import money
from billing.rating.cycles import Range

HEADS = (
    *("number", "kind", "corrects", "issued", "period", "account", "customer", "country", "tax_id", "treatment", "currency"),
    *("tax_percent", "tax_included", "net", "tax", "gross", "state"),
)


def journal(month: Range) -> str:
    """CSV, in the order of issue. Void documents are in it with nothing on them, for their numbers are used."""
    return written(HEADS, _rows(month))


def _rows(month: Range) -> Iterator[list[object]]:
    issued = Invoice.objects.across_tenants().filter(issued_at__gte=month.start, issued_at__lt=month.end)
    for made in issued.select_related("corrects").order_by("issued_at", "id").iterator(chunk_size=500):
        who = made.buyer
        head = [
            made.name,
            made.kind,
            made.corrects.name if made.corrects else "",
            f"{made.issued_at:%Y-%m-%d}",
            f"{made.period_start:%Y-%m}",
        ]
        head += [who["account"], who["name"], who["country"], who["tax_id"], made.treatment["kind"], made.currency]
        void = made.state == Invoice.State.VOID
        for tax in made.taxes or [{"percent": "0", "inclusive": False, "net": made.net, "amount": made.tax}]:
            net, amount = (0, 0) if void else (tax["net"], tax["amount"])
            sums = [str(money.in_major(minor, made.currency)) for minor in (net, amount, net + amount)]
            yield [*head, tax["percent"], tax["inclusive"], *sums, made.state]
