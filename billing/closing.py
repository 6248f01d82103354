"""The close of a month: every subscription that was in force in it gets its invoice, or a reason why not.

Workers take subscriptions one by one, each in a transaction of its own that ends with its invoice numbered and its outcome written: killed, the month goes on where
it stopped; run twice at once, the workers share what is left. What could not be billed is tried again by the next close.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from math import inf

import django
import structlog
from django.db import transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Exists, OuterRef, Q, QuerySet

from billing import invoicing
from billing.errors import BillingError, NoSeller
from billing.invoicing import check_over
from billing.locks import lock_balance
from billing.metering import coverage
from billing.models import ClosedPeriod, Invoice, Subscription, SubscriptionPhase
from billing.numbering import seller
from billing.rating.cycles import Range
from placement import alerts
from placement.models import Alert
from tenants.errors import TenantError

log = structlog.get_logger(__name__)
Outcome = ClosedPeriod.Outcome


@dataclass(frozen=True)
class Refused:
    """Why a tenant's month could not be billed. `code`: the error's name, such as NoPriceInCurrency."""

    account: str
    code: str
    detail: str


@dataclass(frozen=True)
class Unwatched:
    """A cluster whose online time nobody knows for so many seconds of the month, in so many gaps: nothing of it is billed."""

    cluster_id: str
    seconds: int
    gaps: int


@dataclass(frozen=True)
class Report:
    """A month after its close. `totals`: what was invoiced, in minor units by currency; of a dry run, what would be."""

    period: Range
    invoiced: int
    nothing: int
    refused: tuple[Refused, ...]
    unwatched: tuple[Unwatched, ...]
    totals: dict[str, int]


def close(period: Range, *, now: datetime, actor: str, workers: int = 1) -> Report:
    """Bill a month that is over. Several workers are processes of their own. Raises: WrongState while it is not over; NoSeller."""
    check_over(period, now)
    seller()
    if workers > 1:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=django.setup) as pool:
            for each in [pool.submit(work, period, now, actor) for _ in range(workers)]:
                each.result()
    else:
        work(period, now, actor)
    tell_operators(period, now=now)
    return report(period)


def tell_operators(period: Range, *, now: datetime) -> None:
    """An alert while somebody's month could not be billed; over when everybody's is."""
    subject = f"{period.start:%Y-%m}"
    rows = ClosedPeriod.objects.filter(period_start=period.start, outcome=Outcome.REFUSED).order_by("subscription")
    refused = list(rows.values_list("subscription__tenant__account", "code"))
    if refused:
        facts = {"tenants": len(refused), "first": refused[0][0], **Counter(code for _account, code in refused)}
        alerts.raise_(Alert.Kind.NOT_BILLED, subject, facts=facts, now=now)
    else:
        alerts.over(Alert.Kind.NOT_BILLED, subject, now=now)


def work(period: Range, now: datetime, actor: str, *, seconds: float = inf) -> bool:
    """One worker, for up to so many seconds: first what nobody else has in hand, then, waiting for it, what others had and did not bill. Returns whether
    nothing is left that this close (all that is said to be at `now`) has not done."""
    deadline = time.monotonic() + seconds
    for skip in (True, False):
        last = 0
        while (taken := _one(period, last, now, actor, skip=skip)) is not None:
            last = taken
            if time.monotonic() > deadline:
                return False
    return True


def dry_run(period: Range, *, now: datetime) -> Report:
    """What the close would come to, as things stand. Nothing is written."""
    counts, totals, refused = Counter[str](), Counter[str](), []
    done = set(_done(period, now).exclude(outcome=Outcome.REFUSED).values_list("subscription", flat=True))
    for subscription in of_period(period).select_related("tenant").order_by("id").iterator(chunk_size=500):
        try:
            paper = invoicing.preview(subscription.tenant, period, now)
        except (TenantError, BillingError) as error:
            refused.append(Refused(subscription.tenant.account, type(error).__name__, str(error)))
            continue
        if paper and paper.invoice.pk is None and subscription.pk in done:
            paper = None  # its invoice was void: no close makes another one
        counts["invoiced" if paper else "nothing"] += 1
        if paper:
            totals[paper.invoice.currency] += paper.invoice.gross
    return Report(period, counts["invoiced"], counts["nothing"], tuple(refused), unwatched(period), dict(sorted(totals.items())))


def report(period: Range) -> Report:
    """What is known of a month's close by now."""
    rows = ClosedPeriod.objects.filter(period_start=period.start)
    counts = Counter(rows.values_list("outcome", flat=True))
    refused = rows.filter(outcome=Outcome.REFUSED).order_by("subscription").values_list("subscription__tenant__account", "code", "detail")
    totals = Counter[str]()
    invoices = Invoice.objects.across_tenants().filter(period_start=period.start, kind=Invoice.Kind.INVOICE)
    for currency, gross in invoices.exclude(state__in=[Invoice.State.DRAFT, Invoice.State.VOID]).values_list("currency", "gross"):
        totals[currency] += gross
    told = tuple(Refused(*row) for row in refused)
    return Report(period, counts[Outcome.INVOICED], counts[Outcome.NOTHING], told, unwatched(period), dict(sorted(totals.items())))


def unwatched(period: Range) -> tuple[Unwatched, ...]:
    """Clusters that were polled in the period, but not all the time between their first and last poll in it."""
    found = []
    for each in coverage.watched(period.start, period.end):
        gaps = coverage.gaps(each.cluster_id, period.start, period.end)
        seconds = sum(int((began - ended).total_seconds()) for ended, began in gaps)
        if seconds:
            found.append(Unwatched(each.cluster_id, seconds, len(gaps)))
    return tuple(found)


def of_period(period: Range) -> QuerySet[Subscription, Subscription]:
    """The subscriptions that were in force in it."""
    touching = SubscriptionPhase.objects.filter(subscription=OuterRef("pk"), during__overlap=DateTimeTZRange(period.start, period.end))
    return Subscription.objects.across_tenants().filter(Exists(touching))


@transaction.atomic
def _one(period: Range, last: int, now: datetime, actor: str, *, skip: bool) -> int | None:
    """The next subscription after `last` that this close has not done: its id, or None."""
    done = _done(period, now).filter(subscription=OuterRef("pk"))
    waiting = of_period(period).filter(~Exists(done), pk__gt=last).select_related("tenant").order_by("pk")
    subscription = waiting.select_for_update(of=("self",), skip_locked=skip).first()
    if subscription is None:
        return None
    if not _done(period, now).filter(subscription=subscription).exists():  # whoever waited for the row may find that it is done
        outcome, code, detail = _bill(subscription, period, now, actor)
        row = ClosedPeriod(subscription=subscription, period_start=period.start, outcome=outcome, code=code, detail=detail[:300], at=now)
        facts, key = ["outcome", "code", "detail", "at"], ["subscription", "period_start"]
        ClosedPeriod.objects.bulk_create([row], update_conflicts=True, unique_fields=key, update_fields=facts)
    return subscription.pk


def _done(period: Range, now: datetime) -> QuerySet[ClosedPeriod, ClosedPeriod]:
    """What this close need not look at: what is billed, and what it refused itself."""
    return ClosedPeriod.objects.filter(period_start=period.start).exclude(~Q(at=now), outcome=Outcome.REFUSED)


def _bill(subscription: Subscription, period: Range, now: datetime, actor: str) -> tuple[str, str, str]:
    try:
        with transaction.atomic():
            made = _finalised(subscription, period, now, actor)
    except NoSeller:
        raise
    except (TenantError, BillingError) as error:
        log.warning("not_billed", tenant=subscription.tenant.account, period=f"{period.start:%Y-%m}", error=type(error).__name__)
        return Outcome.REFUSED, type(error).__name__, str(error)
    return (Outcome.INVOICED, "", made.name) if made else (Outcome.NOTHING, "", "")


def _finalised(subscription: Subscription, period: Range, now: datetime, actor: str) -> Invoice | None:
    kinds = {"kind": Invoice.Kind.INVOICE, "period_start": period.start}
    stored = Invoice.objects.across_tenants().filter(subscription=subscription, **kinds)
    if (issued := stored.exclude(state__in=[Invoice.State.DRAFT, Invoice.State.VOID]).first()) is not None:
        return issued  # finalised by hand
    lock_balance(subscription)
    made = invoicing.renew(subscription, period, now=now)
    return invoicing.issue(made, now=now, actor=actor) if made else None
