"""Routes of devices: seen by polls, decided by people and by tenants' policies, and kept on their servers as they were decided.

A row is the intent and comes first; then the server is told, outside of the transaction: of a public prefix or an exit route
once the document that knows of it runs. What it did not take, and whatever else it approves, is
mended by the next poll: a route that somebody approved on the server behind our back becomes a row that waits, and ends there. All that looks
before it approves runs under the cluster's one lock (`devices.hold`), so that of two tenants with overlapping prefixes one wins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _

from placement import clusters, devices, routerules
from placement.errors import ClusterError, ClusterRefused, RouteConflict
from placement.models import Cluster, ClusterPolicy, Device, Route
from placement.policies import wishes
from placement.policies.facts import EXIT, Network
from tenants import audit
from tenants.errors import WrongState
from tenants.models import Tenant

log = structlog.get_logger(__name__)
State = Route.State
Announced = Mapping[int, tuple[Collection[str], Collection[str]]]  # node id -> what the node announces, what its server approves of it

MOST = 200  # rows of one device: a device may announce anything
RULES = "system:rules"


# ---- what polls see --------------------------------------------------------------------------------------------------


@transaction.atomic
def observe(cluster_id: str, announced: Announced, *, now: datetime) -> None:
    """Bring the rows in line with what a complete look at the cluster showed: new prefixes wait, vanished ones are not announced any more."""
    devices.hold(cluster_id)
    _forget_gone(cluster_id, now)
    known: dict[UUID, dict[str, Route]] = defaultdict(dict)
    for row in _rows(cluster_id):
        known[row.device_id][row.prefix] = row
    busy = [node_id for node_id, (available, approved) in announced.items() if available or approved]
    for device in _devices(cluster_id).filter(Q(node_id__in=busy) | Q(pk__in=list(known))):
        if device.node_id in announced:
            _see(device, known[device.pk], *announced[device.node_id], now=now)


def _see(device: Device, rows: Mapping[str, Route], available: Iterable[str], approved: Iterable[str], *, now: datetime) -> None:
    there = {network for text in available if (network := routerules.network_of(text))}
    known = {network for prefix in rows if (network := routerules.network_of(prefix))}
    foreign = {network for text in approved if (network := routerules.network_of(text))} - there - known - set(EXIT)
    if foreign:
        log.warning("route_not_ours", cluster_id=device.cluster_id, node_id=device.node_id, prefixes=sorted(map(str, foreign)))
    fresh, kept = sorted((there | foreign) - known, key=str), len(rows)
    if kept + len(fresh) > MOST:
        passing = [row.pk for prefix, row in rows.items() if row.state == State.WAITING and routerules.network_of(prefix) not in there]
        kept -= Route.objects.of(device.tenant_id).filter(pk__in=passing).delete()[0]
        log.warning("routes_too_many", cluster_id=device.cluster_id, node_id=device.node_id, announced=len(there))
    fresh = fresh[: max(0, MOST - kept)]
    Route.objects.across_tenants().bulk_create(_new(device, network, network in there, now) for network in fresh)
    for prefix, row in rows.items():
        if row.announced != (routerules.network_of(prefix) in there):
            Route.objects.of(row.tenant_id).filter(pk=row.pk).update(announced=not row.announced)


def _new(device: Device, network: Network, announced: bool, now: datetime) -> Route:
    row = Route(
        tenant_id=device.tenant_id, device=device, cluster_id=device.cluster_id, prefix=str(network), announced=announced, created_at=now
    )
    if reason := routerules.forbidden(network):
        row.state, row.decided_at, row.decided_by, row.reason = State.REFUSED, now, RULES, reason
    return row


def _forget_gone(cluster_id: str, now: datetime) -> None:
    gone = Route.objects.across_tenants().filter(cluster_id=cluster_id, device__gone_at__isnull=False)
    if gone.filter(state=State.APPROVED).exists():
        wishes.touch(cluster_id, now=now)
    gone.delete()


def astray(cluster_id: str, announced: Announced) -> list[int]:
    """The nodes of which their server approves something else than the rows say."""
    wanted: dict[int, set[str]] = defaultdict(set)
    for node_id, prefix in _rows(cluster_id).filter(state=State.APPROVED).values_list("device__node_id", "prefix"):
        wanted[node_id].add(prefix)
    approving = {node_id for node_id, (_available, approved) in announced.items() if approved}
    with_any = approving | (wanted.keys() & announced.keys())
    return sorted(
        node for node in devices.live(cluster_id, with_any) if routerules.whole(wanted[node]) != routerules.whole(announced[node][1])
    )


def tell(cluster: Cluster, node_ids: Iterable[int]) -> None:
    """Have the server approve what the rows say of these nodes, and nothing else. What it does not take, the next poll tells it again."""
    nodes = sorted(node_ids)
    if not nodes:
        return
    early = _asked_and_not_pushed(cluster.pk)
    with clusters.admin_of(cluster) as admin:
        for node_id in nodes:
            approved = _rows(cluster.pk).filter(state=State.APPROVED, device__node_id=node_id)
            prefixes = approved.values_list("prefix", flat=True)
            try:
                kept = admin.node(node_id).approved_routes if early else ()  # what works already goes on
                admin.approve_routes(
                    node_id, sorted(prefix for prefix in prefixes if not early or prefix in kept or not _is_public(prefix))
                )
            except ClusterError as error:
                log.warning("routes_not_told", cluster_id=cluster.pk, node_id=node_id, error=str(error))
                if not isinstance(error, ClusterRefused):
                    return


def after_push(cluster_id: str, now: datetime) -> None:  # noqa: ARG001 - what pushes call
    """The document in force knows of the public prefixes and exit nodes that were approved before it: now their server may approve them."""
    rows = _rows(cluster_id).filter(state=State.APPROVED).values_list("device__node_id", "prefix")
    tell(Cluster.objects.select_related("fleet").get(pk=cluster_id), {node_id for node_id, prefix in rows if _is_public(prefix)})


def _asked_and_not_pushed(cluster_id: str) -> bool:
    """Whether the server's document may not know yet what was approved: a rule of another tenant towards the Internet would lead there."""
    return ClusterPolicy.objects.filter(cluster_id=cluster_id, done__lt=F("wanted")).exists()


def _is_public(prefix: str) -> bool:
    network = routerules.network_of(prefix)
    return network is not None and routerules.is_public(network)


# ---- what people decide ----------------------------------------------------------------------------------------------


def approve(route: Route, *, now: datetime, actor: str) -> Route:
    """The tenant may route the prefix through this device. Of an exit node both versions of IP are approved together.

    Raises: WrongState (approved already, a prefix that nobody may route, a device that is gone), RouteConflict.
    """
    with transaction.atomic():
        row = _held(route)
        if row.state == State.APPROVED:
            raise WrongState(_("the route is approved already"))
        accept(row, now=now, actor=actor)
    return _told(row)


def refuse(route: Route, *, now: datetime, actor: str, reason: str = "") -> Route:
    """The tenant may not, or no longer, route it through this device, whatever its policy says. Raises: WrongState (refused already, device gone)."""
    with transaction.atomic():
        row = _held(route)
        if row.state == State.REFUSED:
            raise WrongState(_("the route is refused already"))
        _decide(row, State.REFUSED, "route.refuse", now=now, actor=actor, reason=reason[:300])
    return _told(row)


def withdraw(route: Route, *, now: datetime, actor: str) -> Route:
    """Take a decision back: the route waits again, for a person or for the policy's `autoApprovers`. Raises: WrongState (it waits, device gone)."""
    with transaction.atomic():
        row = _held(route)
        if row.state == State.WAITING:
            raise WrongState(_("the route waits for a decision already"))
        _decide(row, State.WAITING, "route.withdraw", now=now, actor=actor)
    return _told(row)


def accept(row: Route, *, now: datetime, actor: str) -> None:
    """Approve a row if nothing speaks against it. Inside a transaction that holds the cluster. Raises: WrongState, RouteConflict."""
    network = routerules.network_of(row.prefix)
    if network is None or (reason := routerules.forbidden(network)):
        raise WrongState(_("%(prefix)s cannot be routed: %(reason)s") % {"prefix": row.prefix, "reason": reason if network else ""})
    if not row.is_exit and routerules.overlaps(network, _claimed(row.tenant_id, [row.cluster_id])[row.cluster_id]):
        raise _conflict(row, network)
    _decide(row, State.APPROVED, "route.approve", now=now, actor=actor)


def _decide(row: Route, state: State, verb: str, *, now: datetime, actor: str, reason: str = "") -> None:
    decided = {"decided_by": actor[:120], "decided_at": now} if state != State.WAITING else {"decided_by": "", "decided_at": None}
    same = Route.objects.of(row.tenant_id).filter(device_id=row.device_id, prefix__in=map(str, EXIT) if row.is_exit else [row.prefix])
    was_approved = same.filter(state=State.APPROVED).exists()
    same.update(state=state, reason=reason, **decided)
    if was_approved or state == State.APPROVED:
        wishes.touch(row.cluster_id, now=now)
    audit.record(
        verb, actor=actor, tenant=row.tenant, target=f"route:{row.pk}", now=now, prefix=row.prefix, device=str(row.device_id), reason=reason
    )


def _held(route: Route) -> Route:
    """The row as it is now, with its cluster held. Raises: WrongState."""
    devices.hold(route.cluster_id)
    row = _rows(route.cluster_id).filter(pk=route.pk).select_related("tenant", "device", "cluster").first()
    if row is None:
        raise WrongState(_("the device is gone"))
    return row


def _told(row: Route) -> Route:
    tell(row.cluster, [row.device.node_id])
    return Route.objects.of(row.tenant_id).select_related("tenant", "device", "cluster").get(pk=row.pk)


# ---- other tenants ---------------------------------------------------------------------------------------------------


def _claimed(tenant_id: UUID, cluster_ids: Collection[str]) -> dict[str, list[Network]]:
    """What tenants but this one route on each of the clusters, without exit routes."""
    others = Route.objects.across_tenants().filter(cluster_id__in=cluster_ids, state=State.APPROVED, device__gone_at=None)
    found: dict[str, list[Network]] = {cluster_id: [] for cluster_id in cluster_ids}
    for cluster_id, prefix in others.exclude(tenant_id=tenant_id).values_list("cluster_id", "prefix"):
        network = routerules.network_of(prefix)
        if network is not None and network not in EXIT:
            found[cluster_id].append(network)
    return found


def _conflict(row: Route, network: Network) -> RouteConflict:
    """Whose the other route is, is nobody's business; where the tenant would find room for its own, is its own."""
    here, tenant = row.cluster, Tenant.objects.get(pk=row.tenant_id)
    same = Cluster.objects.filter(state=Cluster.State.ACTIVE, region=here.region, service_class=here.service_class, kind=here.kind)
    if tenant.residency:
        same = same.filter(residency=tenant.residency)
    pool = same.exclude(pk=here.pk).filter(Q(reserved_for=None) | Q(reserved_for=tenant)).values_list("cluster_id", flat=True)
    offers = tuple(sorted(name for name, taken in _claimed(row.tenant_id, list(pool)).items() if not routerules.overlaps(network, taken)))
    words = {"prefix": row.prefix, "clusters": ", ".join(offers)}
    said = _("%(prefix)s overlaps a route that is taken on this cluster.") % words
    room = _("It would fit on: %(clusters)s.") % words if offers else _("No other cluster of the pool has room for it either.")
    return RouteConflict(f"{said} {room}", offers)


def _rows(cluster_id: str) -> QuerySet[Route]:
    return Route.objects.across_tenants().filter(cluster_id=cluster_id, device__gone_at=None)


def _devices(cluster_id: str) -> QuerySet[Device]:
    return Device.objects.across_tenants().filter(cluster_id=cluster_id, gone_at=None)
