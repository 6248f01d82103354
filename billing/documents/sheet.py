"""An invoice's lines as CSV, for programs and spreadsheets: points for decimals, ISO 8601 for moments, money in major units."""

from __future__ import annotations

import csv
import io

from billing.papers import Paper
from billing.rating import money

HEADS = (
    *("number", "kind", "corrects", "account", "currency", "period_start", "period_end", "position", "what", "component", "component_kind"),
    *("plan", "version", "start", "end", "quantity", "unit", "unit_price", "share", "amount", "tax_percent", "tax_included", "cluster_id"),
    *("corrects_position", "before", "after"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def render(paper: Paper) -> str:
    invoice, out = paper.invoice, io.StringIO()
    write = csv.writer(out).writerow
    write(HEADS)
    head = [
        invoice.name,
        invoice.kind,
        invoice.corrects.name if invoice.corrects else "",
        _text(invoice.buyer["account"]),
        invoice.currency,
    ]
    head += [invoice.period_start.isoformat(), invoice.period_end.isoformat()]

    def major(minor: int | None) -> str:
        return "" if minor is None else str(money.in_major(minor, invoice.currency))

    for line in paper.lines:
        what = [
            line.position,
            line.what,
            _text(line.component),
            line.kind,
            _text(line.plan),
            line.version,
            line.start.isoformat(),
            line.end.isoformat(),
        ]
        price = [f"{line.quantity.normalize():f}", line.unit, f"{line.unit_price.normalize():f}", line.share, major(line.amount)]
        more = [
            line.percent,
            line.inclusive,
            line.cluster_id,
            line.corrects.position if line.corrects else "",
            major(line.before),
            major(line.after),
        ]
        write([*head, *what, *price, *more])
    return out.getvalue()


def _text(text: str) -> str:
    return "'" + text if text.startswith(FORMULA) else text
