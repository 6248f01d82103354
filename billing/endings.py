"""A subscription ends with its tenant and comes back with it: the time in between is cut out of what was agreed.

Reopened, a tenant is on the version that was agreed for that moment, mostly the one it was on; a trial that would have been over is over, and one that would
not goes on to its old end. acs/wiring.py hangs these verbs on those of tenants/lifecycle.py, which call them in their transaction.
"""

from __future__ import annotations

from datetime import datetime

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Q

from billing.models import KeptPhase, Subscription
from billing.settling import follow
from tenants import audit
from tenants.models import Tenant

COPIED = ("version", "currency", "trial_until", "anchor")


def hold(tenant: Tenant) -> None:
    """The subscription's row before the tenant's, as everybody takes them: two who wait for each other would both fail."""
    _locked(tenant)


def close(tenant: Tenant, now: datetime, actor: str) -> None:
    """What is agreed from now on is kept aside. Of what is paid for and does not come the close of the month gives credit."""
    subscription = _locked(tenant)
    if subscription is None:
        return
    coming = list(subscription.phases.filter(Q(during__endswith=None) | Q(during__endswith__gt=now)).select_related("version"))
    for phase in coming:
        begins = max(phase.during.lower, now)
        copied = {name: getattr(phase, name) for name in COPIED}
        KeptPhase.objects.create(subscription=subscription, during=DateTimeTZRange(begins, phase.during.upper), **copied)
        if begins > phase.during.lower:
            phase.during = DateTimeTZRange(phase.during.lower, now)
            phase.save(update_fields=["during"])
        else:
            phase.delete()
    if coming:
        audit.record("subscription.end", actor=actor, tenant=tenant, target=tenant.account, now=now, reason="closed")
    follow(subscription, now=now, actor=actor)


def reopen(tenant: Tenant, now: datetime, actor: str) -> None:
    """What was kept goes on from now, without what was agreed for the time in between."""
    subscription = _locked(tenant)
    if subscription is None:
        return
    kept = list(subscription.kept_phases.select_related("version"))
    for phase in kept:
        if phase.during.upper is None or phase.during.upper > now:
            copied = {name: getattr(phase, name) for name in COPIED}
            subscription.phases.create(during=DateTimeTZRange(max(phase.during.lower, now), phase.during.upper), **copied)
    subscription.kept_phases.all().delete()
    if kept:
        audit.record("subscription.resume", actor=actor, tenant=tenant, target=tenant.account, now=now)
    follow(subscription, now=now, actor=actor)


def _locked(tenant: Tenant) -> Subscription | None:
    return Subscription.objects.of(tenant).select_for_update(of=("self",)).first()
