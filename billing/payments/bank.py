"""Bank transfer, the provider that is always there: the payer is told an account and a reference, and a statement tells what came."""

from __future__ import annotations

from datetime import UTC, datetime, time

from django.conf import settings

from billing.models import Invoice, Payment, StatementEntry
from billing.owed import open_amount
from billing.payments.received import Asked, Received
from billing.payments.references import reference_of


def ask(invoice: Invoice, *, now: datetime, actor: str) -> Asked:  # noqa: ARG001 - every provider's signature
    """How to pay what is open. Raises: WrongState for a draft and a credit note."""
    reference = reference_of(invoice)
    account = settings.BANK_ACCOUNTS[0] if settings.BANK_ACCOUNTS else invoice.seller.get("bank", "")
    return Asked(Payment.Provider.BANK, open_amount(invoice), invoice.currency, reference, account)


def received(entry: StatementEntry, amount: int, times: int) -> Received:
    """What an entry brought or took, or a part of it. `times`: how often something of it was given or taken back; each time has a reference of its own, which no
    other entry's may look like."""
    reference = f"entry:{entry.pk}#{times + 1}" if times else f"{entry.account}/{entry.bank_reference}"
    at = datetime.combine(entry.value_date, time(12), UTC)
    note = " ".join(part for part in (entry.counterparty, entry.text) if part)
    return Received(Payment.Provider.BANK, reference, amount, entry.currency, at, note)
