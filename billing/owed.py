"""What of an invoice has been paid."""

from __future__ import annotations

from django.db.models import F, Sum

from billing.models import Invoice, Payment


def paid_of(invoice: Invoice) -> int:
    """What payments have paid of it, less what was undone and what was too much, in minor units."""
    return int(Payment.objects.of(invoice.tenant_id).filter(invoice=invoice).aggregate(sum=Sum(F("amount") - F("credited")))["sum"] or 0)
