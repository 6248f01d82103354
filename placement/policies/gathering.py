"""The facts of a cluster for its compiler, read from the database: tenants with the version that counts, devices, routes, people, peerings."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import UUID

from placement.models import Binding, Device, Route
from placement.policies.facts import EXIT, ClusterFact, DeviceFact, Network, PeeringFact, TenantFact, tenant_tag
from tenants.models import Enrolment, EnrolmentKey, Membership, NetworkPolicy, Peering, PolicyVersion, Tenant
from tenants.policies import reading
from tenants.policies.document import NOTHING_WRITTEN, Document, PolicyRefused, Service, Word

NOBODY = Document(rules=())


@dataclass(frozen=True)
class Gathered:
    """A cluster's facts, which version of whose policy is in them, and whose could not be read (account -> why): those reach nothing."""

    fact: ClusterFact
    versions: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    tenant_ids: dict[str, UUID] = field(default_factory=dict)


def gather(cluster_id: str, *, instead: Mapping[str, str] | None = None, as_running: Collection[str] = ()) -> Gathered:
    """What lives on the cluster now.

    `instead` gives some accounts another text than the stored one; those of `as_running` count with the version that their server took last.
    """
    tenants = list(Tenant.objects.filter(binding__cluster_id=cluster_id).order_by("account"))
    devices = _devices(cluster_id)
    tenants = [tenant for tenant in tenants if tenant.state != Tenant.State.CLOSED or devices[tenant.pk]]
    people, kept = _members(tenants), _kept_tags(tenants)
    stored = {policy.tenant_id: policy for policy in _policies(tenants)}
    facts, versions, unreadable = [], {}, {}
    for tenant in tenants:
        version = _version(stored.get(tenant.pk), running=tenant.account in as_running)
        text = (instead or {}).get(tenant.account, version.text if version else "")
        try:
            document = NOBODY if tenant.state == Tenant.State.CLOSED else read(text)
        except PolicyRefused as refusal:
            document, unreadable[tenant.account] = NOBODY, str(refusal)
        if version is not None:
            versions[tenant.account] = version.number
        tags = kept[tenant.pk] | {tenant_tag(tag) for device in devices[tenant.pk] for tag in device.tags if _is_of(tenant, tag)}
        facts.append(TenantFact(tenant.account, document, tuple(devices[tenant.pk]), frozenset(people[tenant.pk]), frozenset(tags)))
    return Gathered(
        ClusterFact(cluster_id, tuple(facts), tuple(_peerings(tenants))),
        versions,
        unreadable,
        {tenant.account: tenant.pk for tenant in tenants},
    )


def fact_of(tenant: Tenant, text: str | None = None) -> TenantFact:
    """One tenant with the version that counts, or with another text, wherever it lives, or nowhere yet. Raises: PolicyRefused."""
    binding = Binding.objects.of(tenant).first()
    devices = _devices(binding.cluster_id, tenant)[tenant.pk] if binding else []
    stored = next(iter(_policies([tenant])), None)
    kept = _kept_tags([tenant])[tenant.pk] | {tenant_tag(tag) for device in devices for tag in device.tags if _is_of(tenant, tag)}
    document = read(text if text is not None else stored.current.text if stored else "")
    return TenantFact(tenant.account, document, tuple(devices), frozenset(_members([tenant])[tenant.pk]), frozenset(kept))


@lru_cache(maxsize=4096)
def read(text: str) -> Document:
    """A stored document; an empty one is the default policy. Raises: PolicyRefused."""
    return reading.read(text) if text.strip() else NOTHING_WRITTEN


def _version(policy: NetworkPolicy | None, *, running: bool) -> PolicyVersion | None:
    if policy is None:
        return None
    return policy.running if running else policy.current


def _policies(tenants: Iterable[Tenant]) -> Iterable[NetworkPolicy]:
    ids = [tenant.pk for tenant in tenants]
    return NetworkPolicy.objects.across_tenants().filter(tenant__in=ids).select_related("current", "running")


def _is_of(tenant: Tenant, tag: str) -> bool:
    return tag.startswith(f"tag:{tenant.account}--")


def _devices(cluster_id: str, tenant: Tenant | None = None) -> dict[UUID, list[DeviceFact]]:
    """The devices of a cluster by tenant, in order of their names."""
    rows = Device.objects.across_tenants().filter(cluster_id=cluster_id, gone_at=None)
    routes: dict[UUID, list[Network]] = defaultdict(list)
    approved = Route.objects.across_tenants().filter(cluster_id=cluster_id, state=Route.State.APPROVED)
    for device_id, prefix in approved.values_list("device_id", "prefix"):
        routes[device_id].append(ipaddress.ip_network(prefix))
    found: dict[UUID, list[DeviceFact]] = defaultdict(list)
    for row in (rows if tenant is None else rows.filter(tenant=tenant)).select_related("slot", "brought_by").order_by("name", "id"):
        found[row.tenant_id].append(_device(row, routes[row.pk]))
    return found


def _device(row: Device, routes: list[Network]) -> DeviceFact:
    person = row.brought_by.email.lower() if row.brought_by and not row.tags else ""
    return DeviceFact(
        id=str(row.pk),
        name=row.name,
        hostname=row.hostname,
        registration_id=(row.slot.registration_id or "") if row.slot else "",
        addresses=tuple(ipaddress.ip_network(address) for address in (row.ipv4, row.ipv6) if address),
        tags=tuple(row.tags),
        person=person,
        routes=tuple(route for route in routes if route not in EXIT),
        exit=any(route in EXIT for route in routes),
    )


def _members(tenants: Iterable[Tenant]) -> dict[UUID, set[str]]:
    found: dict[UUID, set[str]] = defaultdict(set)
    rows = Membership.objects.across_tenants().filter(tenant__in=[tenant.pk for tenant in tenants])
    for tenant_id, email in rows.values_list("tenant_id", "user__email"):
        found[tenant_id].add(email.lower())
    return found


def _kept_tags(tenants: Iterable[Tenant]) -> dict[UUID, set[str]]:
    """Tags of credentials, and of single enrolments, that still work or may be made to."""
    found: dict[UUID, set[str]] = defaultdict(set)
    rows = EnrolmentKey.objects.across_tenants().filter(tenant__in=[tenant.pk for tenant in tenants], revoked_at=None).exclude(tags=[])
    singles = Enrolment.objects.across_tenants().filter(tenant__in=[tenant.pk for tenant in tenants]).exclude(tags=None)
    for tenant_id, tags in (*rows.values_list("tenant_id", "tags"), *singles.values_list("tenant_id", "tags")):
        found[tenant_id] |= set(tags or ())
    return found


def _peerings(tenants: Iterable[Tenant]) -> Iterable[PeeringFact]:
    """Accepted ones, of which both sides live here and are open."""
    accounts = {tenant.pk: tenant.account for tenant in tenants if tenant.state != Tenant.State.CLOSED}
    rows = Peering.objects.across_tenants().filter(state=Peering.State.ACCEPTED, host__in=accounts, guest__in=accounts)
    for row in rows.order_by("accepted_at", "id"):
        yield PeeringFact(
            str(row.pk),
            accounts[row.host_id],
            accounts[row.guest_id],
            tuple(Word(text) for text in row.src),
            tuple(Word(text) for text in row.dst),
            tuple(service_of(text) for text in row.services),
        )


def service_of(text: str) -> Service:
    """A service as it is stored: in the words of `str(Service)`."""
    protocol, _, ports = text.rpartition(":")
    first, _, last = ports.partition("-")
    return Service(protocol) if ports == "*" else Service(protocol, int(first), int(last or first))
