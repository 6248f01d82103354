"""What was billed wrongly: a finalised period is rated again by the terms that its invoice keeps, and what is less now is credited.

A credit note names each line that it corrects, with what the line came to before and what it comes to now; invoice and credit notes together are the new
reckoning to the cent, tax too. A correction that comes to more is told and never charged afterwards: nobody pays later for what we counted too low.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from billing import invoicing
from billing.locks import lock
from billing.models import Correction, Invoice, InvoiceLine
from billing.owed import open_amount
from billing.papers import foot, line_rows
from billing.rating import frozen
from billing.rating.cycles import Range
from billing.reckoning import foot_of, lines_of
from placement.models import Stay
from tenants import audit
from tenants.errors import MalformedRequest, WrongState

State, Kind = Invoice.State, Invoice.Kind
Key = tuple[Any, ...]
MEANWHILE = timedelta(hours=1)  # what was said while an invoice was made, or by a process whose clock is behind, is not in it for certain


@dataclass(frozen=True)
class Corrected:
    """What rating a period again came to. `credit_note` None: nothing to credit. `difference`: minor units, tax in it; more than nothing was billed too low."""

    invoice: Invoice
    credit_note: Invoice | None
    difference: int


def correct(invoice: Invoice, *, reason: str, now: datetime, actor: str) -> Corrected:
    """Count and rate its period again, credit what is less. Said again it is a no-op. Raises: WrongState, MalformedRequest; EvidenceLost, NotRateable."""
    return _correct(invoice, reason=reason, now=now, actor=actor, whole=False)


def credit_whole(invoice: Invoice, *, reason: str, now: datetime, actor: str) -> Corrected:
    """Credit all that is left of it. Raises: WrongState, MalformedRequest."""
    return _correct(invoice, reason=reason, now=now, actor=actor, whole=True)


def touched(period: Range) -> list[Invoice]:
    """The finalised invoices of a period that may not tell what metering knows by now: time of their tenants was corrected since, or a correction taken back."""
    found: set[int] = set()
    invoices = (
        Invoice.objects.across_tenants().filter(period_start=period.start, kind=Kind.INVOICE).exclude(state__in=[State.DRAFT, State.VOID])
    )
    for made in Correction.objects.across_tenants().filter(since__lt=period.end, until__gt=period.start).select_related("retraction"):
        lived = Stay.objects.across_tenants().filter(cluster=made.cluster_id, since__lt=made.until).exclude(until__lte=made.since)
        whose = Q(tenant=made.tenant_id) if made.tenant_id else Q(tenant__in=lived.values("tenant"))
        known = max(made.made_at, made.retraction.made_at) if hasattr(made, "retraction") else made.made_at
        found |= set(invoices.filter(whose, issued_at__lt=known + MEANWHILE).values_list("pk", flat=True))
    return list(invoices.filter(pk__in=found).select_related("tenant").order_by("pk"))


@transaction.atomic
def _correct(invoice: Invoice, *, reason: str, now: datetime, actor: str, whole: bool) -> Corrected:
    if not reason.strip():
        raise MalformedRequest({"reason": _("a correction needs a reason")})
    lock(invoice.subscription)
    held = Invoice.objects.across_tenants().select_related("tenant", "subscription").get(pk=invoice.pk)
    if held.kind != Kind.INVOICE or held.state in (State.DRAFT, State.VOID):
        raise WrongState(_("only finalised invoices are corrected"))
    period, treatment = Range(held.period_start, held.period_end), frozen.thaw_treatment(held.treatment)
    lines = () if whole else lines_of(held.tenant, frozen.thaw(held.terms), period)
    taxes = _less(foot(foot_of(lines, treatment))["taxes"], held)
    difference = sum(tax["net"] + tax["amount"] for tax in taxes)
    if difference > 0:
        audit.record("invoice.billed_too_low", actor=actor, tenant=held.tenant, target=held.name, now=now, amount=difference, reason=reason)
    if difference >= 0:
        return Corrected(held, None, difference)
    note = _note(held, taxes, reason.strip()[:300], now)
    note.save(force_insert=True)
    rows = _changes(held, line_rows(lines, treatment))
    for position, row in enumerate(rows, start=1):
        row.invoice, row.position = note, position
    InvoiceLine.objects.bulk_create(rows)
    issued = invoicing.issue(note, now=now, actor=actor)
    if held.state in (State.FINALISED, State.UNCOLLECTIBLE) and open_amount(held) == 0:
        invoicing.mark_paid(held, now=now, actor=actor, how=issued.name)
    return Corrected(held, issued, difference)


def _less(now: Iterable[dict[str, Any]], held: Invoice) -> list[dict[str, Any]]:
    """By rate, what the new reckoning differs from the invoice and its credit notes."""
    net: Counter[tuple[str, bool]] = Counter()
    amount: Counter[tuple[str, bool]] = Counter()
    before = [tax for document in (held, *held.credit_notes.all()) for tax in document.taxes]
    for sign, tax in [*((1, tax) for tax in now), *((-1, tax) for tax in before)]:
        key = tax["percent"], tax["inclusive"]
        net[key] += sign * tax["net"]
        amount[key] += sign * tax["amount"]
    rates = sorted(net, key=lambda key: (Decimal(key[0]), key[1]), reverse=True)
    return [{"percent": key[0], "inclusive": key[1], "net": net[key], "amount": amount[key]} for key in rates if net[key] or amount[key]]


def _note(held: Invoice, taxes: list[dict[str, Any]], reason: str, now: datetime) -> Invoice:
    """Not stored. It is taken off what is open; what is more goes to the balance."""
    net, tax = (sum(each[name] for each in taxes) for name in ("net", "amount"))
    set_off = min(-(net + tax), open_amount(held))
    copied = ("tenant", "subscription", "period_start", "period_end", "currency", "language", "buyer", "treatment", "terms")
    sums = {"net": net, "tax": tax, "gross": net + tax, "set_off": set_off, "carried": -(net + tax) - set_off}
    facts = {name: getattr(held, name) for name in copied}
    return Invoice(kind=Kind.CREDIT_NOTE, corrects=held, reason=reason, taxes=taxes, made_at=now, **facts, **sums)


def _changes(held: Invoice, fresh: Sequence[InvoiceLine]) -> list[InvoiceLine]:
    """A row for each line that differs from what the invoice and its credit notes say of it, also of a line that a credit note brought."""
    stored, told = _keyed(held.lines.order_by("position")), _Told(held)
    by_key = _keyed(fresh)
    rows = []
    for key in dict.fromkeys([*stored, *by_key, *told.shown]):
        row, old = by_key.get(key), stored.get(key)
        before = (old.amount if old else 0) + told.amounts[key]
        after = row.amount if row else 0
        if before == after:
            continue
        shown = _copy(row or old or told.shown[key])
        shown.quantity = (row.quantity if row else Decimal(0)) - (old.quantity if old else Decimal(0)) - told.quantities[key]
        shown.corrects, shown.before, shown.after, shown.amount = old, before, after, after - before
        rows.append(shown)
    return rows


class _Told:
    """What an invoice's credit notes have changed so far, by line: amounts and quantities together; `shown`: the lines that are not on the invoice."""

    def __init__(self, held: Invoice) -> None:
        self.amounts: Counter[Key] = Counter()
        self.quantities: defaultdict[Key, Decimal] = defaultdict(Decimal)
        self.shown: dict[Key, InvoiceLine] = {}
        keys = {row.pk: key for key, row in _keyed(held.lines.order_by("position")).items()}
        for note in held.credit_notes.exclude(state=State.DRAFT):
            rows = list(note.lines.order_by("position"))
            brought = _keyed(row for row in rows if row.corrects_id is None)
            self.shown |= brought
            for key, row in [*brought.items(), *((keys[row.corrects_id], row) for row in rows if row.corrects_id is not None)]:
                self.amounts[key] += row.amount
                self.quantities[key] += row.quantity


def _keyed(rows: Iterable[InvoiceLine]) -> dict[Key, InvoiceLine]:
    """Lines by what makes two the same one, rated twice; of several that are alike (tiers of one price) the first is the first."""
    found: dict[Key, InvoiceLine] = {}
    alike: Counter[Key] = Counter()
    for row in rows:
        key = _key(row)
        found[*key, alike[key]] = row
        alike[key] += 1
    return found


def _copy(row: InvoiceLine) -> InvoiceLine:
    names = [field.attname for field in InvoiceLine._meta.concrete_fields if field.attname not in ("id", "invoice_id")]
    return InvoiceLine(**{name: getattr(row, name) for name in names})


def _key(row: InvoiceLine) -> Key:
    return (
        row.what,
        row.component,
        row.kind,
        row.phase,
        row.start,
        row.end,
        row.due,
        row.unit_price if row.what != "coupon" else None,
        row.cluster_id,
    )
