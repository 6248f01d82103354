"""The ledger of payments: what came for an invoice is entered once, pays what is open and leaves the rest on the tenant's balance; undone by a counter-entry.

Each is one transaction under the locks of invoicing.lock, in which the invoice becomes paid and what dunning did is taken back.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from billing import dunning, invoicing
from billing.concessions import balance_of
from billing.corrections import open_amount
from billing.models import CreditEntry, Invoice, Payment, StatementEntry
from billing.payments.received import Received
from tenants import audit
from tenants.errors import WrongState

State = Invoice.State


@transaction.atomic
def enter(invoice: Invoice, received: Received, *, now: datetime, actor: str, entry: StatementEntry | None = None) -> Payment:
    """What came for an invoice. The same reference of a provider is entered once: said again, it is that payment. What is more than was open, also all that
    comes for a void one, goes to the balance. Raises: WrongState for a draft, a credit note and another currency."""
    held = _locked(invoice)
    rows = Payment.objects.across_tenants().select_related("invoice", "tenant")
    before = rows.filter(provider=received.provider, provider_reference=received.reference).first()
    if before is not None:
        return before
    check(held, received.currency)
    opened = open_amount(held)
    credited = received.amount - min(received.amount, opened)
    facts = {"provider": received.provider, "provider_reference": received.reference, "note": received.note[:300], "entry": entry}
    payment = Payment.objects.create(
        tenant=held.tenant, invoice=held, amount=received.amount, credited=credited, currency=held.currency, paid_at=received.at,
        recorded_at=now, recorded_by=actor, **facts,
    )  # fmt: skip
    _credit(payment, now=now, actor=actor)
    told = {"amount": payment.amount, "credited": credited, "currency": payment.currency, "provider": payment.provider}
    audit.record("payment.enter", actor=actor, tenant=held.tenant, target=held.name, now=now, reference=payment.provider_reference, **told)
    if held.state in (State.FINALISED, State.UNCOLLECTIBLE) and received.amount >= opened:
        invoicing.mark_paid(held, now=now, actor=actor, how=str(payment)[:200])
    dunning.settle(held.tenant, now=now, actor=actor)
    return payment


@transaction.atomic
def undo(payment: Payment, *, now: datetime, actor: str, reason: str) -> Payment:
    """It was wrong: a counter-entry takes it back, what went to the balance too, and the invoice is open again. Returns the counter-entry; said again it is
    that one. Raises: WrongState for a counter-entry, and where the balance no longer has what went to it."""
    if payment.entry_id is not None:  # before the invoice, as assigning does
        StatementEntry.objects.select_for_update(of=("self",)).get(pk=payment.entry_id)
    held = _locked(payment.invoice)
    seen = Payment.objects.across_tenants().select_related("undone_by", "entry").get(pk=payment.pk)
    if seen.undoes_id is not None:
        raise WrongState(_("a counter-entry is not undone: assign the money again"))
    if hasattr(seen, "undone_by"):
        return seen.undone_by
    if seen.credited > balance_of(held.tenant, seen.currency):
        raise WrongState(_("the balance would be below nothing"))
    counter = Payment.objects.create(
        tenant=held.tenant, invoice=held, provider=seen.provider, provider_reference=f"undo:{seen.pk}", entry=seen.entry, undoes=seen,
        amount=-seen.amount, credited=-seen.credited, currency=seen.currency, paid_at=seen.paid_at, recorded_at=now, recorded_by=actor,
        note=reason[:300],
    )  # fmt: skip
    _credit(counter, now=now, actor=actor)
    audit.record("payment.undo", actor=actor, tenant=held.tenant, target=held.name, now=now, amount=counter.amount, reason=reason)
    if seen.entry is not None:
        states, reasons = StatementEntry.State, StatementEntry.Reason
        StatementEntry.objects.filter(pk=seen.entry.pk).update(state=states.UNMATCHED, reason=reasons.UNDONE)
    if held.state == State.PAID and seen.amount > seen.credited:
        invoicing.reopen(held, now=now, actor=actor, how=str(seen)[:200])
    return counter


def check(invoice: Invoice, currency: str) -> None:
    """Whether money can come for it at all. Raises: WrongState."""
    if invoice.kind != Invoice.Kind.INVOICE or invoice.state == State.DRAFT:
        raise WrongState(_("only finalised invoices are paid"))
    if invoice.currency != currency:
        raise WrongState(_("the invoice is in %(currency)s") % {"currency": invoice.currency})


def _locked(invoice: Invoice) -> Invoice:
    invoicing.lock(invoice.subscription)
    return Invoice.objects.across_tenants().select_related("tenant", "subscription").get(pk=invoice.pk)


def _credit(payment: Payment, *, now: datetime, actor: str) -> None:
    """What a payment (or its counter-entry) moves on the tenant's balance."""
    if payment.credited:
        reason = f"{payment.invoice}: {payment}"[:200]
        CreditEntry.objects.create(
            tenant=payment.tenant, currency=payment.currency, amount=payment.credited, at=now, reason=reason, actor=actor,
            reference=f"payment:{payment.pk}",
        )  # fmt: skip
