"""The tasks: each takes an id at most, calls one function, and may overlap with itself or run twice."""

from __future__ import annotations

from contextlib import suppress

import structlog
from celery import shared_task
from django.conf import settings
from django.utils import timezone

from acs import forgetting, metrics, queue, sweep, wiring
from acs import poll as polling
from billing import dunning, settling, warnings
from billing.errors import ProviderAway
from billing.metering import partitions, rolling
from billing.models import Meter
from billing.payments import cards, matching
from placement import load, pollruns, reassess, refill
from placement.gateway import routes
from placement.gateway.haproxy import GatewayError
from placement.models import Cluster
from placement.policies import auditing, pushing, wishes, writers
from tenants import audit, clocks, issuers
from tenants.models import Tenant

log = structlog.get_logger(__name__)


@shared_task
def poll_all() -> None:
    """Ask for a poll of every registered cluster."""
    for cluster_id in _serving():
        poll_cluster.apply_async((cluster_id,), expires=settings.POLL_SECONDS)


def _serving() -> list[str]:
    return list(Cluster.objects.exclude(state=Cluster.State.OFFLINE).values_list("cluster_id", flat=True))


@shared_task
def poll_cluster(cluster_id: str) -> None:
    run = polling.poll(cluster_id, now=timezone.now(), truly=clocks.of_database())
    if run is not None:
        metrics.count_poll(cluster_id, run.outcome)


@shared_task
def load_all() -> None:
    """Ask for a sample of every cluster that has a load, each at its turn. A sample that is an interval late is the next one's."""
    for cluster_id in load.sampled():
        turn = load.turn(cluster_id)
        pull_load.apply_async((cluster_id,), countdown=turn, expires=turn + settings.LOAD_SECONDS)


@shared_task
def pull_load(cluster_id: str) -> None:
    load.pull(cluster_id, now=timezone.now())


@shared_task
def watch_load() -> None:
    load.watch(now=timezone.now())


@shared_task
def mark_hot() -> None:
    load.mark_hot(now=timezone.now())


@shared_task
def reassess_all() -> None:
    """What every tenant is expected to have, from its plan or its own history."""
    for cluster_id in Cluster.objects.exclude(registered_at=None).values_list("cluster_id", flat=True):
        reassess_cluster.apply_async((cluster_id,), expires=3600)


@shared_task
def reassess_cluster(cluster_id: str) -> None:
    reassess.reassess(cluster_id, now=timezone.now())


@shared_task
def sweep_cluster(cluster_id: str) -> None:
    """Retire keys that lost their entitlement; carry out what has fallen due for suspended and closed tenants."""
    sweep.sweep(cluster_id, now=timezone.now())


@shared_task
def sweep_all() -> None:
    for cluster_id in _serving():
        sweep_cluster.apply_async((cluster_id,), expires=60)


@shared_task
def refill_all() -> None:
    """Ask for a refill of every external cluster."""
    for cluster_id in Cluster.objects.filter(fleet=None).exclude(state=Cluster.State.OFFLINE).values_list("cluster_id", flat=True):
        refill_cluster.apply_async((cluster_id,), expires=10)


@shared_task
def refill_cluster(cluster_id: str) -> None:
    """Keys for the queue of an external cluster, then for its tenants' stock. What is left to do goes to the next task."""
    if refill.refill(cluster_id):
        wiring.enqueue(refill_cluster, cluster_id)


@shared_task
def push_policies() -> None:
    """Ask for a push of every cluster whose wishes have waited long enough."""
    for cluster_id in writers.ripe(now=timezone.now()):
        push_cluster.apply_async((cluster_id,), expires=10)


@shared_task
def push_cluster(cluster_id: str) -> None:
    begun = timezone.now()
    done = pushing.push(cluster_id, begun, after=wiring.AFTER_PUSHES)
    if done is not None:
        metrics.count_push(cluster_id, done.state if done.started_at >= begun else "unchanged")


@shared_task
def look_at_policies() -> None:
    """A wish for every cluster with tenants: what changed and asked for nothing is pushed after all, and the same document again is not."""
    wishes.touch_all(now=timezone.now())


@shared_task
def audit_all() -> None:
    """Ask for an audit of every cluster that serves."""
    for cluster_id in auditing.served():
        audit_cluster.apply_async((cluster_id,), expires=settings.AUDIT_SECONDS)


@shared_task
def audit_cluster(cluster_id: str) -> None:
    metrics.count_audit(cluster_id, auditing.audit(cluster_id, timezone.now()).outcome)


@shared_task
def roll_usage() -> None:
    """Ask for new sums of every cluster that is metered."""
    for cluster_id in Meter.objects.values_list("pk", flat=True):
        roll_cluster.apply_async((cluster_id,), expires=settings.USAGE_SECONDS)


@shared_task
def roll_cluster(cluster_id: str) -> None:
    rolling.roll(now=timezone.now(), cluster_id=cluster_id)


@shared_task
def keep_months() -> None:
    """The months to come have their tables, those that were held long enough are dropped."""
    for tables in (partitions, pollruns):
        tables.make_ahead(now=timezone.now())
        tables.drop_old(now=timezone.now())


@shared_task
def seal_audit() -> None:
    while audit.seal_all():
        pass


@shared_task
def publish_route(tenant_id: str) -> None:
    """A tenant was placed: lead its name to its cluster. A gateway that cannot be told now hears it from `sync_routes`."""
    if settings.GATEWAY_SOCKETS:
        with suppress(GatewayError):
            routes.publish(Tenant.objects.get(pk=tenant_id))


@shared_task
def sync_routes() -> None:
    """Bring every gateway in line with the bindings: after a gateway's restart, and against drift. routes.py logs a gateway that fails."""
    if settings.GATEWAY_SOCKETS:
        with suppress(GatewayError):
            routes.sync()


@shared_task
def serve_waiting() -> None:
    """Tenants that wait for room, or for the dedicated cluster of their plan."""
    queue.serve_all(now=timezone.now())


@shared_task
def settle_subscriptions() -> None:
    """Ask for every subscription of which something that was agreed comes into force."""
    for subscription_id in settling.due(now=timezone.now()):
        settle_subscription.apply_async((subscription_id,), expires=60)


@shared_task
def settle_subscription(subscription_id: int) -> None:
    settling.settle(subscription_id, now=timezone.now())


@shared_task
def review_overdue() -> None:
    """Ask for a review of every tenant that owes something past its due date, or did."""
    for tenant_id in dunning.due(now=timezone.now()):
        review_tenant.apply_async((tenant_id,), expires=600)


@shared_task
def review_tenant(tenant_id: str) -> None:
    dunning.review(Tenant.objects.select_related("plan").get(pk=tenant_id), now=timezone.now())


@shared_task
def match_payments() -> None:
    """Entries that a killed import has left waiting."""
    matching.match_waiting(now=timezone.now())


@shared_task
def reconcile_cards() -> None:
    """What Stripe's messages have not told. While it is away, the next night looks again."""
    with suppress(ProviderAway):
        cards.reconcile(now=timezone.now())


@shared_task
def warn_of_quotas() -> None:
    warnings.warn_all(now=timezone.now())


@shared_task
def refresh_issuers() -> None:
    """The keys of issuers that tenants trust are here before their workloads are."""
    issuers.refresh(now=timezone.now())


@shared_task
def forget_old_rows() -> None:
    forgetting.old(now=timezone.now())


@shared_task
def forget_spent() -> None:
    forgetting.spent(now=timezone.now())
