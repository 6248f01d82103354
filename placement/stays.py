"""Where tenants lived, from when to when: begun with a binding, changed by a move, ended when the binding is deleted.

Each verb runs in the transaction of the act that it records; whoever deletes a binding ends its stay by a trigger. Time is metered by these: a moment
counts on the cluster whose stay it lies in, and the database lets no two stays of a tenant overlap.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models.functions import Now

from placement.models import Stay
from tenants.models import Tenant


def begin(tenant: Tenant | UUID, cluster_id: str, *, at: datetime) -> Stay:
    """The tenant lives on the cluster from now on; not before its last stay ended, whatever the clocks of two processes say."""
    tenant_id = tenant.pk if isinstance(tenant, Tenant) else tenant
    last = Stay.objects.of(tenant_id).order_by("-since").values_list("until", flat=True).first()
    since = max(at, last) if last else at
    return Stay.objects.create(tenant_id=tenant_id, cluster_id=cluster_id, since=since, until=None, changed_at=Now())


def end(tenant: Tenant | UUID, *, at: datetime) -> bool:
    """The tenant's binding is deleted. Returns whether it had a stay."""
    stay = Stay.objects.of(tenant).select_for_update(of=("self",)).filter(until=None).first()
    if stay is None:
        return False
    return Stay.objects.of(tenant).filter(pk=stay.pk, until=None).update(until=max(at, stay.since), changed_at=Now()) == 1


def move(tenant: Tenant | UUID, to_cluster: str, at: datetime) -> Stay:
    """From `at` on the tenant's time counts on the other cluster. Said twice, it is one move."""
    stay = Stay.objects.of(tenant).select_for_update(of=("self",)).filter(until=None).first()
    if stay is not None and stay.cluster_id == to_cluster:
        return stay
    end(tenant, at=at)
    return begin(tenant, to_cluster, at=at)
