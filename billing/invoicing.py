"""Invoices: previewed at any time, drafted as often as wanted, finalised once, then paid, void or uncollectible.

All of it is made of what billing/reckoning.py reckons, so that a preview is the invoice to the cent when nothing changes. Whoever writes locks the subscription,
then the billing account that orders the tenant's balance, and last the series that gives the number: each finalisation waits there for the one before it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from billing import dunning, numbering
from billing.concessions import balance_of
from billing.errors import UnknownInvoice
from billing.locks import lock
from billing.models import CreditEntry, Invoice, InvoiceLine, Subscription
from billing.notices import writing
from billing.owed import paid_of
from billing.papers import Paper, drafted, paper_of
from billing.payments.references import give
from billing.rating.cycles import Range
from billing.reckoning import reckon
from tenants import audit, clocks
from tenants.errors import WrongState
from tenants.models import Tenant

SETTLES = timedelta(minutes=5)  # what a month's last polls may take to be taken in
State, Kind = Invoice.State, Invoice.Kind


def preview(tenant: Tenant, period: Range, now: datetime) -> Paper | None:
    """The invoice as it would be drafted now; the stored one where the period is finalised; None where there is nothing to bill. Nothing is written.

    Raises: what billing/reckoning.py's `reckon` does.
    """
    stored = (
        Invoice.objects.of(tenant).filter(period_start=period.start, kind=Kind.INVOICE).exclude(state__in=[State.DRAFT, State.VOID]).first()
    )
    if stored is not None:
        return paper_of(stored)
    reckoned = reckon(tenant, period)
    if reckoned is None or not reckoned.lines:
        return None
    return drafted(Subscription.objects.of(tenant).get(), reckoned, now)


@transaction.atomic
def draft(subscription: Subscription, period: Range, *, now: datetime) -> Invoice | None:
    """The draft of a period, made anew; None where there is nothing to bill. Raises: WrongState when the period is finalised; what `reckon` does."""
    lock(subscription)
    return renew(subscription, period, now=now)


@transaction.atomic
def finalise(invoice: Invoice, *, now: datetime, actor: str) -> Invoice:
    """Make the draft anew, give it its number, settle the balance: one commit. Said again it is a no-op.

    Raises: WrongState while the period is not over, or when nothing is left to bill; NoSeller; what `reckon` does.
    """
    subscription = Subscription.objects.across_tenants().get(pk=invoice.subscription_id)
    lock(subscription)
    held = Invoice.objects.across_tenants().get(pk=invoice.pk)
    if held.state != State.DRAFT:
        return held
    check_over(Range(held.period_start, held.period_end), now)
    made = renew(subscription, Range(held.period_start, held.period_end), now=now)
    if made is None:
        raise WrongState(_("there is nothing to bill in this period"))
    return issue(made, now=now, actor=actor)


def issue(made: Invoice, *, now: datetime, actor: str) -> Invoice:
    """A draft that was made in this transaction, under the locks of billing/locks.py, becomes a document. Raises: NoSeller."""
    seller = numbering.seller(of=made.corrects)
    _enter(made, made.carried - made.spent, f"invoice:{made.pk}", now=now, actor=actor)
    number = numbering.take(seller, made.kind, now.astimezone(UTC).year)
    facts = {"seller": seller.told, "issued_at": now, "due_at": now + timedelta(days=settings.INVOICE_DAYS), **number.columns}
    _become(made, State.FINALISED, State.DRAFT, **facts)
    told = {"amount": made.gross, "currency": made.currency, "period": f"{made.period_start:%Y-%m}"}
    audit.record(f"{made.kind}.finalise", actor=actor, tenant=made.tenant, target=number.name, now=now, **told)
    writing.issued(made, now=now)
    if made.payable:
        give(made)
    else:
        _become(made, State.PAID, State.FINALISED, settled_at=now)
    return made


@transaction.atomic
def void(invoice: Invoice, *, now: datetime, actor: str, reason: str = "") -> Invoice:
    """It was never owed: what the balance gave is given back, and what dunning did for it taken back. Its period can be drafted anew. Raises: WrongState unless
    it is open and without credit notes, or where the balance no longer has what the invoice brought to it."""
    held = _locked(invoice)
    if held.kind != Kind.INVOICE or held.credit_notes.exists():
        raise WrongState(_("it has credit notes, or is one"))
    if paid_of(held):
        raise WrongState(_("something has been paid of it: credit it, or undo the payments"))
    _enter(held, held.spent - held.carried, f"void:{held.pk}", now=now, actor=actor)
    _become(held, State.VOID, State.FINALISED, settled_at=now)
    audit.record("invoice.void", actor=actor, tenant=held.tenant, target=held.name, now=now, reason=reason)
    writing.void(held, now=now)
    dunning.settle(held.tenant, now=now, actor=actor)
    return held


@transaction.atomic
def mark_uncollectible(invoice: Invoice, *, now: datetime, actor: str, reason: str = "") -> Invoice:
    """Nobody expects it to be paid any more; it may be, all the same. Raises: WrongState unless it is open."""
    held = _locked(invoice)
    _become(held, State.UNCOLLECTIBLE, State.FINALISED)
    audit.record("invoice.mark_uncollectible", actor=actor, tenant=held.tenant, target=held.name, now=now, reason=reason)
    return held


@transaction.atomic
def mark_paid(invoice: Invoice, *, now: datetime, actor: str, how: str = "") -> Invoice:
    """All of it has been paid or credited; whoever keeps that says so. What dunning did for it is taken back. Raises: WrongState unless it is open or uncollectible."""
    held = _locked(invoice)
    _become(held, State.PAID, State.FINALISED, State.UNCOLLECTIBLE, settled_at=now)
    audit.record("invoice.mark_paid", actor=actor, tenant=held.tenant, target=held.name, now=now, how=how)
    dunning.settle(held.tenant, now=now, actor=actor)
    return held


@transaction.atomic
def reopen(invoice: Invoice, *, now: datetime, actor: str, how: str = "") -> Invoice:
    """It is not paid after all: money went back. Raises: WrongState unless it is paid."""
    held = _locked(invoice)
    _become(held, State.FINALISED, State.PAID, settled_at=None)
    audit.record("invoice.reopen", actor=actor, tenant=held.tenant, target=held.name, now=now, how=how)
    return held


@transaction.atomic
def discard(invoice: Invoice, *, now: datetime, actor: str) -> None:
    """A draft that is not wanted. Raises: WrongState for anything else."""
    held = _locked(invoice)
    if held.state != State.DRAFT:
        raise WrongState(_("only drafts are discarded"))
    audit.record("invoice.discard", actor=actor, tenant=held.tenant, target=str(held), now=now)
    held.delete()


def by_name(name: str, *, of: Tenant | None = None) -> Invoice:
    """By its number, such as INV-2026-000001. Raises: UnknownInvoice."""
    rows = Invoice.objects.of(of) if of else Invoice.objects.across_tenants()
    found = rows.select_related("tenant", "corrects").filter(name=name).first() if name else None
    if found is None:
        raise UnknownInvoice(_("no invoice has this number"))
    return found


def check_over(period: Range, now: datetime) -> None:
    """By the database's clock too: a host whose clock has stepped ahead bills nobody before his time. Raises: WrongState."""
    if clocks.not_ahead(now) < period.end + SETTLES:
        raise WrongState(_("the period is not over yet"))


def renew(subscription: Subscription, period: Range, *, now: datetime) -> Invoice | None:
    """`draft` for those who hold the locks of billing/locks.py."""
    held = Invoice.objects.across_tenants().filter(subscription=subscription, period_start=period.start, kind=Kind.INVOICE)
    before = held.exclude(state=State.VOID).first()
    if before is not None and before.state != State.DRAFT:
        raise WrongState(_("the period has its invoice: %(number)s") % {"number": before.name})
    reckoned = reckon(subscription.tenant, period)
    if reckoned is None or not reckoned.lines:
        if before is not None:
            before.delete()
        return None
    made = drafted(subscription, reckoned, now)
    if before is not None:
        InvoiceLine.objects.filter(invoice=before).delete()
        made.invoice.pk = before.pk
    made.invoice.save(force_insert=before is None, force_update=before is not None)
    InvoiceLine.objects.bulk_create(made.lines)
    return made.invoice


def _locked(invoice: Invoice) -> Invoice:
    lock(invoice.subscription)
    return Invoice.objects.across_tenants().select_related("tenant").get(pk=invoice.pk)


def _become(invoice: Invoice, state: str, *seen: str, **facts: Any) -> None:
    """Raises: WrongState."""
    if Invoice.objects.across_tenants().filter(pk=invoice.pk, state__in=seen).update(state=state, **facts) != 1:
        raise WrongState(_("an invoice that is “%(state)s” does not become that") % {"state": invoice.get_state_display()})
    for name, value in {"state": state, **facts}.items():
        setattr(invoice, name, value)


def _enter(invoice: Invoice, amount: int, reference: str, *, now: datetime, actor: str) -> None:
    """What an invoice gives to the tenant's balance, or takes. Raises: WrongState when the balance would be below nothing."""
    if amount == 0:
        return
    if amount < 0 and balance_of(invoice.tenant, invoice.currency) + amount < 0:
        raise WrongState(_("the balance would be below nothing"))
    entry = {"tenant": invoice.tenant, "currency": invoice.currency, "amount": amount, "at": now, "actor": actor, "reference": reference}
    CreditEntry.objects.create(reason=str(invoice), **entry)
