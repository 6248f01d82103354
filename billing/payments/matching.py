"""Which invoices an entry pays: those whose references it bears; else the one whose number it bears, if that very amount is open. Everything else is left to people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import transaction

from billing.models import Invoice, StatementEntry
from billing.owed import open_amount
from billing.payments import assigning
from billing.payments.references import found_in
from tenants.errors import TenantError

log = structlog.get_logger(__name__)
ACTOR = "system:payments"
NUMBER = re.compile(r"(?<![0-9A-Z-])((?:[A-Z0-9]{1,8}-)?[A-Z0-9]{1,8}-[0-9]{4}-[0-9]{6,10})(?![0-9A-Z-])")
State, Reason = StatementEntry.State, StatementEntry.Reason
PAYABLE = (Invoice.State.FINALISED, Invoice.State.UNCOLLECTIBLE)


@dataclass(frozen=True)
class Match:
    """Parts of an entry for invoices, or why there are none."""

    parts: tuple[tuple[Invoice, int], ...] = ()
    reason: str = ""


def match_waiting(*, now: datetime, actor: str = ACTOR) -> int:
    """Every entry that waits, each in a transaction of its own. Returns how many were matched."""
    waiting = StatementEntry.objects.filter(state=State.WAITING).order_by("value_date", "id")
    return sum(_try(pk, now=now, actor=actor) for pk in list(waiting.values_list("pk", flat=True)))


def _try(entry_id: int, *, now: datetime, actor: str) -> bool:
    """One that cannot be entered right now keeps nobody else's from it."""
    try:
        return match(entry_id, now=now, actor=actor)
    except TenantError as error:
        log.warning("not_matched", entry=entry_id, error=f"{type(error).__name__}: {error}")
        return False


@transaction.atomic
def match(entry_id: int, *, now: datetime, actor: str) -> bool:
    """Whether it was matched now. An entry that somebody else has in hand, or that waits no more, is left alone."""
    rows = StatementEntry.objects.select_for_update(of=("self",), skip_locked=True)
    entry = rows.filter(pk=entry_id, state=State.WAITING).first()
    if entry is None:
        return False
    found = judge(entry)
    for invoice, part in found.parts:
        assigning.assign(entry, invoice, amount=part, now=now, actor=actor)
    if not found.parts:
        StatementEntry.objects.filter(pk=entry.pk).update(state=State.UNMATCHED, reason=found.reason)
    return bool(found.parts)


def judge(entry: StatementEntry) -> Match:
    """What its text says, nothing written."""
    if references := found_in(entry.text):
        rows = Invoice.objects.across_tenants().filter(payment_reference__reference__in=references)
        return _by_reference(entry, list(rows.select_related("subscription", "tenant").order_by("due_at", "pk")))
    numbers = NUMBER.findall(entry.text.upper())
    if not numbers:
        return Match(reason=Reason.NO_HINT)
    rows = Invoice.objects.across_tenants().filter(name__in=numbers, kind=Invoice.Kind.INVOICE)
    return _by_number(entry, list(rows.select_related("subscription", "tenant")))


def _by_reference(entry: StatementEntry, named: list[Invoice]) -> Match:
    """One may be paid in part or too much, also when it is paid already; several only to their very sum."""
    if not named:
        return Match(reason=Reason.UNKNOWN)
    if any(invoice.currency != entry.currency for invoice in named):
        return Match(reason=Reason.CURRENCY)
    if len(named) == 1:
        return Match(((named[0], entry.amount),))
    parts = tuple((invoice, open_amount(invoice)) for invoice in named)
    if sum(part for _, part in parts) != entry.amount or not all(part for _, part in parts):
        return Match(reason=Reason.SEVERAL)
    return Match(parts)


def _by_number(entry: StatementEntry, named: list[Invoice]) -> Match:
    """A number is easily mistyped for another one: the amount has to bear it out."""
    if not named:
        return Match(reason=Reason.UNKNOWN)
    if len(named) > 1:
        return Match(reason=Reason.SEVERAL)
    invoice = named[0]
    if invoice.currency != entry.currency:
        return Match(reason=Reason.CURRENCY)
    if invoice.state not in PAYABLE:
        return Match(reason=Reason.NOT_OPEN)
    return Match(((invoice, entry.amount),)) if open_amount(invoice) == entry.amount else Match(reason=Reason.AMOUNT)
