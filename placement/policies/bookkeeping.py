"""What is written down of a push: its row, what the cluster runs, whose version its server took, and what went wrong. Every write under the token.

A push that is under way when its writer dies is found by the next one, which asks the server what became of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from django.db import transaction
from django.db.models import Case, DateTimeField, Value, When

from placement import alerts
from placement.models import Alert, Binding, ClusterPolicy, PolicyPush
from placement.policies.choosing import Chosen
from placement.policies.writers import Fenced, Writer, hold, pause
from tenants.models import NetworkPolicy, PolicyVersion

log = structlog.get_logger(__name__)

State = PolicyPush.State
STUCK = 3  # failures in a row that an operator is told of


@transaction.atomic
def begin(writer: Writer, chosen: Chosen) -> PolicyPush:
    """The push is under way. Another try of the document that failed last is the same row, so that a server which is down fills no table. Raises: Fenced."""
    hold(writer)
    last = PolicyPush.objects.filter(cluster_id=writer.cluster_id).order_by("-id").first()
    again = last is not None and last.state in (State.REFUSED, State.FAILED) and last.digest == chosen.compiled.digest
    push = last if again and last is not None else PolicyPush(cluster_id=writer.cluster_id)
    push.fence, push.state, push.started_at, push.finished_at, push.reason = writer.fence, State.PUSHING, writer.now, None, ""
    push.document, push.digest, push.form = chosen.compiled.text, chosen.compiled.digest, chosen.compiled.form
    push.cost, push.rules, push.versions = chosen.compiled.seconds, sum(chosen.compiled.rules.values()), chosen.versions
    push.save()
    return push


@transaction.atomic
def stored(writer: Writer, push: PolicyPush, versions: Mapping[str, int], *, reached: int | None) -> None:
    """The server runs the push's document, in which these versions are. `reached`: the wishes that it carries out; None, where nobody knows.

    Rows of tenants come before the cluster's: so do they where a version is stored. Raises: Fenced.
    """
    _took(writer.cluster_id, versions)
    now = writer.now
    fields: dict[str, object] = {"running": push, "failures": 0, "try_at": None, "trouble": ""}
    if reached is not None:  # of wishes that came meanwhile the first is at most as old as this look
        fields |= {"done": reached, "wanted_at": Case(When(wanted=reached, then=None), default=Value(now), output_field=DateTimeField())}
    if writer.row.update(**fields) != 1:
        raise Fenced(writer.cluster_id)
    PolicyPush.objects.filter(pk=push.pk, state=State.PUSHING).update(state=State.STORED, finished_at=now)


def _took(cluster_id: str, versions: Mapping[str, int]) -> None:
    of_cluster = NetworkPolicy.objects.across_tenants().filter(tenant__binding__cluster_id=cluster_id)
    rows = of_cluster.filter(tenant__account__in=versions).select_related("tenant", "running").order_by("tenant_id")
    behind = [row for row in rows if row.running is None or row.running.number != versions[row.tenant.account]]
    for row in behind:
        version = PolicyVersion.objects.of(row.tenant).filter(number=versions[row.tenant.account]).first()
        if version is not None:
            NetworkPolicy.objects.of(row.tenant).update(running=version)


def weigh(cluster_id: str, rules: Mapping[str, int]) -> None:
    """How many rules each tenant's own policy is for the server: what it costs counts as load."""
    for binding in Binding.objects.across_tenants().filter(cluster_id=cluster_id).select_related("tenant"):
        if binding.rules != (weight := rules.get(binding.tenant.account, 0)):
            Binding.objects.across_tenants().filter(pk=binding.pk, cluster_id=cluster_id).update(rules=weight)


def tell(writer: Writer, chosen: Chosen) -> None:
    """Tenants learn why the server does not run their current version, or that it does."""
    policies = NetworkPolicy.objects.across_tenants().filter(tenant__binding__cluster_id=writer.cluster_id)
    for policy in policies.select_related("tenant", "current"):
        account = policy.tenant.account
        trouble = chosen.trouble.get(account, "")[:1000]
        if not trouble and chosen.versions.get(account) != policy.current.number:
            continue  # a version that came meanwhile: the next push knows
        if trouble != policy.trouble:
            since = writer.now if trouble else None
            NetworkPolicy.objects.of(policy.tenant).filter(current=policy.current).update(trouble=trouble, trouble_at=since)


def ended(writer: Writer, push: PolicyPush, state: PolicyPush.State, reason: str) -> None:
    """A push that came to nothing."""
    PolicyPush.objects.filter(pk=push.pk, state=State.PUSHING).update(state=state, finished_at=writer.now, reason=reason[:1000])


def failed(writer: Writer, reason: str) -> None:
    """What the server runs stays; the next try comes after a pause."""
    failures, now = writer.failures + 1, writer.now
    changed = writer.row.update(failures=failures, try_at=now + pause(failures), trouble=reason[:1000])
    log.warning("policy_push_failed", cluster_id=writer.cluster_id, failures=failures, reason=reason)
    if changed and failures >= STUCK:
        alerts.raise_(Alert.Kind.POLICY_STUCK, writer.cluster_id, facts={"reason": reason[:300], "failures": failures}, now=now)


def worked(writer: Writer) -> None:
    alerts.over(Alert.Kind.POLICY_STUCK, writer.cluster_id, now=writer.now)


def under_way(cluster_id: str) -> PolicyPush | None:
    return PolicyPush.objects.filter(cluster_id=cluster_id, state=State.PUSHING).first()


def running_of(cluster_id: str) -> PolicyPush | None:
    """The document that the server took last, unless somebody doubts it."""
    row = ClusterPolicy.objects.filter(pk=cluster_id).select_related("running").first()
    return row.running if row else None
