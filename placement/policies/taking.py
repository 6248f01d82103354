"""Which tags of a device ACS takes for its tenant's own when its server shows them. What it does not take is for an audit to find and put back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from placement.models import AuditFinding, Device, Grant
from placement.policies.facts import tenant_tag
from tenants import tags
from tenants.models import Tenant

Kind = AuditFinding.Kind
AT_ONCE = 10_000  # nodes that one statement names


def are_given(tenant_id: UUID, account: str, shown: Collection[str], *, key_id: int | None) -> bool:
    """Whether the server shows the device as the tenant's (`account`), with tags that its policy declares, or credentials or the device's key carry."""
    tenant = Tenant.objects.get(pk=tenant_id)
    if account != tenant.account:
        return False
    words = {tenant_tag(tag) for tag in shown}
    return words <= tags.declared(tenant) or words <= tags.declared(tenant) | tags.in_use(tenant).keys() | _of_key(tenant, key_id)


def not_taken(cluster_id: str, shown: Mapping[int, tuple[str, Collection[str]]]) -> list[int]:
    """The nodes whose owner or tags are not those that ACS has of the device, and that no audit has seen so. `shown`: account and tags by node id."""
    open_ones = AuditFinding.objects.across_tenants().filter(cluster=cluster_id, over_at=None, kind__in=(Kind.TAG, Kind.OWNER))
    seen = set(open_ones.values_list("subject", flat=True))
    rows = Device.objects.across_tenants().filter(cluster_id=cluster_id, gone_at=None).order_by("node_id")
    nodes = sorted(shown)
    return [
        node_id
        for begun in range(0, len(nodes), AT_ONCE)
        for node_id, account, tags in rows.filter(node_id__in=nodes[begun : begun + AT_ONCE]).values_list(
            "node_id", "tenant__account", "tags"
        )
        if (account, set(tags)) != (shown[node_id][0], set(shown[node_id][1])) and f"node {node_id}" not in seen
    ]


def _of_key(tenant: Tenant, key_id: int | None) -> set[str]:
    if key_id is None:
        return set()
    return {tag for given in Grant.objects.of(tenant).filter(key_id=key_id).values_list("tags", flat=True) for tag in given}
