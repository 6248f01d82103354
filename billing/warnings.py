"""Tenants that use as many devices as their plan wants them to be told of (`warn_at` percent), or, under a soft limit, more than it has.

A hard limit refuses at admission, by the quota that billing/settling.py sets; a soft one never does: it is told, and priced.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from billing.models import QuotaWarning, Subscription
from billing.notices import writing
from billing.phases import Entitlement, entitlement_of
from tenants import audit
from tenants.models import Quota

ACTOR = "system:billing"
# who may have something to be told: near the version's limit, under an override of it, or told before
CANDIDATES = """
select q.tenant_id from tenants_quota q join billing_subscription s on s.tenant_id = q.tenant_id
join billing_subscriptionphase p on p.subscription_id = s.id and p.during @> %(now)s::timestamptz
join billing_planversion v on v.id = p.version_id
where q.used::bigint * 100 >= v.max_devices::bigint * v.warn_at
   or exists (select 1 from billing_override o where o.subscription_id = s.id and o.component = '' and o.during @> %(now)s::timestamptz)
union select tenant_id from billing_quotawarning
"""


def warn_all(*, now: datetime) -> int:
    """Look at everybody. Returns how many warnings there are now."""
    with connection.cursor() as cursor:
        cursor.execute(CANDIDATES, {"now": now})
        tenants = [row[0] for row in cursor.fetchall()]
    return sum(warn(tenant_id, now=now) for tenant_id in tenants)


@transaction.atomic
def warn(tenant_id: UUID, *, now: datetime) -> bool:
    """Whether the tenant is warned now. Told once a level, in its audit and by e-mail; over when it uses less."""
    Subscription.objects.of(tenant_id).select_for_update(of=("self",)).first()  # not the quota's row: devices ask there
    quota = Quota.objects.select_related("tenant").get(tenant=tenant_id)
    entitled = entitlement_of(quota.tenant, at=now)
    level = level_of(quota.used, entitled)
    held = QuotaWarning.objects.of(quota.tenant).first()
    if not level or entitled is None:
        if held is not None:
            held.delete()
            audit.record("quota.warning_over", actor=ACTOR, tenant=quota.tenant, target=quota.tenant.account, now=now, used=quota.used)
        return False
    facts = {"used": quota.used, "limit": entitled.max_devices, "level": level}
    if held is None or held.level != level:
        made, _new = QuotaWarning.objects.across_tenants().update_or_create(tenant=quota.tenant, defaults={**facts, "since": now})
        writing.many_devices(made, enforcement=entitled.enforcement, now=now)
        told = {**facts, "enforcement": entitled.enforcement}
        audit.record("quota.warn", actor=ACTOR, tenant=quota.tenant, target=quota.tenant.account, now=now, **told)
    else:
        QuotaWarning.objects.of(quota.tenant).update(**facts)
    return True


def level_of(used: int, entitled: Entitlement | None) -> str:
    """Empty where there is nothing to tell. A hard limit that is reached is near, one that was lowered below what there is, over."""
    if entitled is None or used * 100 < entitled.max_devices * entitled.warn_at or not used:
        return ""
    return QuotaWarning.Level.OVER if used > entitled.max_devices else QuotaWarning.Level.NEAR
