"""A tenant that is not dunned until a day, as somebody agreed with it: it stays at the stage where it is, and a payment still takes that back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from billing.errors import NoSubscription
from billing.models import DunningHold, Subscription
from tenants import audit
from tenants.errors import MalformedRequest, WrongState
from tenants.models import Tenant

ACTOR = "system:dunning"


@transaction.atomic
def hold(tenant: Tenant, *, until: datetime, reason: str, now: datetime, actor: str) -> DunningHold:
    """Another one takes the place of the one before. Raises: MalformedRequest; NoSubscription, for such a tenant owes nothing."""
    _lock(tenant)
    if until <= now:
        raise MalformedRequest({"until": _("that is over")})
    if not reason.strip():
        raise MalformedRequest({"reason": _("a hold needs a reason")})
    facts = {"until": until, "reason": reason.strip()[:300], "held_at": now, "held_by": actor}
    held, _new = DunningHold.objects.across_tenants().update_or_create(tenant=tenant, defaults=facts)
    told = {"until": until.isoformat(), "reason": held.reason}
    audit.record("dunning.hold", actor=actor, tenant=tenant, target=tenant.account, now=now, **told)
    return held


@transaction.atomic
def release(tenant: Tenant, *, now: datetime, actor: str) -> None:
    """It goes on by the days since its last stage. Raises: WrongState when nothing is held; NoSubscription."""
    _lock(tenant)
    if not DunningHold.objects.of(tenant).delete()[0]:
        raise WrongState(_("dunning is not held"))
    audit.record("dunning.release", actor=actor, tenant=tenant, target=tenant.account, now=now)


def keeps(tenant: Tenant, *, now: datetime) -> bool:
    """Whether it is held now; a hold that is over goes. For those who have the subscription's lock."""
    held = DunningHold.objects.of(tenant).first()
    if held is None or held.until > now:
        return held is not None
    held.delete()
    audit.record("dunning.hold_over", actor=ACTOR, tenant=tenant, target=tenant.account, now=now, until=held.until.isoformat())
    return False


def over(*, now: datetime) -> Iterable[UUID]:
    """The tenants whose hold has ended."""
    return DunningHold.objects.across_tenants().filter(until__lte=now).values_list("tenant_id", flat=True)


def _lock(tenant: Tenant) -> None:
    """A review that is under way ends first. Raises: NoSubscription."""
    if Subscription.objects.of(tenant).select_for_update(of=("self",)).first() is None:
        raise NoSubscription(_("the tenant has no subscription"))
