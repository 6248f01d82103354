"""The rows about one device, as facts. A device is named by its registration id, or is one that joined."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Q, QuerySet

from placement.diagnosis import causes, reports, stages
from placement.diagnosis.causes import Cause
from placement.diagnosis.facts import ClusterFacts, DeviceFacts, GrantFacts, Known, RefusalFacts
from placement.diagnosis.stages import Standing, Step
from placement.models import Binding, Cluster, Device, Grant, NetReport, Refusal, Watch
from placement.policies import gathering, resolving
from tenants.models import Enrolment, Tenant
from tenants.policies.document import PolicyRefused

MOST = 50  # attempts shown, the latest ones


@dataclass(frozen=True)
class Diagnosis:
    """What happened, where it stands, why it stalls there, and what will make its connections slow."""

    known: Known
    steps: list[Step]
    standing: Standing
    causes: list[Cause]
    hints: list[Cause]


def diagnose(tenant: Tenant, registration_id: str, *, now: datetime, claimed: bool = False) -> Diagnosis | None:
    """By the device's own name for itself; None when nobody has heard of it.

    `claimed`: with what came under that name without a credential of the tenant's. Anybody may have sent it: it is for operators.
    """
    name = registration_id.lower()
    grants = Grant.objects.of(tenant).filter(slot__registration_id=name)
    devices = Device.objects.of(tenant).filter(slot__registration_id=name)
    refusals = Refusal.objects.across_tenants().filter(_whose(tenant, claimed=claimed), registration_id=name)
    enrolment = Enrolment.objects.of(tenant).filter(registration_id=name).first()
    report = NetReport.objects.of(tenant).filter(registration_id=name).first()
    known = Known(
        registration_id=name,
        suspended=tenant.state != Tenant.State.ACTIVE,
        enrolment=enrolment.state if enrolment else "",
        refusals=tuple(_refusal(row) for row in refusals.order_by("-last_at")[:MOST]),
        grants=tuple(_grant(row) for row in grants.select_related("enrolment_key").order_by("-created_at")[:MOST]),
        devices=tuple(_device(row) for row in devices.select_related("tenant").order_by("-joined_at")[:MOST]),
        cluster=_cluster(tenant),
        net=reports.facts_of(report.told, report.at) if report else None,
    )
    if not (known.refusals or known.grants or known.devices or enrolment or report):
        return None
    return _diagnosis(known, now)


def tenants_with(registration_id: str) -> QuerySet[Tenant]:
    """Every tenant that has heard of a device of this name, or is said to by whoever asked."""
    name = registration_id.lower()
    known = Q(slots__registration_id=name) | Q(enrolments__registration_id=name) | Q(net_reports__registration_id=name)
    told = Refusal.objects.across_tenants().filter(registration_id=name)
    refused = Q(pk__in=told.exclude(tenant=None).values("tenant_id")) | Q(account__in=told.filter(tenant=None).values("account"))
    return Tenant.objects.filter(known | refused).distinct().order_by("account")


def diagnose_device(device: Device, *, now: datetime) -> Diagnosis:
    """A device that joined, also one without a registration id."""
    slot = device.slot
    if slot is not None and slot.registration_id and (found := diagnose(device.tenant, slot.registration_id, now=now)):
        return found
    grants = Grant.objects.of(device.tenant_id).filter(Q(pk=device.grant_id) | Q(slot=slot) if slot else Q(pk=device.grant_id))
    known = Known(
        registration_id="",
        suspended=device.tenant.state != Tenant.State.ACTIVE,
        grants=tuple(_grant(row) for row in grants.select_related("enrolment_key").order_by("-created_at")[:MOST]),
        devices=(_device(device),),
        cluster=_cluster(device.tenant),
    )
    return _diagnosis(known, now)


def _whose(tenant: Tenant, *, claimed: bool) -> Q:
    own = Q(tenant=tenant)
    return own | Q(tenant=None, account__in=(tenant.account, "")) if claimed else own


def _diagnosis(known: Known, now: datetime) -> Diagnosis:
    at = stages.standing(known, now=now)
    return Diagnosis(
        known=known,
        steps=stages.timeline(known),
        standing=at,
        causes=list(causes.causes(known, at, now=now)),
        hints=list(causes.hints(known, at, now=now)),
    )


def _refusal(row: Refusal) -> RefusalFacts:
    return RefusalFacts(row.code, row.reason, row.times, row.first_at, row.last_at)


def _grant(row: Grant) -> GrantFacts:
    return GrantFacts(
        id=str(row.pk),
        state=row.state,
        cluster_id=row.cluster_id,
        credential=row.enrolment_key.hint,
        created_at=row.created_at,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        redeemed_at=row.redeemed_at,
    )


def _device(row: Device) -> DeviceFacts:
    """A login that ran out shows nobody, and nobody is shown one."""
    others = Device.objects.of(row.tenant_id).filter(cluster_id=row.cluster_id, gone_at=None).exclude(pk=row.pk)
    there = {str(pk) for pk in others.exclude(key_expires_at__lte=row.seen_at).values_list("pk", flat=True)} if not row.gone_at else set()
    return DeviceFacts(
        name=row.name,
        joined_at=row.joined_at,
        first_online_at=row.first_online_at,
        online=row.online,
        last_seen=row.last_seen,
        login_expires_at=row.key_expires_at,
        gone_at=row.gone_at,
        tagged=bool(row.tags),
        peers=len(there & _seen(row)) if there else 0,
        others=len(there),
        granted=row.grant_id is not None,
        unexpected=row.unexpected,
    )


def _seen(row: Device) -> frozenset[str]:
    """The ids of the tenant's devices that its policy joins with this one, in either direction."""
    try:
        fact = gathering.fact_of(row.tenant)
    except PolicyRefused:  # such a policy lets nobody reach anybody
        return frozenset()
    mine, found = str(row.pk), frozenset[str]()
    if fact.document.rules is None:
        return frozenset(device.id for device in fact.devices)
    asked = resolving.Tenant(fact)
    for rule in fact.document.rules:
        ends = asked.side(rule.src, towards=False).devices, asked.side(rule.dst, towards=True).devices
        found |= frozenset[str]().union(*(there for there, here in (ends, ends[::-1]) if mine in here))
    return found


def _cluster(tenant: Tenant) -> ClusterFacts | None:
    binding = Binding.objects.of(tenant).select_related("cluster").first()
    if binding is None:
        return None
    cluster: Cluster = binding.cluster
    watch = Watch.objects.filter(cluster=cluster).first()
    return ClusterFacts(
        cluster_id=cluster.cluster_id,
        state=cluster.state,
        failures=watch.failures if watch else 0,
        polled_at=watch.complete_at if watch else None,
        poll_seconds=float(settings.POLL_SECONDS),
    )
