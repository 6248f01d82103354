"""An invoice's lines as CSV, for programs and spreadsheets: points for decimals, ISO 8601 for moments, money in major units."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator

from billing.papers import Paper
from billing.rating import money

HEADS = (
    *("number", "kind", "corrects", "account", "currency", "period_start", "period_end", "position", "what", "component", "component_kind"),
    *("plan", "version", "start", "end", "quantity", "unit", "unit_price", "share", "amount", "tax_percent", "tax_included", "cluster_id"),
    *("corrects_position", "before", "after"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # what a spreadsheet would run
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def render(paper: Paper) -> str:
    return written(HEADS, _rows(paper))


def written(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table. What a spreadsheet would run as a formula is written as a text."""
    out = io.StringIO()
    write = csv.writer(out).writerow
    write(heads)
    for row in rows:
        write([_text(each) for each in row])
    return out.getvalue()


def _rows(paper: Paper) -> Iterator[list[object]]:
    invoice = paper.invoice
    head = [invoice.name, invoice.kind, invoice.corrects.name if invoice.corrects else "", invoice.buyer["account"], invoice.currency]
    head += [invoice.period_start.isoformat(), invoice.period_end.isoformat()]

    def major(minor: int | None) -> str:
        return "" if minor is None else str(money.in_major(minor, invoice.currency))

    for line in paper.lines:
        what = [line.position, line.what, line.component, line.kind, line.plan, line.version, line.start.isoformat(), line.end.isoformat()]
        price = [f"{line.quantity.normalize():f}", line.unit, f"{line.unit_price.normalize():f}", line.share, major(line.amount)]
        place = line.corrects.position if line.corrects else ""
        more = [line.percent, line.inclusive, line.cluster_id, place, major(line.before), major(line.after)]
        yield [*head, *what, *price, *more]


def _text(told: object) -> object:
    return f"'{told}" if isinstance(told, str) and told.startswith(FORMULA) and not NUMBER.fullmatch(told) else told
