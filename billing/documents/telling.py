"""What an invoice says, in its own language: labels, lines in words, money and dates as people write them. Plain texts for whoever sets them."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from babel.dates import format_date
from babel.numbers import format_currency, format_decimal
from django.utils import translation
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.models import Invoice, InvoiceLine
from billing.papers import Paper
from billing.payments.references import printed
from billing.rating import money

LOCALES = {"en": "en_GB", "zh-hans": "zh_Hans_CN"}


def tell(paper: Paper) -> dict[str, Any]:
    """Everything that stands on it, in the language of its customer."""
    invoice = paper.invoice
    with translation.override(invoice.language):
        return {
            "language": "zh" if invoice.language == "zh-hans" else "en",
            "title": _title(invoice),
            "name": invoice.name,
            "labels": _labels(),
            "seller": _party(invoice.seller),
            "buyer": _party(invoice.buyer),
            "facts": _facts(invoice),
            "lines": [row(line, invoice) for line in paper.lines],
            "sums": _sums(invoice),
            "notes": _notes(invoice),
            "bank": invoice.seller.get("bank", "") if _asked(invoice) else "",
        }


def amount(minor: int, invoice: Invoice) -> str:
    """Minor units as the invoice's language writes them."""
    return format_currency(money.in_major(minor, invoice.currency), invoice.currency, locale=LOCALES[invoice.language])


def words(line: InvoiceLine) -> str:
    """What a line is for, in the language in force."""
    names = {"plan": line.plan, "component": line.component, "cluster": line.cluster_id}
    said = {
        "flat": _("Fee “%(component)s”, plan %(plan)s") % names,
        "dedicated_cluster": _("Dedicated cluster %(cluster)s, plan %(plan)s") % names,
        "active_device": _("Active devices, plan %(plan)s") % names,
        "device_hours": _("Hours of devices online, plan %(plan)s") % names,
        "": _("Discount “%(component)s”") % names,
    }[line.kind]
    return _("%(what)s: time that did not come") % {"what": said} if line.what == "credit" else said


def _asked(invoice: Invoice) -> int:
    """What it asks for, whatever has come since: nothing where it is void."""
    return 0 if invoice.state == Invoice.State.VOID else invoice.payable


def _title(invoice: Invoice) -> str:
    if invoice.kind == Invoice.Kind.CREDIT_NOTE:
        return _("Credit note")
    return _("Invoice") if invoice.name else _("Preview of an invoice")


def _labels() -> dict[str, str]:
    return {
        "to": _("To"),
        "what": _("Description"),
        "period": _("Period"),
        "quantity": _("Quantity"),
        "price": _("Unit price"),
        "amount": _("Amount"),
        "bank": _("Bank"),
        "page": _("Page"),
    }


def _party(told: dict[str, Any]) -> list[str]:
    if not told:
        return []
    number = [_("Tax id: %(number)s") % {"number": told["tax_id"]}] if told.get("tax_id") else []
    return [told["name"], *told["address"].splitlines(), told["country"], *number]


def _facts(invoice: Invoice) -> list[list[str]]:
    facts = [
        (_("Number"), invoice.name),
        (_("Issued"), _day(invoice.issued_at, invoice)),
        (_("Period"), f"{_day(invoice.period_start, invoice)} – {_day(invoice.period_end - timedelta(seconds=1), invoice)}"),
        (_("Due"), _day(invoice.due_at, invoice) if _asked(invoice) else ""),
        (_("Payment reference"), printed(invoice) if _asked(invoice) else ""),
        (_("Corrects"), invoice.corrects.name if invoice.corrects else ""),
        (_("Account"), invoice.buyer["account"]),
    ]
    return [[str(label), value] for label, value in facts if value]


def row(line: InvoiceLine, invoice: Invoice) -> dict[str, str]:
    """A line's texts, in the language in force; numbers as in that of the invoice."""
    told = {
        "what": words(line),
        "period": f"{_day(line.start, invoice)} – {_day(line.end - timedelta(seconds=1), invoice)}",
        "quantity": _quantity(line, invoice),
        "price": "" if line.what == "coupon" else _price(line.unit_price, invoice),
        "amount": amount(line.amount, invoice),
        "note": "",
    }
    if line.before is not None and line.after is not None:
        place = line.corrects.position if line.corrects else "-"
        told["note"] = _("line %(position)s of the invoice: %(before)s, now %(after)s") % {
            "position": place,
            "before": amount(line.before, invoice),
            "after": amount(line.after, invoice),
        }
    elif (share := Fraction(line.share)) != 1:
        told["note"] = _("%(percent)s of the full price") % {
            "percent": _percent(Decimal(share.numerator * 100) / share.denominator, invoice)
        }
    return told


def _quantity(line: InvoiceLine, invoice: Invoice) -> str:
    number = format_decimal(line.quantity, format="#,##0.######", locale=LOCALES[invoice.language])
    count = abs(int(line.quantity))
    units = {
        "device": ngettext("%(number)s device", "%(number)s devices", count),
        "hour": _("%(number)s h"),
        "percent": _("%(number)s %%"),
        "cluster": ngettext("%(number)s cluster", "%(number)s clusters", count),
        "month": ngettext("%(number)s month", "%(number)s months", count),
        "year": ngettext("%(number)s year", "%(number)s years", count),
        "coupon": "%(number)s",
    }
    return units[line.unit] % {"number": number}


def _sums(invoice: Invoice) -> list[list[str]]:
    rows = [(_("Net"), invoice.net)]
    for tax in invoice.taxes:
        label = _("Tax %(percent)s, in the prices") if tax["inclusive"] else _("Tax %(percent)s")
        rows.append((label % {"percent": _percent(Decimal(tax["percent"]), invoice)}, tax["amount"]))
    rows.append((_("Total"), invoice.gross))
    for label, minor in (
        (_("Paid from your balance"), -invoice.spent),
        (_("Put on your balance"), invoice.carried),
        (_("Taken off the invoice"), invoice.set_off),
    ):
        if minor:
            rows.append((label, minor))
    if invoice.kind == Invoice.Kind.INVOICE:
        rows.append((_("To be paid"), _asked(invoice)))
    return [[str(capfirst(label)), amount(minor, invoice)] for label, minor in rows]


def _notes(invoice: Invoice) -> list[str]:
    notes = []
    if invoice.treatment.get("kind") == "reverse_charge":
        notes.append(_("Reverse charge: the customer is liable for the tax."))
    if invoice.treatment.get("kind") == "exempt":
        notes.append(_("Exempt from tax."))
    if invoice.reason:
        notes.append(_("Reason: %(reason)s") % {"reason": invoice.reason})
    if invoice.state == Invoice.State.VOID:
        notes.append(_("This invoice is void: it was never owed."))
    if _asked(invoice) and invoice.name:
        told = {"amount": amount(invoice.payable, invoice), "day": _day(invoice.due_at, invoice), "number": invoice.name}
        notes.append(_("Please transfer %(amount)s by %(day)s and name %(number)s.") % told)
    return notes


def _day(moment: datetime | None, invoice: Invoice) -> str:
    return format_date(moment.date(), format="medium", locale=LOCALES[invoice.language]) if moment else ""


def _price(price: Decimal, invoice: Invoice) -> str:
    """A unit price has as many places as it needs, and the currency's at least."""
    places = max(money.digits(invoice.currency), -int(price.normalize().as_tuple().exponent))
    return format_currency(round(price, places), invoice.currency, locale=LOCALES[invoice.language], decimal_quantization=False)


def _percent(number: Decimal, invoice: Invoice) -> str:
    return format_decimal(round(number, 2).normalize(), format="#,##0.##", locale=LOCALES[invoice.language]) + " %"
