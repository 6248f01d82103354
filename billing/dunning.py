"""Who does not pay: past due, restricted (no new keys), suspended, closed, each after so many days that operators set, each by one verb.

A review goes one stage further at most, and never sooner after the last one than the days between them, so that a service that was down for a month takes
nobody's devices at once. Devices are not touched before suspension, and then by its grace. Whatever settles an invoice (a payment, a credit note, a void)
takes back at once what dunning did, and only that. A hold (billing/holds.py) keeps a tenant at the stage where it is. Of every stage, and of its end, the
customer is told by e-mail.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from billing import holds
from billing.locks import lock
from billing.models import DunningCase, Invoice, Payment, Subscription
from billing.notices import writing
from billing.owed import OWED, open_amount
from tenants import audit, lifecycle
from tenants.models import Tenant

ACTOR = "system:dunning"
Stage = DunningCase.Stage
STAGES = (Stage.PAST_DUE, Stage.RESTRICTED, Stage.SUSPENDED, Stage.CLOSED)


def due(*, now: datetime) -> list[str]:
    """The tenants to review: those with something overdue, and those whose case or hold may be over. Ids as texts."""
    overdue = Invoice.objects.across_tenants().filter(state__in=OWED, kind=Invoice.Kind.INVOICE, due_at__lt=now, payable__gt=0)
    cases = DunningCase.objects.across_tenants().values_list("tenant_id", flat=True)
    return sorted({str(each) for each in (*overdue.values_list("tenant_id", flat=True).distinct(), *cases, *holds.over(now=now))})


@transaction.atomic
def review(tenant: Tenant, *, now: datetime, actor: str = ACTOR) -> DunningCase | None:
    """Where the tenant stands now: one stage further where that is due, back where it has paid. None: nothing is overdue."""
    return _settled(tenant, now=now, actor=actor, further=True)


@transaction.atomic
def settle(tenant: Tenant, *, now: datetime, actor: str = ACTOR) -> DunningCase | None:
    """Something is owed no more: back as far as it reaches, never further."""
    return _settled(tenant, now=now, actor=actor, further=False)


def overdue_of(tenant: Tenant, *, now: datetime) -> Invoice | None:
    """The tenant's longest overdue invoice with something open."""
    return next(_overdue(tenant, now), None)


def all_overdue_of(tenant: Tenant, *, now: datetime) -> list[Invoice]:
    """All of them, the longest overdue first."""
    return list(_overdue(tenant, now))


def stage_due(invoice: Invoice, *, now: datetime) -> str:
    """The stage that an invoice, overdue for so long, comes to: since it was due, or since money of it went back after that."""
    went = Payment.objects.of(invoice.tenant_id).filter(invoice=invoice, amount__lt=0).aggregate(last=Max("recorded_at"))["last"]
    since = max(each for each in (invoice.due_at, went) if each)
    days = (now - since) / timedelta(days=1)
    return STAGES[sum(days >= each for each in settings.DUNNING_DAYS)]


def restrict(case: DunningCase, *, now: datetime, actor: str) -> None:
    """No new keys; devices go on."""
    if case.tenant.restricted_at is None and case.tenant.state != Tenant.State.CLOSED:
        lifecycle.restrict(case.tenant, now=now, actor=actor, reason=_why(case))


def suspend(case: DunningCase, *, now: datetime, actor: str) -> None:
    """Devices expire after the grace of a suspension. One that an operator suspended is left as it is."""
    if case.tenant.state == Tenant.State.ACTIVE:
        lifecycle.suspend(case.tenant, now=now, actor=actor, reason=_why(case))
        case.suspended_at = now


def close(case: DunningCase, *, now: datetime, actor: str) -> None:
    """Devices are deleted after the retention of a close."""
    if case.tenant.state != Tenant.State.CLOSED:
        lifecycle.close(case.tenant, now=now, actor=actor, reason=_why(case))
        case.closed_at = now


def release(case: DunningCase, stage: str, *, now: datetime, actor: str) -> None:
    """Back to a stage: what dunning itself did beyond it is taken back; not what an operator did, nor a close whose devices are deleted."""
    tenant, reason = case.tenant, "paid"
    if STAGES.index(Stage(stage)) < STAGES.index(Stage.SUSPENDED):
        if tenant.state == Tenant.State.CLOSED and tenant.closed_at == case.closed_at:
            if tenant.devices_delete_at is not None and tenant.devices_delete_at > now:
                lifecycle.reopen(tenant, now=now, actor=actor, reason=reason)
                if tenant.suspended_at not in (None, case.suspended_at):  # somebody else's suspension, from before the close
                    lifecycle.suspend(tenant, now=now, actor=actor, reason="as it was before it was closed")
        elif tenant.state == Tenant.State.SUSPENDED and tenant.suspended_at == case.suspended_at:
            lifecycle.resume(tenant, now=now, actor=actor, reason=reason)
        case.suspended_at = case.closed_at = None
    if stage == Stage.PAST_DUE and tenant.restricted_at is not None:
        lifecycle.lift(tenant, now=now, actor=actor, reason=reason)


VERBS = {Stage.RESTRICTED: restrict, Stage.SUSPENDED: suspend, Stage.CLOSED: close}


def _settled(tenant: Tenant, *, now: datetime, actor: str, further: bool) -> DunningCase | None:
    subscription = Subscription.objects.of(tenant).first()
    if subscription is None:
        return None
    lock(subscription)
    further = further and not holds.keeps(tenant, now=now)
    case = DunningCase.objects.of(tenant).first()
    if case is not None:  # what an operator does to it meanwhile waits, or is seen here
        case.tenant = Tenant.objects.select_related("plan").select_for_update(of=("self",)).get(pk=tenant.pk)
    overdue = overdue_of(tenant, now=now)
    if overdue is None:
        _over(case, now=now, actor=actor)
        return None
    if case is None:
        if not further:
            return None
        case = DunningCase.objects.create(tenant=tenant, invoice=overdue, opened_at=now, changed_at=now)
        audit.record("dunning.past_due", actor=actor, tenant=tenant, target=overdue.name, now=now)
        _tell(case, now=now)
    case.invoice = overdue
    at, wanted = STAGES.index(Stage(case.stage)), STAGES.index(Stage(stage_due(overdue, now=now)))
    if wanted < at and STAGES[wanted] != Stage.SUSPENDED:  # a close is taken back whole or not at all
        writing.lifted(case.tenant, before=case.stage, after=STAGES[wanted], now=now)
        release(case, STAGES[wanted], now=now, actor=actor)
        _move(case, STAGES[wanted], now=now, actor=actor)
    elif further and wanted > at and case.changed_at < now >= case.changed_at + _pause(at):
        VERBS[STAGES[at + 1]](case, now=now, actor=actor)
        _move(case, STAGES[at + 1], now=now, actor=actor)
        _tell(case, now=now)
    case.save()
    return case


def _over(case: DunningCase | None, *, now: datetime, actor: str) -> None:
    if case is not None:
        if case.stage != Stage.PAST_DUE:
            writing.lifted(case.tenant, before=case.stage, after="", now=now)
        release(case, Stage.PAST_DUE, now=now, actor=actor)
        audit.record("dunning.over", actor=actor, tenant=case.tenant, target=case.tenant.account, now=now, before=case.stage)
        case.delete()


def _move(case: DunningCase, stage: str, *, now: datetime, actor: str) -> None:
    audit.record(f"dunning.{stage}", actor=actor, tenant=case.tenant, target=case.invoice.name, now=now, before=case.stage)
    case.stage, case.changed_at = stage, now


def _tell(case: DunningCase, *, now: datetime) -> None:
    """By e-mail, with what comes next and when: not before the days between two stages, nor while a hold keeps it. Of a tenant that was closed already nothing
    more is taken, and nothing more is said."""
    at, closed = STAGES.index(Stage(case.stage)), case.tenant.state == Tenant.State.CLOSED
    if closed and at:
        return
    if closed or at >= len(settings.DUNNING_DAYS) or case.invoice.due_at is None:
        writing.stage(case, following="", following_at=None, now=now)
        return
    moments = (case.invoice.due_at + timedelta(days=settings.DUNNING_DAYS[at]), case.changed_at + _pause(at))
    writing.stage(case, following=STAGES[at + 1], following_at=max(moments), now=now)


def _overdue(tenant: Tenant, now: datetime) -> Iterator[Invoice]:
    rows = Invoice.objects.of(tenant).filter(state__in=OWED, kind=Invoice.Kind.INVOICE, due_at__lt=now, payable__gt=0)
    return (each for each in rows.order_by("due_at", "pk") if open_amount(each) > 0)


def _pause(at: int) -> timedelta:
    """From the stage to the next one; what is found to be past due goes further with the next review."""
    days = [0, *settings.DUNNING_DAYS]
    return timedelta(days=days[at + 1] - days[at]) if at else timedelta()


def _why(case: DunningCase) -> str:
    return f"{case.invoice.name} is overdue"
