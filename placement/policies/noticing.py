"""Devices that came, went or changed, as far as a cluster's document speaks of them: it names some devices by their addresses.

Users and tags are looked up by the server itself: a plain tenant's devices come and go without a push.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import Q

from placement.models import Device, Route
from placement.policies import wishes
from tenants.models import NetworkPolicy, Peering

SPOKEN_OF = frozenset({"ipv4", "ipv6", "hostname", "name", "tags", "slot_id", "brought_by"})  # what of a device a document may turn on


def noticed(cluster_id: str, devices: Collection[Device], *, now: datetime) -> None:
    """Ask for a push if the document may read differently for these devices, in the transaction that wrote them."""
    if devices and (any(device.tags for device in devices) or _spoken_of(devices)):
        wishes.touch(cluster_id, now=now)


def _spoken_of(devices: Collection[Device]) -> bool:
    """Whether a document of their tenants, a peering, or an approved route has to do with them."""
    tenants = {device.tenant_id for device in devices}
    written = NetworkPolicy.objects.across_tenants().filter(tenant__in=tenants).exclude(current__text="")
    peered = Peering.objects.across_tenants().filter(Q(host__in=tenants) | Q(guest__in=tenants), state=Peering.State.ACCEPTED)
    if written.exists() or peered.exists():
        return True
    routed = Route.objects.across_tenants().filter(tenant__in=tenants, state=Route.State.APPROVED)
    return not {device.pk for device in devices}.isdisjoint(routed.values_list("device", flat=True))
