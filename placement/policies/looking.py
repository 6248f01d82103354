"""One look of an audit at a cluster: what is meant is read first, then the server is asked, then both are compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

import structlog
from django.conf import settings

from placement import clusters, fleetdb, policy
from placement.errors import ClusterError
from placement.headscale import debug
from placement.headscale.admin import Node, Policy, User
from placement.headscale.debug import FilterRule
from placement.models import AuditFinding, Binding, Cluster, Device, Route
from placement.policies import bookkeeping, comparing, crossing, findings
from placement.policies.comparing import Fault, Known, Meant
from placement.policies.compiling import digest_of
from placement.policies.facts import server_tag
from placement.policies.gathering import gather
from tenants.models import Tenant

log = structlog.get_logger(__name__)

Kind = AuditFinding.Kind
POLICIES = frozenset({Kind.POLICY_FOREIGN, Kind.POLICY_OTHER, Kind.FILTER})  # what a push changes
IN_FORCE = "in force"  # the subject of a finding about the document that the server uses, whatever it has stored
MOST_RULES = 200  # that are kept as evidence


@dataclass(frozen=True)
class Shown:
    """What the server showed. `rules`, `rows`: None where they could not be seen."""

    policy: Policy | None
    users: list[User]
    nodes: list[Node]
    rules: list[FilterRule] | None
    rows: Mapping[int, tuple[str, tuple[str, ...]]] | None


@dataclass(frozen=True)
class Look:
    """What differs, with what it was compared to. `blind`: the kinds of findings that could not be looked for."""

    faults: tuple[Fault, ...]
    meant: Meant
    nodes: Mapping[int, Node]
    tenant_ids: Mapping[str, UUID]
    blind: frozenset[str]

    def confirming(self, first: Look) -> Look:
        """What this look and a former one both show."""
        before = {fault.key for fault in first.faults}
        return replace(self, faults=tuple(fault for fault in self.faults if fault.key in before), blind=self.blind | first.blind)


def look(cluster: Cluster, *, but: frozenset[str]) -> Look:
    """Compare everything but the kinds `but` (POLICIES or none). Raises: ClusterError, when the server's API cannot be asked."""
    meant, tenant_ids = _meant(cluster.pk)
    shown = _ask(cluster, with_policy=not but)
    names = [user.name for user in shown.users]
    homeless = Tenant.objects.filter(account__in=names, binding=None).values_list("account", flat=True)
    meant = replace(meant, homeless=frozenset(homeless))
    faults = [*comparing.users([(user.name, user.id) for user in shown.users], meant), *comparing.nodes(shown.nodes, meant)]
    odd = {fault.node_id for fault in faults if fault.kind in (Kind.TAG, Kind.OWNER) and fault.node_id}
    blind = set(but)
    if shown.rows is not None:
        faults += comparing.memory((node for node in shown.nodes if node.id not in odd), shown.rows, meant)
    elif not cluster.is_external:
        blind.add(Kind.MEMORY)
    if not but:
        faults += _policy(cluster.pk, shown)
        if shown.rules is None:
            blind.add(Kind.FILTER)
        else:
            held = crossing.holdings(shown.nodes, meant, odd)
            faults += crossing.crossings(shown.rules, held, meant.peered, meant.silent)
    return Look(tuple(faults), meant, {node.id: node for node in shown.nodes}, tenant_ids, frozenset(blind))


# ---- what is meant -------------------------------------------------------------------------------------------------------


def _meant(cluster_id: str) -> tuple[Meant, dict[str, UUID]]:
    gathered = gather(cluster_id)
    bound = list(Binding.objects.across_tenants().filter(cluster_id=cluster_id).select_related("tenant"))
    tags = {
        tenant.account: frozenset(server_tag(tenant.account, tag) for tag in {*tenant.document.tags, *tenant.kept_tags})
        for tenant in gathered.fact.tenants
    }
    meant = Meant(
        users={binding.tenant.account: binding.headscale_user_id for binding in bound},
        devices=_devices(cluster_id),
        tags=tags,
        silent=frozenset(binding.tenant.account for binding in bound if binding.tenant.state == Tenant.State.CLOSED),
        peered=frozenset((peering.guest, peering.host) for peering in gathered.fact.peerings),
    )
    return meant, {binding.tenant.account: binding.tenant_id for binding in bound}


def _devices(cluster_id: str) -> dict[int, Known]:
    routes: dict[UUID, list[str]] = defaultdict(list)
    approved = Route.objects.across_tenants().filter(cluster_id=cluster_id, state=Route.State.APPROVED)
    for device_id, prefix in approved.values_list("device_id", "prefix"):
        routes[device_id].append(prefix)
    rows = Device.objects.across_tenants().filter(cluster_id=cluster_id, gone_at=None)
    return {
        node_id: Known(account, machine_key, tuple(tags), tuple(sorted(routes[pk])))
        for pk, node_id, account, machine_key, tags in rows.values_list("pk", "node_id", "tenant__account", "machine_key", "tags")
    }


# ---- what is there -------------------------------------------------------------------------------------------------------


def _ask(cluster: Cluster, *, with_policy: bool) -> Shown:
    with clusters.admin_of(cluster) as admin:
        stored = admin.policy() if with_policy else None
        users, nodes = admin.users(), admin.nodes()
    return Shown(stored, users, nodes, _rules(cluster) if with_policy else None, _rows(cluster))


def _rules(cluster: Cluster) -> list[FilterRule] | None:
    if not cluster.metrics_url:
        return None
    try:
        return debug.filter_rules(cluster.pk, cluster.metrics_url, settings.CLUSTER_TIMEOUT)
    except ClusterError as error:
        log.warning("filters_unreadable", cluster_id=cluster.pk, reason=str(error))
        return None


def _rows(cluster: Cluster) -> Mapping[int, tuple[str, tuple[str, ...]]] | None:
    if cluster.fleet is None:
        return None
    try:
        source = fleetdb.cursor_of(cluster.fleet) if cluster.fleet.is_own else fleetdb.elsewhere(cluster, "acs_worker")
        with source as cursor:
            return fleetdb.owners(cursor, cluster.pk)
    except ClusterError as error:
        log.warning("rows_unreadable", cluster_id=cluster.pk, reason=str(error))
        return None


# ---- the document --------------------------------------------------------------------------------------------------------


def _policy(cluster_id: str, shown: Shown) -> list[Fault]:
    running = bookkeeping.running_of(cluster_id)
    if shown.policy is None:
        return [Fault(Kind.POLICY_OTHER, "no policy", {"document": "", "characters": 0})]
    text = shown.policy.document
    if not policy.is_ours(text):
        return [Fault(Kind.POLICY_FOREIGN, digest_of(text), findings.document(text))]
    if running is not None and text != running.document:
        return [Fault(Kind.POLICY_OTHER, digest_of(text), findings.document(text) | {"pushed": running.pk})]
    if shown.rules is not None and not crossing.in_force(shown.rules):
        return [Fault(Kind.POLICY_OTHER, IN_FORCE, {"rules": list(_told(shown.rules[:MOST_RULES])), "count": len(shown.rules)})]
    return []


def _told(rules: Iterable[FilterRule]) -> Iterable[str]:
    for rule in rules:
        targets = (f"{target.address}:{target.first}-{target.last}" for target in rule.targets)
        yield f"{', '.join(rule.sources)} -> {', '.join(targets)}"[:500]
