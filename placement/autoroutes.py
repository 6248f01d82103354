"""Routes that a tenant's policy approves by itself: those inside a prefix of `autoApprovers`, of devices that its words stand for.

A person's decision comes before it: what was refused stays refused. What was approved once stays so when the policy changes, as with Tailscale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from placement import devices, routerules, routing
from placement.errors import RouteConflict
from placement.models import Route
from placement.policies import gathering, resolving
from placement.policies.facts import DeviceFact, TenantFact
from tenants.errors import WrongState
from tenants.models import Tenant
from tenants.policies.document import Document, PolicyRefused, Word

ACTOR = "system:policy"
Matches = Callable[[str, DeviceFact, TenantFact], bool]


def stands_for(word: str, device: DeviceFact, tenant: TenantFact) -> bool:
    """Whether the word, in the tenant's policy, means this device."""
    return resolving.Tenant(tenant).matches(word, device)


def decide_all(cluster_id: str, *, now: datetime) -> None:
    """The routes of a cluster that wait. Inside the transaction that has observed them."""
    waiting = _waiting().filter(cluster_id=cluster_id, tenant__network_policy__isnull=False, tenant__state=Tenant.State.ACTIVE)
    for tenant in Tenant.objects.filter(pk__in=waiting.order_by().values("tenant_id")).order_by("account"):
        decide(tenant, now=now)


@transaction.atomic
def decide(tenant: Tenant, *, now: datetime, matches: Matches = stands_for) -> int:
    """Approve what the tenant's policy approves of the routes that wait. Returns how many. What is taken by others goes on waiting, and says so."""
    try:
        fact = gathering.fact_of(tenant)
    except PolicyRefused:
        return 0
    if not (fact.document.routes or fact.document.exit_nodes):
        return 0
    waiting = _waiting().filter(tenant=tenant)
    for cluster_id in sorted(set(waiting.values_list("cluster_id", flat=True))):
        devices.hold(cluster_id)
    known, approved, exits = {device.id: device for device in fact.devices}, 0, set()
    for row in waiting.select_related("tenant", "device", "cluster").order_by("created_at", "pk"):
        device = known.get(str(row.device_id))
        if device is None or (row.is_exit and device.id in exits):  # both versions of IP are approved together
            continue
        if any(matches(word.text, device, fact) for word in approvers(fact.document, row.prefix)):
            approved += _try(row, now)
            exits |= {device.id} if row.is_exit else set()
    return approved


def _try(row: Route, now: datetime) -> bool:
    try:
        routing.accept(row, now=now, actor=ACTOR)
    except (WrongState, RouteConflict) as refusal:
        Route.objects.of(row.tenant_id).filter(pk=row.pk).exclude(reason=str(refusal)[:300]).update(reason=str(refusal)[:300])
        return False
    return True


def approvers(document: Document, prefix: str) -> Iterator[Word]:
    """Whose devices may route this prefix without being asked."""
    network = routerules.network_of(prefix)
    if network is None or network.prefixlen == 0:
        yield from document.exit_nodes if network is not None else ()
        return
    for allowed, words in document.routes.items():
        around = routerules.network_of(allowed)
        if around is not None and around.version == network.version and network.subnet_of(around):  # type: ignore[arg-type]
            yield from words


def _waiting() -> QuerySet[Route]:
    return Route.objects.across_tenants().filter(state=Route.State.WAITING, announced=True, device__gone_at=None)
