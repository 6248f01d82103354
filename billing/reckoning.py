"""What a tenant owes for a month, from what was agreed and what was used: the one gathering behind previews, invoices and corrections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date
from decimal import Decimal

from django.utils.translation import gettext as _

from billing import accounts, concessions
from billing.errors import EvidenceLost, NoTaxRate, NotRateable
from billing.metering import usage
from billing.metering.errors import EvidenceGone
from billing.models import BillingAccount, Invoice, InvoiceLine
from billing.phases import phases_of
from billing.rating import rate, tax
from billing.rating.cycles import Range
from billing.rating.lines import Line
from billing.rating.terms import Phase
from billing.rating.totals import Totals, totals
from tenants.models import Tenant

MOST = 2**62  # minor units: what a payment may have, too


@dataclass(frozen=True)
class Reckoned:
    """A month of a tenant, priced. No lines: there is nothing to bill."""

    period: Range
    account: BillingAccount
    currency: str
    phases: tuple[Phase, ...]
    treatment: tax.Treatment
    lines: tuple[Line, ...]
    totals: Totals


def reckon(tenant: Tenant, period: Range) -> Reckoned | None:
    """As things stand: the same again when nothing changes. None where no phase of a subscription touches the period.

    Raises: NoBillingAccount, NoPriceInCurrency, NoTaxRate, EvidenceLost, NotRateable (two currencies within one month).
    """
    phases = phases_of(tenant, period)
    if not phases:
        return None
    currencies = sorted({phase.terms.currency for phase in phases})
    if len(currencies) > 1:
        raise NotRateable(_("two currencies within one month: %(currencies)s") % {"currencies": ", ".join(currencies)})
    account = accounts.account_of(tenant)
    lines = lines_of(tenant, phases, period)
    treatment = (
        replace(accounts.treatment_of(account), charged=_charged(tenant, lines, period)) if lines else tax.Treatment(tax.Kind.EXEMPT)
    )
    foot = foot_of(lines, treatment, balance=max(concessions.balance_of(tenant, currencies[0]), 0) if lines else 0)
    return Reckoned(period, account, currencies[0], phases, treatment, lines, foot)


def _charged(tenant: Tenant, lines: Sequence[Line], period: Range) -> tuple[tuple[date, Decimal], ...]:
    """At how many percent the fees were invoiced that credits take back, where that was in an earlier month (fees of a year)."""
    begun = sorted({line.begun for line in lines if line.begun is not None and line.begun < period.start})
    rows = InvoiceLine.objects.filter(
        invoice__in=Invoice.objects.of(tenant).filter(kind=Invoice.Kind.INVOICE), what="charge", due__in=begun
    )
    percents = (
        dict(rows.exclude(invoice__state__in=[Invoice.State.DRAFT, Invoice.State.VOID]).values_list("due", "percent")) if begun else {}
    )
    return tuple((due.astimezone(UTC).date(), percents[due]) for due in begun if due in percents)


def lines_of(tenant: Tenant, phases: Sequence[Phase], period: Range) -> tuple[Line, ...]:
    """The lines of those phases, with what was used counted anew. Raises: EvidenceLost, NotRateable."""
    try:
        used = {part: usage.used(tenant, part.start, part.end) for part in rate.ranges(phases, period)}
        return rate.rate(phases, used, period, phases[0].terms.currency)
    except EvidenceGone as error:
        raise EvidenceLost(str(error)) from error
    except (
        ValueError
    ) as error:  # NotRateable is one, and what terms say of themselves: one tenant's must not keep a month from being closed
        raise NotRateable(str(error)) from error


def foot_of(lines: Sequence[Line], treatment: tax.Treatment, *, balance: int = 0) -> Totals:
    """Raises: NoTaxRate; NotRateable for what no column holds."""
    try:
        found = totals(lines, treatment, balance=balance)
    except tax.NoTaxRate as error:
        raise NoTaxRate(str(error)) from error
    if max((abs(amount) for amount in (found.net, found.gross, *(line.amount for line in lines))), default=0) > MOST:
        raise NotRateable(_("it comes to more than can be written down: a price is wrong"))
    return found
