"""The slots of a quota: what holds one, and its release, exactly once, when nothing does.

A slot is held by a device that is not gone, by a live grant, by an expired grant that no complete poll has settled, by a redeemed
grant whose device no complete poll could have shown yet, and by a person's login in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from placement.models import Binding, Device, DeviceLogin, Grant, Slot
from tenants import credentials, quota
from tenants.errors import QuotaExceeded


def take_unasked(tenant_id: UUID, *, now: datetime) -> Slot:
    """A slot for a device that came without a grant. Must run in the transaction that stores the device.

    That transaction may go on to settle grants and release slots: its tenant's credentials are locked before the quota, as admission does.
    """
    credentials.lock_all(tenant_id)
    quota.count_unasked(tenant_id)
    return Slot.objects.create(tenant_id=tenant_id, taken_at=now)


def take(tenant_id: UUID, *, now: datetime) -> Slot:
    """A free slot. Must run in the transaction that stores what holds it. Raises: QuotaExceeded."""
    if not quota.take(tenant_id):
        raise QuotaExceeded("every device slot of the tenant is taken")
    return Slot.objects.create(tenant_id=tenant_id, taken_at=now)


def release_of_cluster(cluster_id: str, *, seen_from: datetime, now: datetime) -> int:
    """Release the empty slots of all tenants of a cluster after a complete poll that started at `seen_from`."""
    tenants = Binding.objects.across_tenants().filter(cluster_id=cluster_id).values("tenant_id")
    waiting = _empty(Slot.objects.across_tenants().filter(tenant_id__in=tenants), seen_from)
    tenant_ids = waiting.order_by().values_list("tenant_id", flat=True).distinct()
    return sum(release_empty(tenant_id, seen_from=seen_from, now=now) for tenant_id in tenant_ids)


@transaction.atomic
def release_empty(tenant_id: UUID, *, seen_from: datetime, now: datetime) -> int:
    """Release a tenant's slots that nothing holds. Returns how many.

    Locked first, looked at again then: admission, which keeps a slot by updating its row, may have promised a key for it meanwhile.
    """
    empty = _empty(Slot.objects.of(tenant_id), seen_from)
    taken_with = {key_id for key_id in empty.values_list("enrolment_key_id", flat=True) if key_id is not None}
    credentials.lock(taken_with)  # before the slots: admission takes them in this order too
    locked = list(empty.select_for_update(of=("self",)).order_by("id").values_list("id", flat=True))
    if not locked:
        return 0
    still = _empty(Slot.objects.of(tenant_id).filter(Q(enrolment_key=None) | Q(enrolment_key__in=taken_with), id__in=locked), seen_from)
    freed = Counter(still.values_list("enrolment_key_id", flat=True))
    released = still.update(released_at=now)
    credentials.give_back({key_id: count for key_id, count in freed.items() if key_id is not None})
    quota.give_back(tenant_id, released)
    return released


def forget_unused(slot_ids: Collection[UUID]) -> int:
    """Drop those of these slots that are released and that no grant, no device and no login names. Returns how many."""
    released = Slot.objects.across_tenants().filter(pk__in=slot_ids, released_at__isnull=False)
    named = (Exists(held.objects.across_tenants().filter(slot=OuterRef("pk"))) for held in (Grant, Device, DeviceLogin))
    return released.exclude(Q(*named, _connector=Q.OR)).delete()[0]


def _empty(slots: QuerySet[Slot], seen_from: datetime) -> QuerySet[Slot]:
    devices = Device.objects.across_tenants().filter(slot=OuterRef("pk"), gone_at=None)
    pending = Q(settled_at=None) | Q(state__in=Grant.LIVE) | Q(state=Grant.State.REDEEMED, redeemed_at__gte=seen_from)
    grants = Grant.objects.across_tenants().filter(pending, slot=OuterRef("pk"))
    waiting = Q(state__in=DeviceLogin.OPEN) | Q(state=DeviceLogin.State.REGISTERED, device=None, settled_at__gte=seen_from)
    logins = DeviceLogin.objects.across_tenants().filter(waiting, slot=OuterRef("pk"))
    return slots.filter(~Exists(devices), ~Exists(grants), ~Exists(logins), released_at=None)
