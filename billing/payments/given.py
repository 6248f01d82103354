"""What of an entry of a statement has been given away: to invoices, to payments that it takes back, to a balance that it pays out."""

from __future__ import annotations

from django.db.models import Sum

from billing.models import CreditEntry, Payment, StatementEntry

State, Reason = StatementEntry.State, StatementEntry.Reason


def held(entry_id: int) -> StatementEntry:
    """The entry, ours until commit. It is locked before the tenant's rows."""
    return StatementEntry.objects.select_for_update(of=("self",)).get(pk=entry_id)


def left_of(entry: StatementEntry) -> int:
    """What of an entry nobody has, in minor units: below nothing of money that left the account."""
    rows = (Payment.objects.across_tenants(), CreditEntry.objects.across_tenants())
    return entry.amount - sum(int(each.filter(entry=entry).aggregate(sum=Sum("amount"))["sum"] or 0) for each in rows)


def times_of(entry: StatementEntry) -> int:
    """How often something of it was given or taken back: counts up for ever."""
    return entry.payments.count() + entry.paid_out.count()


def settle(entry: StatementEntry, *, freed: bool = False) -> None:
    """Its state after something of it was given, or `freed`. The row is held."""
    if left_of(entry) == 0:
        StatementEntry.objects.filter(pk=entry.pk).update(state=State.MATCHED, reason=Reason.NONE)
    elif freed:
        StatementEntry.objects.filter(pk=entry.pk).update(state=State.UNMATCHED, reason=Reason.UNDONE)
