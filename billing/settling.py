"""Plan and quota of a tenant follow what was agreed: in the transaction of whoever changes that, and when a moment comes that was agreed on before."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from billing.models import Subscription, SubscriptionPhase
from billing.phases import entitlement_of, phase_at
from tenants import lifecycle, quota
from tenants.errors import WrongState
from tenants.models import Plan, Tenant

ACTOR = "system:billing"


def follow(subscription: Subscription, *, now: datetime, actor: str) -> Subscription:
    """Plan, quota and members as agreed for now. The subscription's row is locked by the caller. Without a phase in force the tenant keeps its plan,
    devices and members, and gets no new keys; a closed tenant is left alone."""
    tenant = Tenant.objects.select_related("plan").get(pk=subscription.tenant_id)
    if tenant.state != Tenant.State.CLOSED:
        phase, entitled = phase_at(tenant, now), entitlement_of(tenant, at=now)
        if phase and phase.version.plan_id != tenant.plan_id:
            lifecycle.change_plan(tenant, phase.version.plan, now=now, actor=actor)
        quota.set_limit(tenant.pk, entitled.quota if entitled else 0)
        if entitled:
            quota.set_members(tenant.pk, entitled.max_members)
    subscription.settle_at = _next_edge(subscription, now)
    subscription.save(update_fields=["settle_at"])
    return subscription


@transaction.atomic
def settle(subscription_id: int, *, now: datetime, actor: str = ACTOR) -> bool:
    """What was agreed for a moment that has come. False where somebody else did it already."""
    rows = Subscription.objects.across_tenants().filter(pk=subscription_id, settle_at__lte=now)
    subscription = rows.select_for_update(of=("self",)).first()
    if subscription is None:
        return False
    follow(subscription, now=now, actor=actor)
    return True


def due(*, now: datetime, most: int = 1000) -> list[int]:
    """The subscriptions that `settle` has to look at, longest due first."""
    rows = Subscription.objects.across_tenants().filter(settle_at__lte=now).order_by("settle_at", "id")
    return list(rows.values_list("pk", flat=True)[:most])


def check_plan(tenant: Tenant, plan: Plan, now: datetime) -> None:
    """Plans of subscribers change by their subscriptions alone. Raises: WrongState."""
    phase = phase_at(tenant, now)
    if phase and phase.version.plan_id != plan.pk:
        raise WrongState(_("the tenant has a subscription to another plan: change the subscription"))


def agreed(now: datetime) -> Q:
    """Of quotas: those of tenants with a phase in force, and of those whose subscription has ended, who get no new keys until somebody decides otherwise."""
    in_force = SubscriptionPhase.objects.filter(during__contains=now).values("subscription__tenant")
    return Q(tenant__in=in_force) | Q(limit=0, tenant__in=Subscription.objects.across_tenants().values("tenant"))


def _next_edge(subscription: Subscription, now: datetime) -> datetime | None:
    ranges = [*subscription.phases.values_list("during", flat=True)]
    ranges += subscription.overrides.filter(component="").values_list("during", flat=True)
    edges = (edge for during in ranges for edge in (during.lower, during.upper) if edge and edge > now)
    return min(edges, default=None)
