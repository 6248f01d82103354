"""The ledger, brought in line with what tenants really have: the plan's figure for a day, then each one's own p95, at the weight of its policy."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from placement.engine.ledger import expected
from placement.models import Binding, Cluster, TenantHour

LOOKED_BACK = timedelta(days=7)
NEW = timedelta(hours=24)


@transaction.atomic
def reassess(cluster_id: str, *, now: datetime) -> int:
    """Returns how many of the cluster's bindings count for more or less than before. Its sums are made anew from its bindings, so they cannot drift.

    The cluster's row is locked before its bindings are read: one that is being made holds it, and is counted when it is there. The history, by far
    the most of the reading, comes before: who is bound after that has none here, and placements wait for nobody's reading.
    """
    peaks = _peaks(cluster_id, now)
    cluster = Cluster.objects.select_for_update(of=("self",), no_key=True).get(pk=cluster_id)
    bindings = list(Binding.objects.across_tenants().select_related("tenant__plan").filter(cluster=cluster))
    changed = []
    for binding in bindings:
        own = peaks[binding.tenant_id] if now - binding.created_at >= NEW else []
        load = expected(max(1, binding.tenant.plan.expected_devices), own, binding.rules)
        if load != binding.expected_load:
            binding.expected_load = load
            changed.append(binding)
    Binding.objects.across_tenants().bulk_update(changed, ["expected_load"])
    sums = {"committed": sum(binding.expected_load for binding in bindings), "tenants": len(bindings)}
    if sums != {"committed": cluster.committed, "tenants": cluster.tenants}:
        Cluster.objects.filter(pk=cluster.pk).update(**sums)
    return len(changed)


def _peaks(cluster_id: str, now: datetime) -> dict[UUID, list[int]]:
    hours = TenantHour.objects.across_tenants().filter(tenant__binding__cluster=cluster_id, hour__gte=now - LOOKED_BACK)
    found: dict[UUID, list[int]] = defaultdict(list)
    for tenant_id, peak in hours.values_list("tenant_id", "peak"):
        found[tenant_id].append(peak)
    return found
