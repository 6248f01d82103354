"""Bank transfer, the provider that is always there: the payer is told an account and a reference, and a statement tells what came."""

from __future__ import annotations

from datetime import UTC, datetime, time

from django.conf import settings

from billing.corrections import open_amount
from billing.models import Invoice, Payment, StatementEntry
from billing.payments.received import Asked, Received
from billing.payments.references import reference_of


def ask(invoice: Invoice, *, now: datetime, actor: str) -> Asked:  # noqa: ARG001 - every provider's signature
    """How to pay what is open. Raises: WrongState for a draft and a credit note."""
    reference = reference_of(invoice)
    account = settings.BANK_ACCOUNTS[0] if settings.BANK_ACCOUNTS else invoice.seller.get("bank", "")
    return Asked(Payment.Provider.BANK, open_amount(invoice), invoice.currency, reference, account)


def received(entry: StatementEntry, amount: int, times: int) -> Received:
    """What an entry brought, or a part of it. `times`: how many payments it has had; one that was undone may be assigned anew."""
    reference = f"{entry.account}/{entry.bank_reference}" + (f"#{times + 1}" if times else "")
    at = datetime.combine(entry.value_date, time(12), UTC)
    note = " ".join(part for part in (entry.counterparty, entry.text) if part)
    return Received(Payment.Provider.BANK, reference, amount, entry.currency, at, note)
