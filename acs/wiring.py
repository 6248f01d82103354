"""What the lower apps leave open: who may refuse another plan, what ends with a tenant, and what happens after a commit.

Audit events are sealed, new bindings reach the gateway, lost entitlements reach the servers, queues the refill.
"""

from __future__ import annotations

from contextlib import suppress

import structlog
from django.core.cache import cache
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from billing import endings, settling
from placement import routing
from placement.models import Binding
from placement.policies import wishes
from placement.policies.pushing import Hook
from tenants import audit, lifecycle, plans
from tenants.models import AuditEvent

log = structlog.get_logger(__name__)


# acts after which keys that were handed out, or devices, have lost their right: their server is told at once, not by the next sweep
TAKING = frozenset({"tenant.suspend", "tenant.close", "enrolment_key.revoke", "enrolment.disable", "enrolment.put"})

# acts after which a cluster's document may read differently: tenants come and go, and documents name people
SPEAKING = frozenset({"tenant.suspend", "tenant.resume", "tenant.close", "tenant.reopen", "member.add", "member.remove"})
AFTER_PUSHES: tuple[Hook, ...] = (routing.after_push,)  # what waits for a document to run


def connect() -> None:
    lifecycle.AGREEMENTS[:] = [settling.check_plan]
    lifecycle.CONTRACTS[:] = [lifecycle.Contract(endings.hold, endings.close, endings.reopen)]
    plans.AGREED[:] = [settling.agreed]
    audit.FOLLOWERS[:] = [seal_soon, sweep_soon, push_soon, audit_soon]


def seal_soon(event: AuditEvent) -> None:  # noqa: ARG001 - a follower's signature
    """The broker being down is no reason to fail an act: the schedule seals within seconds of its return."""
    from acs.tasks import seal_audit

    enqueue(seal_audit)


def sweep_soon(event: AuditEvent) -> None:
    from acs.tasks import sweep_cluster

    if event.verb in TAKING and event.tenant_id is not None:
        for cluster_id in Binding.objects.of(event.tenant_id).values_list("cluster_id", flat=True):
            enqueue(sweep_cluster, cluster_id)


def push_soon(event: AuditEvent) -> None:
    """A wish that is lost with its process is made good by the schedule, which compiles every cluster again."""
    from acs.tasks import push_cluster

    if event.verb in SPEAKING and event.tenant_id is not None:
        wishes.touch_of(event.tenant_id, now=event.at)
    elif event.verb == "policy.push":
        enqueue(push_cluster, event.target)


def audit_soon(event: AuditEvent) -> None:
    if event.verb == "cluster.audit":
        audit_now(event.target)


def audit_now(cluster_id: str) -> None:
    from acs.tasks import audit_cluster

    enqueue(audit_cluster, cluster_id)


def refill_soon(cluster_id: str) -> None:
    """Devices queue for keys of an external cluster: the refill is asked once in a while, however many they are."""
    from acs.tasks import refill_cluster

    with suppress(RedisError):
        if cache.add(f"refill-asked:{cluster_id}", 1, timeout=2):
            enqueue(refill_cluster, cluster_id)


def enqueue(task: object, *arguments: object) -> None:
    """Send a task that the schedule would do later anyway."""
    try:
        task.apply_async(arguments, ignore_result=True, expires=60)  # type: ignore[attr-defined]
    except OperationalError as error:
        log.warning("not_enqueued", task=getattr(task, "name", ""), error=str(error))
