"""Subscriptions: started, moved to another version (up at once, down when what is paid for ends), cancelled, undone, ended, settled.

Phases say what is agreed for when. Plan and quota of the tenant follow in the same transaction where that is now, and by billing/settling.py where it comes later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from django.db import transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.utils.translation import gettext as _

from billing import accounts, catalogue
from billing.errors import NoSubscription
from billing.models import PlanVersion, Subscription, SubscriptionPhase
from billing.phases import phase_at
from billing.rating.cycles import Interval, cycle_of
from billing.rating.terms import USAGE
from billing.settling import follow
from tenants import audit
from tenants.errors import WrongState
from tenants.models import Tenant

When = Literal["now", "period_end"]


@dataclass(frozen=True)
class Change:
    """What was agreed: the version (None: nothing any more) and from when on."""

    version: PlanVersion | None
    at: datetime


@transaction.atomic
def start(tenant: Tenant, version: PlanVersion, *, now: datetime, actor: str, trial: bool = True) -> Subscription:
    """The tenant is on this version from now on, in the currency of its billing account; its first subscription begins with the version's trial.

    Raises: WrongState when it has one in force, is closed, the version is not published, or the month has a phase in another currency, for no invoice is in two;
    NoBillingAccount, NoPriceInCurrency.
    """
    account = accounts.account_of(tenant)
    check_sellable(version, account.currency)
    subscription, is_first = Subscription.objects.across_tenants().get_or_create(tenant=tenant, defaults={"started_at": now})
    subscription = Subscription.objects.across_tenants().select_for_update(of=("self",)).get(pk=subscription.pk)
    if Tenant.objects.select_for_update(of=("self",), no_key=True).get(pk=tenant.pk).state == Tenant.State.CLOSED:
        raise WrongState(_("the tenant is closed"))
    if subscription.phases.filter(during__endswith=None).exists() or subscription.phases.filter(during__endswith__gt=now).exists():
        raise WrongState(_("the tenant has a subscription: change its plan"))
    month = cycle_of(Interval.MONTH, now, now)
    if subscription.phases.filter(during__endswith__gt=month.start).exclude(currency=account.currency).exists():
        raise WrongState(_("this month is billed in another currency: start it when the next one has begun"))
    days = version.trial_days if trial and is_first else 0
    subscription.phases.create(
        version=version,
        currency=account.currency,
        during=DateTimeTZRange(now, None),
        trial_until=now + timedelta(days=days) if days else None,
        anchor=now,
    )
    audit.record("subscription.start", actor=actor, tenant=tenant, target=tenant.account, now=now, version=str(version), trial_days=days)
    return follow(subscription, now=now, actor=actor)


@transaction.atomic
def change_plan(tenant: Tenant, version: PlanVersion, *, now: datetime, actor: str, when: When | None = None) -> Change:
    """Another version instead: at once if it costs more, else when what is paid for ends; `when` decides otherwise. A scheduled change is replaced.

    Raises: NoSubscription; WrongState for the version that it is on, or one that is not published; NoPriceInCurrency.
    """
    subscription, current = _in_force(tenant, now)
    check_sellable(version, current.currency)
    if version.pk == current.version_id:
        raise WrongState(_("the tenant is on this version"))
    _unschedule(subscription, current, now)
    at = now if (when or _usual(current, version)) == "now" else _paid_until(current, now)
    trial_until = current.trial_until if current.trial_until and current.trial_until > at else None
    _cut(current, at)
    subscription.phases.create(
        version=version, currency=current.currency, during=DateTimeTZRange(at, None), trial_until=trial_until, anchor=current.anchor
    )
    audit.record(
        "subscription.change_plan",
        actor=actor,
        tenant=tenant,
        target=tenant.account,
        now=now,
        before=str(current.version),
        after=str(version),
        at=at.isoformat(),
    )
    follow(subscription, now=now, actor=actor)
    return Change(version, at)


@transaction.atomic
def cancel(tenant: Tenant, *, now: datetime, actor: str) -> Change:
    """The subscription ends when what is paid for does, a trial with itself. No new keys from then on. Raises: NoSubscription; WrongState when it ends
    already."""
    subscription, current = _in_force(tenant, now)
    later = subscription.phases.filter(during__startswith__gt=now)
    if current.during.upper is not None and not later.exists():
        raise WrongState(_("the subscription ends already"))
    _unschedule(subscription, current, now)
    at = _paid_until(current, now)
    _cut(current, at)
    audit.record("subscription.cancel", actor=actor, tenant=tenant, target=tenant.account, now=now, at=at.isoformat())
    follow(subscription, now=now, actor=actor)
    return Change(None, at)


@transaction.atomic
def undo(tenant: Tenant, *, now: datetime, actor: str) -> Change:
    """What was scheduled does not come: the version in force goes on. Raises: NoSubscription; WrongState when nothing is scheduled."""
    subscription, current = _in_force(tenant, now)
    if current.during.upper is None:
        raise WrongState(_("nothing is scheduled"))
    _unschedule(subscription, current, now)
    audit.record("subscription.undo", actor=actor, tenant=tenant, target=tenant.account, now=now)
    follow(subscription, now=now, actor=actor)
    return Change(current.version, now)


@transaction.atomic
def end(tenant: Tenant, *, now: datetime, actor: str, reason: str = "") -> Change:
    """At once: what is paid for and does not come is credited. Raises: NoSubscription."""
    subscription, current = _in_force(tenant, now)
    _unschedule(subscription, current, now)
    _cut(current, now)
    audit.record("subscription.end", actor=actor, tenant=tenant, target=tenant.account, now=now, reason=reason)
    follow(subscription, now=now, actor=actor)
    return Change(None, now)


def check_sellable(version: PlanVersion, currency: str) -> None:
    """Raises: WrongState for a draft; NoPriceInCurrency."""
    if version.published_at is None:
        raise WrongState(_("the version is not published"))
    catalogue.terms_of(version, currency)


def _in_force(tenant: Tenant, now: datetime) -> tuple[Subscription, SubscriptionPhase]:
    """Both rows, ours until commit. Raises: NoSubscription."""
    subscription = Subscription.objects.of(tenant).select_for_update(of=("self",)).first()
    current = phase_at(tenant, now)
    if subscription is None or current is None:
        raise NoSubscription(_("the tenant has no subscription in force"))
    return subscription, current


def _unschedule(subscription: Subscription, current: SubscriptionPhase, now: datetime) -> None:
    subscription.phases.filter(during__startswith__gt=now).delete()
    _cut(current, None)


def _cut(phase: SubscriptionPhase, at: datetime | None) -> None:
    """The phase ends then; None: it goes on. One that would be empty never was."""
    if at is not None and at <= phase.during.lower:
        phase.delete()
        return
    phase.during = DateTimeTZRange(phase.during.lower, at)
    phase.save(update_fields=["during"])


def _usual(current: SubscriptionPhase, version: PlanVersion) -> When:
    """Up at once, down later. From years to months of the same plan is down: a year's discount is for a year."""
    before, after = _monthly(current.version, current.currency), _monthly(version, current.currency)
    shorter = current.version.interval == Interval.YEAR and version.interval == Interval.MONTH
    if before == after or (shorter and current.version.plan_id == version.plan_id):
        return "now" if not shorter and version.max_devices >= current.version.max_devices else "period_end"
    return "now" if after > before else "period_end"


def _monthly(version: PlanVersion, currency: str) -> Decimal:
    """What its fees come to in a month, without usage."""
    terms = catalogue.terms_of(version, currency)
    fees = sum((each.unit_price for each in terms.components if each.kind not in USAGE), Decimal(0))
    return fees / 12 if terms.interval == Interval.YEAR else fees


def _paid_until(phase: SubscriptionPhase, now: datetime) -> datetime:
    if phase.trial_until and phase.trial_until > now:
        return phase.trial_until
    return cycle_of(Interval(phase.version.interval), phase.anchor, now).end
