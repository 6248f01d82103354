"""The queue of tenants that could not be placed: first come, first served, and a place in it survives everything but being placed.

A device that is told 503 comes back by itself; its tenant is placed meanwhile if room appears (`serve`, by a task), so the device then finds a
binding. Whoever comes later asks only after those who came earlier have been served, unless what they wait for does not fit anywhere yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db.models import F

from placement import alerts
from placement.engine.facts import Newcomer
from placement.models import Alert, Waiting
from tenants.models import Tenant

FORGOTTEN_AFTER = timedelta(days=7)  # without anybody asking


def join(tenant: Tenant, newcomer: Newcomer, regions: Sequence[str], why: str, *, now: datetime, served: bool = False) -> None:
    """Take a place, or keep the one taken before. Operators are told what is missing, unless it is `served` and waits for its move only.

    Inside a transaction.
    """
    facts = {
        "regions": list(regions),
        "service_class": newcomer.service_class,
        "residency": newcomer.residency,
        "load": newcomer.load,
        "why": why[:300],
    }
    want = Waiting.Want.DEDICATED if newcomer.kind == "dedicated" else Waiting.Want.ROOM
    waiting = Waiting(tenant=tenant, want=want, since=now, asked_at=now, **facts)
    Waiting.objects.across_tenants().bulk_create(
        [waiting], update_conflicts=True, unique_fields=["tenant"], update_fields=["want", "asked_at", *facts]
    )
    Waiting.objects.of(tenant).exclude(since=now).update(asked=F("asked") + 1)
    if served:
        return
    kind = Alert.Kind.NO_DEDICATED if want == Waiting.Want.DEDICATED else Alert.Kind.NO_ROOM
    alerts.raise_(kind, subject_of(newcomer, regions), facts=to_provision(newcomer, regions) | {"last": tenant.account}, now=now)


def leave(tenant: Tenant) -> None:
    """Placed, or not wanted any more."""
    Waiting.objects.of(tenant).delete()


def ahead_of(tenant: Tenant, newcomer: Newcomer, regions: Iterable[str], *, now: datetime, limit: int) -> list[Waiting]:
    """The first of those who wait for the same room and came before this tenant, by its own place where it has one."""
    mine = Waiting.objects.of(tenant).values_list("since", flat=True).first() or now
    same = Waiting.objects.across_tenants().filter(
        tenant__binding=None,
        tenant__state=Tenant.State.ACTIVE,
        service_class=newcomer.service_class,
        regions__overlap=list(regions),
        since__lt=mine,
    )
    return list(same.exclude(tenant=tenant).select_related("tenant__plan").order_by("since", "tenant")[:limit])


def subject_of(newcomer: Newcomer, regions: Sequence[str]) -> str:
    """What the alert is about: the pool that is short of room."""
    first = regions[0] if regions else "no region"
    return "/".join(part for part in (first, newcomer.service_class, newcomer.residency, newcomer.kind) if part)[:120]


def to_provision(newcomer: Newcomer, regions: Sequence[str]) -> dict[str, object]:
    """What an operator would have to add: in words for logs and programs, and by its parts for pages that speak other languages."""
    return {
        "provision": f"a {newcomer.kind} cluster of the service class {newcomer.service_class} with room for {newcomer.load} devices or more"
        + (f", residency {newcomer.residency}" if newcomer.residency else ""),
        "region": regions[0] if regions else "",
        "kind": newcomer.kind,
        "service_class": newcomer.service_class,
        "residency": newcomer.residency,
        "load": newcomer.load,
    }


def forget(*, now: datetime) -> int:
    """Places that nobody asked about for a week, and those of tenants that are closed. Returns how many."""
    old = Waiting.objects.across_tenants().filter(asked_at__lt=now - FORGOTTEN_AFTER, tenant__binding=None)
    closed = Waiting.objects.across_tenants().filter(tenant__state=Tenant.State.CLOSED)
    return old.delete()[0] + closed.delete()[0]
