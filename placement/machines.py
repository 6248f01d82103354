"""Machines that share one registration id: which of them holds its slot."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from uuid import UUID

import structlog
from django.db.models import Count, Exists, OuterRef

from placement import slots
from placement.models import Device

log = structlog.get_logger(__name__)


def inherit(cluster_id: str) -> None:
    """Where the first of two machines on one registration id is gone the second has the id: it moves back to the slot that its key was for."""
    there = Device.objects.across_tenants().filter(slot=OuterRef("grant__slot"), gone_at=None)
    second = Device.objects.across_tenants().filter(
        ~Exists(there), cluster_id=cluster_id, unexpected="second-machine", gone_at=None, grant__slot__released_at=None
    )
    heirs = {device.grant.slot_id: device for device in second.select_related("grant").order_by("-joined_at") if device.grant}
    for slot_id, device in heirs.items():
        Device.objects.of(device.tenant_id).filter(pk=device.pk).update(slot_id=slot_id, unexpected="")


def separate(cluster_id: str, *, now: datetime) -> None:
    """Two devices online at once on one slot are two machines with one registration id: the later one counts for itself, flagged.

    One after the other is one machine that was installed again.
    """
    online = Device.objects.across_tenants().filter(cluster_id=cluster_id, online=True, gone_at=None)
    shared = online.filter(slot__isnull=False).order_by().values("slot").annotate(count=Count("pk")).filter(count__gt=1).values("slot")
    by_slot: dict[UUID | None, list[Device]] = defaultdict(list)
    for device in online.filter(slot__in=shared, slot__registration_id__isnull=False).order_by("joined_at"):
        by_slot[device.slot_id].append(device)
    for others in by_slot.values():
        for device in others[1:]:
            slot = slots.take_unasked(device.tenant_id, now=now)
            Device.objects.of(device.tenant_id).filter(pk=device.pk).update(slot=slot, unexpected="second-machine")
            log.warning("second_machine", cluster_id=cluster_id, node_id=device.node_id)
