"""Putting right what an audit found, where that is safe: nothing is deleted, no device reaches more than before, and all of it may be done twice.

A device whose owner or tags somebody changed gets back the tags that ACS knows of it, which are what its server goes by; one that had none, and cannot
become untagged again, loses its login. Whether it helped is for the next audit to see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import transaction

from placement import clusters, routing
from placement.errors import ClusterError, ClusterRefused
from placement.headscale.admin import Admin
from placement.models import AuditFinding, Binding, Cluster
from placement.policies import bookkeeping, comparing, findings, wishes, writers
from placement.policies.comparing import Fault
from placement.policies.looking import IN_FORCE, POLICIES, Kind, Look
from placement.policies.writers import Fenced
from tenants import audit
from tenants.models import Tenant

log = structlog.get_logger(__name__)
ACTOR = "system:audit"
MOST_ENDED = 20  # devices: of more, it is rather ACS or its database that is wrong, and a person has to look first


@dataclass(frozen=True)
class Repairer:
    """Who repairs a cluster by its server's API, after a look."""

    cluster: Cluster
    admin: Admin
    seen: Look
    now: datetime
    may_end: bool = True  # logins


def repair(cluster: Cluster, seen: Look, found: Iterable[AuditFinding], *, now: datetime) -> None:
    """What can be put right of the findings of a look. A server that does not answer is asked again by the next audit."""
    by_key = {(finding.kind, finding.subject): finding for finding in found}
    faults = [(fault, by_key[fault.kind, fault.subject[:200]]) for fault in seen.faults]
    if not faults:
        return
    with clusters.admin_of(cluster) as admin:
        repairer = Repairer(cluster, admin, seen, now, _may_end(cluster, seen))
        try:
            _policies(repairer, [finding for fault, finding in faults if fault.kind in POLICIES])
            for fault, finding in faults:
                _one(repairer, fault, finding)
        except ClusterError as error:
            log.warning("repair_failed", cluster_id=cluster.pk, reason=str(error))


def _may_end(cluster: Cluster, seen: Look) -> bool:
    count = sum(fault.kind in (Kind.TAG, Kind.OWNER, Kind.MEMORY) for fault in seen.faults)
    if count > MOST_ENDED:
        log.error("too_many_to_repair", cluster_id=cluster.pk, devices=count)
    return count <= MOST_ENDED


def _one(repairer: Repairer, fault: Fault, finding: AuditFinding) -> None:
    mend = MENDERS.get(fault.kind)
    if mend is None:
        return
    try:
        done = mend(repairer, fault)
    except ClusterRefused as refusal:
        log.warning("repair_refused", cluster_id=repairer.cluster.pk, kind=fault.kind, subject=fault.subject, reason=refusal.reason)
        return
    if done:
        _mended(repairer, finding, done)


def _mended(repairer: Repairer, finding: AuditFinding, done: str) -> None:
    findings.repaired(finding, done, now=repairer.now)
    log.warning("finding_repaired", cluster_id=repairer.cluster.pk, kind=finding.kind, subject=finding.subject, repair=done)


# ---- the document --------------------------------------------------------------------------------------------------------


def _policies(repairer: Repairer, found: list[AuditFinding]) -> None:
    """Another document is replaced by a push; where the right one is stored, and something else is in force, it is stored once more."""
    if not found:
        return
    stored_other = any(finding.kind != Kind.FILTER and finding.subject != IN_FORCE for finding in found)
    done = "" if stored_other else _put_again(repairer)
    if not done:
        with transaction.atomic():
            writers.distrust(repairer.cluster.pk, now=repairer.now)
        done = "asked for a push"
    for finding in found:
        _mended(repairer, finding, done)


def _put_again(repairer: Repairer) -> str:
    """As the one writer. A push finds the document stored and would leave it. Raises: ClusterError."""
    running = bookkeeping.running_of(repairer.cluster.pk)
    wishes.touch(repairer.cluster.pk, now=repairer.now)
    writer = writers.take(repairer.cluster.pk, now=repairer.now) if running else None
    if running is None or writer is None:
        return ""
    try:
        repairer.admin.put_policy(running.document)
        writers.hold(writer)
    except Fenced:
        return ""
    finally:
        writers.release(writer)
    return f"stored #{running.pk} once more"


# ---- users and nodes -----------------------------------------------------------------------------------------------------


def _user(repairer: Repairer, fault: Fault) -> str:
    """By the server's own API, so that it knows of the user at once."""
    account, admin = fault.account, repairer.admin
    there = [user for user in admin.users(name=account) if user.name == account]
    made = there[0] if there else admin.make_user(account)
    rows = Binding.objects.across_tenants().filter(cluster_id=repairer.cluster.pk, tenant__account=account)
    rows.exclude(headscale_user_id=made.id).update(headscale_user_id=made.id)
    return f"took user {made.id}" if there else f"made user {made.id}"


def _tags(repairer: Repairer, fault: Fault) -> str:
    if done := _put_back(repairer, fault):
        return done
    return _end(repairer, fault)


def _owner(repairer: Repairer, fault: Fault) -> str:
    """Whoever holds the device now has a session on it: that ends first."""
    done = [_end(repairer, fault), _put_back(repairer, fault)]
    return ", ".join(filter(None, done))


def _put_back(repairer: Repairer, fault: Fault) -> str:
    """The tags that ACS knows of the device; nothing where it has none, or where its server does not know them at present."""
    known = repairer.seen.meant.devices.get(fault.node_id or 0)
    if known is None or not known.tags or fault.node_id is None:
        return ""
    try:
        repairer.admin.set_tags(fault.node_id, known.tags)
    except ClusterRefused as refusal:
        log.warning("tags_not_put_back", cluster_id=repairer.cluster.pk, node_id=fault.node_id, reason=refusal.reason)
        return ""
    _record(repairer, fault, "device.retag", tags=list(known.tags))
    return "put its tags back"


def _end(repairer: Repairer, fault: Fault) -> str:
    node = repairer.seen.nodes.get(fault.node_id or 0)
    if node is None or not repairer.may_end or comparing.has_ended(node, now=repairer.now):
        return ""
    repairer.admin.expire_node(node.id, repairer.now)
    _record(repairer, fault, "device.expire", kind=fault.kind)
    return "ended its login"


def _routes(repairer: Repairer, fault: Fault) -> str:
    if fault.node_id is None:
        return ""
    routing.tell(repairer.cluster, [fault.node_id])
    return "told the server which routes are approved"


@transaction.atomic
def _record(repairer: Repairer, fault: Fault, verb: str, **detail: object) -> None:
    tenant = Tenant.objects.filter(account=fault.account).first() if fault.account else None
    target = f"node:{fault.node_id}"
    audit.record(verb, actor=ACTOR, tenant=tenant, target=target, now=repairer.now, cluster_id=repairer.cluster.pk, **detail)


MENDERS: dict[str, Callable[[Repairer, Fault], str]] = {
    Kind.USER_MISSING: _user,
    Kind.TAG: _tags,
    Kind.OWNER: _owner,
    Kind.MEMORY: _end,
    Kind.ROUTE: _routes,
}
