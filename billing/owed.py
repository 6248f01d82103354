"""What of an invoice has been paid, and what is open."""

from __future__ import annotations

from django.db.models import F, Sum

from billing.models import Invoice, Payment

OWED = (Invoice.State.FINALISED, Invoice.State.UNCOLLECTIBLE)  # the states in which something may be open


def paid_of(invoice: Invoice) -> int:
    """What payments have paid of it, less what was undone and what was too much, in minor units."""
    return int(Payment.objects.of(invoice.tenant_id).filter(invoice=invoice).aggregate(sum=Sum(F("amount") - F("credited")))["sum"] or 0)


def open_amount(invoice: Invoice) -> int:
    """What of an invoice its credit notes and payments have left to be paid, in minor units."""
    if invoice.state not in OWED:
        return 0
    set_off = int(invoice.credit_notes.exclude(state=Invoice.State.DRAFT).aggregate(sum=Sum("set_off"))["sum"] or 0)
    return invoice.payable - set_off - paid_of(invoice)
