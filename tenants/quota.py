"""The quota: how many members there may be, and the count of taken slots, outside of admission (which takes slots in its own one statement, placement/grants.py).

`used` is the number of a tenant's unreleased slots, kept in step in the same transaction as the slots themselves.
"""

from __future__ import annotations

from uuid import UUID

from django.db.models import F

from tenants.models import Quota


def take(tenant_id: UUID) -> bool:
    """One slot, if one is free."""
    return Quota.objects.filter(tenant_id=tenant_id, used__lt=F("limit")).update(used=F("used") + 1) == 1


def count_unasked(tenant_id: UUID, slots: int = 1) -> None:
    """A device came that no grant foresaw: it counts, even past the limit, and blocks new keys."""
    Quota.objects.filter(tenant_id=tenant_id).update(used=F("used") + slots)


def give_back(tenant_id: UUID, slots: int) -> None:
    """Slots were released."""
    Quota.objects.filter(tenant_id=tenant_id).update(used=F("used") - slots)


def set_limit(tenant_id: UUID, limit: int) -> None:
    """How many there may be from now on: what is taken beyond it stays, and blocks new keys."""
    Quota.objects.filter(tenant_id=tenant_id).update(limit=limit)


def set_members(tenant_id: UUID, most: int | None) -> None:
    """How many members there may be from now on, None: as many as there are. Those who are there stay."""
    Quota.objects.filter(tenant_id=tenant_id).update(max_members=most)
