"""Which tags of a device ACS takes for its tenant's own when its server shows them. What it does not take is for an audit to find and put back."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from placement.models import Grant
from placement.policies.facts import tenant_tag
from tenants import tags
from tenants.models import Tenant


def are_given(tenant_id: UUID, account: str, shown: Collection[str], *, key_id: int | None) -> bool:
    """Whether the server shows the device as the tenant's (`account`), with tags that its policy declares, or credentials or the device's key carry."""
    tenant = Tenant.objects.get(pk=tenant_id)
    if account != tenant.account:
        return False
    words = {tenant_tag(tag) for tag in shown}
    return words <= tags.declared(tenant) or words <= tags.declared(tenant) | tags.in_use(tenant).keys() | _of_key(tenant, key_id)


def _of_key(tenant: Tenant, key_id: int | None) -> set[str]:
    if key_id is None:
        return set()
    return {tag for given in Grant.objects.of(tenant).filter(key_id=key_id).values_list("tags", flat=True) for tag in given}
