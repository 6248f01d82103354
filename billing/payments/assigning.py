"""Money of a statement's entry given to invoices: by the matcher, or by an operator for what it left."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet, Sum
from django.utils.translation import gettext as _

from billing.models import Invoice, Payment, StatementEntry
from billing.payments import bank, ledger
from tenants.errors import MalformedRequest, WrongState

State, Reason = StatementEntry.State, StatementEntry.Reason


@transaction.atomic
def assign(entry: StatementEntry, invoice: Invoice, *, now: datetime, actor: str, amount: int | None = None) -> Payment:
    """All that is left of an entry, or so many minor units of it, is a payment of the invoice. Raises: WrongState for what left the account, is assigned
    already, or is in another currency; MalformedRequest for more than is left."""
    held = StatementEntry.objects.select_for_update(of=("self",)).get(pk=entry.pk)
    if held.amount <= 0:
        raise WrongState(_("only money that came is assigned"))
    left = left_of(held)
    if left <= 0:
        raise WrongState(_("the entry is assigned already"))
    part = left if amount is None else amount
    if not 0 < part <= left:
        raise MalformedRequest({"amount": _("more than nothing, and at most what is left of the entry")})
    payment = ledger.enter(invoice, bank.received(held, part, held.payments.count()), now=now, actor=actor, entry=held)
    if part == left:
        StatementEntry.objects.filter(pk=held.pk).update(state=State.MATCHED, reason=Reason.NONE)
    return payment


def undo(payment: Payment, *, now: datetime, actor: str, reason: str) -> Payment:
    """Take it back by a counter-entry; the money is on the list of unmatched entries again. Raises: WrongState."""
    return ledger.undo(payment, now=now, actor=actor, reason=reason)


def left_of(entry: StatementEntry) -> int:
    """What of an entry no invoice has, in minor units."""
    return entry.amount - int(Payment.objects.across_tenants().filter(entry=entry).aggregate(sum=Sum("amount"))["sum"] or 0)


def unmatched() -> QuerySet[StatementEntry, StatementEntry]:
    """What somebody has to look at: money that came and that no invoice has, and what was set aside."""
    return StatementEntry.objects.filter(state__in=[State.WAITING, State.UNMATCHED, State.ASIDE])
