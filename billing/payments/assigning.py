"""Money of a statement's entry given to invoices, by the matcher or by an operator; money that left the account given to what it takes back or pays out."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet, Sum
from django.utils.translation import gettext as _

from billing import accounts
from billing.concessions import balance_of
from billing.models import BillingAccount, CreditEntry, Invoice, Payment, StatementEntry
from billing.payments import bank, given, ledger
from tenants import audit
from tenants.errors import MalformedRequest, WrongState
from tenants.models import Tenant

State = StatementEntry.State


@transaction.atomic
def assign(entry: StatementEntry, invoice: Invoice, *, now: datetime, actor: str, amount: int | None = None) -> Payment:
    """All that is left of an entry, or so many minor units of it, is a payment of the invoice. Raises: WrongState for what left the account, is assigned
    already, or is in another currency; MalformedRequest for more than is left."""
    held = given.held(entry.pk)
    if held.amount <= 0:
        raise WrongState(_("only money that came is assigned to an invoice"))
    part = _part(held, amount)
    payment = ledger.enter(invoice, bank.received(held, part, given.times_of(held)), now=now, actor=actor, entry=held)
    given.settle(held)
    return payment


@transaction.atomic
def take_back(entry: StatementEntry, payment: Payment, *, now: datetime, actor: str, amount: int | None = None) -> Payment:
    """All that is left of an entry that left the account, or so many minor units of it, is money of that payment that went back. Returns the counter-entry.
    Raises: WrongState for money that came, is assigned already, is in another currency, or more than is left of the payment; MalformedRequest."""
    held = _gone(entry, payment.currency)
    told = bank.received(held, _part(held, amount), given.times_of(held))
    counter = ledger.take_back(payment, told.amount, told.reference, now=now, actor=actor, at=told.at, note=told.note, entry=held)
    given.settle(held)
    return counter


@transaction.atomic
def pay_out(entry: StatementEntry, tenant: Tenant, *, now: datetime, actor: str, amount: int | None = None) -> CreditEntry:
    """All that is left of an entry that left the account, or so many minor units of it, was paid out of the tenant's balance. Raises: NoBillingAccount; WrongState
    for money that came, is assigned already, or more than the balance has; MalformedRequest."""
    held = _gone(entry)
    accounts.account_of(tenant)
    BillingAccount.objects.of(tenant).select_for_update(of=("self",)).get()
    part = _part(held, amount)
    if part > balance_of(tenant, held.currency):
        raise WrongState(_("the balance would be below nothing"))
    return _move(held, tenant, -part, "pay_out", f"{held}"[:200], now=now, actor=actor)


@transaction.atomic
def release(entry: StatementEntry, *, now: datetime, actor: str, reason: str) -> StatementEntry:
    """It was assigned wrongly: its payments are undone, what it took back comes back, what it paid out is on the balance again, and it waits. Said again it is
    a no-op. Raises: WrongState where a balance no longer has what a payment brought to it."""
    held = given.held(entry.pk)
    mine = Payment.objects.across_tenants().filter(entry=held).select_related("invoice__subscription", "tenant").order_by("pk")
    for payment in mine.filter(undoes=None):
        if ledger.left_of(payment).amount:
            ledger.undo(payment, now=now, actor=actor, reason=reason)
    if held.amount < 0:
        for counter in mine.filter(amount__lt=0, counters=None):
            ledger.bring_back(counter, now=now, actor=actor, reason=reason)
    paid_out = CreditEntry.objects.across_tenants().filter(entry=held).values_list("tenant").annotate(sum=Sum("amount")).exclude(sum=0)
    for tenant_id, amount in paid_out.order_by("tenant"):
        tenant = Tenant.objects.get(pk=tenant_id)
        BillingAccount.objects.of(tenant).select_for_update(of=("self",)).get()
        _move(held, tenant, -amount, "pay_out_undo", reason[:200], now=now, actor=actor)
    held.refresh_from_db()
    return held


def undo(payment: Payment, *, now: datetime, actor: str, reason: str) -> Payment:
    """Take it back by a counter-entry; the money is on the list of unmatched entries again. Raises: WrongState."""
    return ledger.undo(payment, now=now, actor=actor, reason=reason)


def unmatched() -> QuerySet[StatementEntry, StatementEntry]:
    """What somebody has to look at: money that nobody has, and what was set aside."""
    return StatementEntry.objects.filter(state__in=[State.WAITING, State.UNMATCHED, State.ASIDE])


def _gone(entry: StatementEntry, currency: str = "") -> StatementEntry:
    """The entry of money that left the account, held. Raises: WrongState."""
    held = given.held(entry.pk)
    if held.amount >= 0:
        raise WrongState(_("only money that left the account takes something back or pays it out"))
    if currency and currency != held.currency:
        raise WrongState(_("the payment is in %(currency)s") % {"currency": currency})
    return held


def _part(held: StatementEntry, amount: int | None) -> int:
    """Minor units, more than nothing. Raises: WrongState, MalformedRequest."""
    left = abs(given.left_of(held))
    if not left:
        raise WrongState(_("the entry is assigned already"))
    part = left if amount is None else amount
    if not 0 < part <= left:
        raise MalformedRequest({"amount": _("more than nothing, and at most what is left of the entry")})
    return part


def _move(held: StatementEntry, tenant: Tenant, amount: int, verb: str, reason: str, *, now: datetime, actor: str) -> CreditEntry:
    """A line on the balance that belongs to the entry. The account is held."""
    reference = f"entry:{held.pk}#{given.times_of(held) + 1}"
    row = CreditEntry.objects.create(
        tenant=tenant, currency=held.currency, amount=amount, at=now, reason=reason, actor=actor, reference=reference, entry=held
    )
    told = {"amount": amount, "currency": held.currency, "entry": str(held), "reason": reason}
    audit.record(f"balance.{verb}", actor=actor, tenant=tenant, target=tenant.account, now=now, **told)
    given.settle(held, freed=amount > 0)
    return row
