"""The ledger of payments: what came for an invoice is entered once, pays what is open and leaves the rest on the tenant's balance. What goes back, in part or
whole, is a counter-entry; what comes back after all is a line that names the counter-entry.

Each is one transaction under the locks of billing/locks.py, in which the invoice becomes paid or open. Nothing is ever below nothing: not the balance, nor what
is left of a payment, nor what an invoice has been paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils.translation import gettext as _

from billing import invoicing
from billing.concessions import balance_of
from billing.locks import lock
from billing.models import CreditEntry, Invoice, Payment, StatementEntry
from billing.owed import OWED, open_amount
from billing.payments import given
from billing.payments.received import Received
from tenants import audit
from tenants.errors import MalformedRequest, WrongState

State = Invoice.State


@dataclass(frozen=True)
class Left:
    """What is left of a payment after everything that went and came back; `credited`: what of it went to the balance, below nothing where credit notes gave
    back what it had paid, and that went too. Minor units."""

    amount: int
    credited: int


@transaction.atomic
def enter(invoice: Invoice, received: Received, *, now: datetime, actor: str, entry: StatementEntry | None = None) -> Payment:
    """What came for an invoice. The same reference of a provider is entered once: said again, it is that payment, also if it was undone (`bring_back` enters it
    anew). What is more than was open, also all that comes for a void one, goes to the balance. Raises: WrongState for a draft, a credit note and another currency."""
    held = _locked(invoice)
    before = _rows().filter(provider=received.provider, provider_reference=received.reference).first()
    if before is not None:
        return before
    check(held, received.currency)
    facts = {"provider": received.provider, "provider_reference": received.reference, "note": received.note[:300], "entry": entry}
    return _pay(held, received.amount, "enter", now=now, actor=actor, paid_at=received.at, **facts)


@transaction.atomic
def take_back(
    payment: Payment,
    amount: int,
    reference: str,
    *,
    now: datetime,
    actor: str,
    at: datetime,
    note: str = "",
    entry: StatementEntry | None = None,
) -> Payment:
    """So much of a payment went back to the payer: first what of it, or of the invoice's credit notes, is on the balance, the rest opens the invoice again. The
    same reference of a provider (the bank's, where it is an `entry`) is entered once: said again, it is that counter-entry.

    Raises: WrongState for more than is left of it, and where neither the balance nor the invoice has it any more; MalformedRequest for nothing.
    """
    held = _locked(payment.invoice)
    provider = Payment.Provider.BANK if entry is not None else payment.provider
    before = _rows().filter(provider=provider, provider_reference=reference).first()
    if before is not None:
        if before.undoes_id != payment.pk:
            raise WrongState(_("the reference is of another payment"))
        return before
    if amount <= 0:
        raise MalformedRequest({"amount": _("more than nothing")})
    facts = {"provider": provider, "provider_reference": reference, "note": note[:300], "entry": entry}
    return _counter(held, payment, amount, "take_back", now=now, actor=actor, paid_at=at, **facts)


@transaction.atomic
def undo(payment: Payment, *, now: datetime, actor: str, reason: str) -> Payment:
    """It was wrong: a counter-entry takes back all that is left of it, by the rule of `take_back`, and the entry of a statement waits for another invoice. Returns
    the counter-entry; said again it is that one. Raises: WrongState for a counter-entry, and where the balance no longer has what went to it."""
    entry = given.held(payment.entry_id) if payment.entry_id else None  # before the invoice, as assigning does
    held = _locked(payment.invoice)
    if payment.undoes_id is not None:
        raise WrongState(_("a counter-entry is not undone: bring the payment back, or assign the money again"))
    left = left_of(payment)
    if not left.amount and (last := _rows().filter(undoes=payment).first()) is not None:
        return last
    number = Payment.objects.of(payment.tenant_id).filter(undoes=payment).count()
    facts = {
        "provider": payment.provider,
        "provider_reference": f"undo:{payment.pk}" + (f"#{number + 1}" if number else ""),
        "entry": entry,
    }
    counter = _counter(held, payment, left.amount, "undo", now=now, actor=actor, paid_at=payment.paid_at, note=reason[:300], **facts)
    if entry is not None:
        given.settle(entry, freed=True)
    return counter


@transaction.atomic
def bring_back(counter: Payment, *, now: datetime, actor: str, reason: str, at: datetime | None = None) -> Payment:
    """What a counter-entry took has not gone, or has come back: it pays what is open now, the rest goes to the balance. Said again it is a no-op. Raises: WrongState
    for what is no counter-entry, and where the money of its statement's entry was given away since."""
    entry = given.held(counter.entry_id) if counter.entry_id else None
    held = _locked(counter.invoice)
    if counter.amount > 0:
        raise WrongState(_("only what was taken back comes back"))
    if (before := _rows().filter(undoes=counter).first()) is not None:
        return before
    if entry is not None and entry.amount > 0 and given.left_of(entry) < -counter.amount:
        raise WrongState(_("the money of the entry was assigned since"))
    facts = {
        "provider": counter.provider,
        "provider_reference": f"back:{counter.pk}",
        "note": reason[:300],
        "entry": entry,
        "undoes": counter,
    }
    payment = _pay(held, -counter.amount, "bring_back", now=now, actor=actor, paid_at=at or now, **facts)
    if entry is not None:
        given.settle(entry, freed=True)
    return payment


def counter_of(payment: Payment) -> Payment:
    """The one counter-entry that `bring_back` would be meant for: itself, or the only one of a payment that stands. Raises: WrongState."""
    if payment.amount < 0:
        return payment
    standing = list(_rows().filter(undoes=payment, counters=None)[:2])
    if len(standing) != 1:
        raise WrongState(_("name the counter-entry: nothing of the payment was taken back, or several times"))
    return standing[0]


def left_of(payment: Payment) -> Left:
    """Of a payment, not of a counter-entry."""
    of_it = Q(pk=payment.pk) | Q(undoes=payment) | Q(undoes__undoes=payment)
    sums = Payment.objects.of(payment.tenant_id).filter(of_it).aggregate(amount=Sum("amount"), credited=Sum("credited"))
    return Left(int(sums["amount"] or 0), int(sums["credited"] or 0))


def check(invoice: Invoice, currency: str) -> None:
    """Whether money can come for it at all. Raises: WrongState."""
    if invoice.kind != Invoice.Kind.INVOICE or invoice.state == State.DRAFT:
        raise WrongState(_("only finalised invoices are paid"))
    if invoice.currency != currency:
        raise WrongState(_("the invoice is in %(currency)s") % {"currency": invoice.currency})


def _pay(held: Invoice, amount: int, verb: str, *, now: datetime, actor: str, **facts: Any) -> Payment:
    """Money that is there now: what is open, then the balance."""
    opened = open_amount(held)
    payment = _line(held, amount, amount - min(amount, opened), verb, now=now, actor=actor, **facts)
    if held.state in OWED and amount >= opened:
        invoicing.mark_paid(held, now=now, actor=actor, how=str(payment)[:200])
    return payment


def _counter(held: Invoice, payment: Payment, amount: int, verb: str, *, now: datetime, actor: str, **facts: Any) -> Payment:
    """Money that is gone: from the balance what came there by the payment or by credit notes of its invoice, then from what the payment has paid."""
    left = left_of(payment)
    if payment.undoes_id is not None or amount > left.amount:
        raise WrongState(_("that is more than is left of the payment"))
    credited = min(amount, balance_of(held.tenant, held.currency), max(left.credited, 0) + _given_by_credit_notes(held))
    if amount - credited > left.amount - left.credited:
        raise WrongState(_("the balance would be below nothing"))
    counter = _line(held, -amount, -credited, verb, now=now, actor=actor, undoes=payment, **facts)
    if held.state == State.PAID and amount > credited:
        invoicing.reopen(held, now=now, actor=actor, how=str(counter)[:200])
    return counter


def _given_by_credit_notes(held: Invoice) -> int:
    """What credit notes of the invoice brought to the balance, less what payments took of that already."""
    brought = int(held.credit_notes.exclude(state=State.DRAFT).aggregate(sum=Sum("carried"))["sum"] or 0)
    if not brought:
        return 0
    payments = Payment.objects.of(held.tenant_id).filter(invoice=held, undoes=None)
    return brought + sum(min(left_of(each).credited, 0) for each in payments)


def _line(held: Invoice, amount: int, credited: int, verb: str, *, now: datetime, actor: str, **facts: Any) -> Payment:
    """A line of the ledger, with what it moves on the tenant's balance."""
    line = Payment.objects.create(
        tenant=held.tenant,
        invoice=held,
        amount=amount,
        credited=credited,
        currency=held.currency,
        recorded_at=now,
        recorded_by=actor,
        **facts,
    )
    if credited:
        CreditEntry.objects.create(
            tenant=held.tenant, currency=held.currency, amount=credited, at=now, reason=f"{held}: {line}"[:200], actor=actor,
            reference=f"payment:{line.pk}",
        )  # fmt: skip
    told = {"amount": amount, "credited": credited, "currency": held.currency, "provider": line.provider, "reason": line.note}
    audit.record(f"payment.{verb}", actor=actor, tenant=held.tenant, target=held.name, now=now, reference=line.provider_reference, **told)
    return line


def _rows() -> QuerySet[Payment, Payment]:
    return Payment.objects.across_tenants().select_related("invoice", "tenant")


def _locked(invoice: Invoice) -> Invoice:
    lock(invoice.subscription)
    return Invoice.objects.across_tenants().select_related("tenant", "subscription").get(pk=invoice.pk)
