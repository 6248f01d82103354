"""A month's books for tests."""

from __future__ import annotations

from typing import Any

from billing import concessions, corrections, invoicing
from billing.models import Invoice
from billing.payments import importing, ledger
from billing.payments.received import Received
from billing.payments.references import reference_of
from tests.billing.invoices.conftest import SELLER
from tests.billing.payments import paid


def six() -> list[Invoice]:
    """Six invoices over 34.51 EUR: open, paid, paid in part, paid too much and undone, credited, void."""
    made = [paid.invoice() for _ in range(6)]
    first, second = (str(reference_of(made[number])) for number in (1, 2))
    entries = [paid.entry("34.51", first, reference="B1"), paid.entry("10.00", second, reference="B2")]
    importing.from_camt(paid.camt(*entries, paid.entry("40.00", "for nobody", reference="B3")), **paid.DONE)
    much = ledger.enter(made[3], Received("stripe", "pi_1", 5000, "EUR", paid.NOW), **paid.DONE)
    ledger.undo(much, reason="the wrong invoice", **paid.DONE)
    corrections.credit_whole(made[4], reason="the wrong company", **paid.DONE)
    invoicing.void(made[5], **paid.DONE)
    concessions.credit(made[0].tenant, 500, reason="outage", **paid.DONE)
    return [paid.again(each) for each in made]


def ours(settings: Any) -> None:
    """Who sells, and evidence that is never too old."""
    settings.SELLER, settings.BANK_ACCOUNTS = SELLER, [paid.IBAN]
    settings.METERING_EVIDENCE_MONTHS = settings.METERING_DEVICE_DAY_MONTHS = 1200
