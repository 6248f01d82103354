"""The audit of a cluster: what its server runs and holds beside what ACS meant. What is found is kept with its evidence, what can be put right safely is.

A push or a poll under way could explain a difference. So policies are compared while no push is, and whatever a first look shows counts only if a
second one shows it too. Of a server that does not answer nothing is found: the audit says that it could not look.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

import structlog
from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from placement import alerts
from placement.errors import ClusterError
from placement.models import Alert, AuditFinding, Cluster, ClusterPolicy
from placement.policies import findings, looking, repairing
from placement.policies.comparing import Fault
from placement.policies.looking import POLICIES, Kind, Look
from tenants import audit as acts
from tenants.errors import WrongState

log = structlog.get_logger(__name__)

SECOND_LOOK = 1.5  # seconds between the two
CALM_TRIES, CALM_PAUSE = 5, 1.0  # how often, and how many seconds apart, an audit looks for a moment without a push


class Outcome(StrEnum):
    WELL = "well"
    FOUND = "found"
    PARTIAL = "partial"  # something could not be compared, and nothing was found in the rest
    AWAY = "away"  # the server did not answer
    SKIPPED = "skipped"  # the cluster does not serve


@dataclass(frozen=True)
class Audit:
    """What came of one audit. `found`: the findings that this one confirmed; `over`: how many that were open are no more; `blind`: kinds not compared."""

    cluster_id: str
    outcome: Outcome
    found: tuple[AuditFinding, ...] = ()
    over: int = 0
    blind: frozenset[str] = frozenset()
    reason: str = ""


@dataclass(frozen=True)
class Clock:
    """The time as it goes on from the `now` that a caller gave."""

    now: datetime
    begun: float = field(default_factory=time.monotonic)

    def __call__(self) -> datetime:
        return self.now + timedelta(seconds=time.monotonic() - self.begun)


def audit(cluster_id: str, now: datetime) -> Audit:
    """Compare the cluster, keep what is found, repair what is safe, raise and close the alerts. No error of the server's is one here."""
    cluster = Cluster.objects.select_related("fleet").filter(pk=cluster_id).exclude(state=Cluster.State.OFFLINE).first()
    if cluster is None or cluster.registered_at is None:
        return Audit(cluster_id, Outcome.SKIPPED)
    clock = Clock(now)
    try:
        seen = _look(cluster, clock)
    except ClusterError as error:
        log.warning("audit_could_not_look", cluster_id=cluster_id, reason=str(error))
        return Audit(cluster_id, Outcome.AWAY, reason=str(error))
    found = [_keep(cluster_id, fault, seen, clock()) for fault in seen.faults]
    over = _close(cluster_id, found, seen.blind, clock())
    repairing.repair(cluster, seen, found, now=clock())
    _alert(cluster_id, clock())
    if not seen.blind:
        ClusterPolicy.objects.get_or_create(cluster_id=cluster_id)
        ClusterPolicy.objects.filter(pk=cluster_id).update(checked_at=now)
    done = Audit(cluster_id, _outcome(found, seen.blind), tuple(_fresh(found)), over, seen.blind)
    told = log.warning if found else log.info
    told("audited", cluster_id=cluster_id, outcome=done.outcome, found=_counts(found), over=over, not_compared=sorted(seen.blind))
    return done


def _outcome(found: Iterable[AuditFinding], blind: frozenset[str]) -> Outcome:
    return Outcome.FOUND if found else Outcome.PARTIAL if blind else Outcome.WELL


def _fresh(found: Iterable[AuditFinding]) -> list[AuditFinding]:
    return list(AuditFinding.objects.across_tenants().filter(pk__in=[finding.pk for finding in found]).order_by("pk"))


# ---- looking twice -----------------------------------------------------------------------------------------------------


def _look(cluster: Cluster, clock: Clock) -> Look:
    """What two looks both show; without policies, where there was no moment without a push. Raises: ClusterError."""
    for attempt in range(CALM_TRIES):
        if attempt:
            time.sleep(CALM_PAUSE)
        fence = _calm(cluster.pk, clock())
        if fence is not None:
            seen = _twice(cluster, but=frozenset())
            if _calm(cluster.pk, clock()) == fence:
                return seen
    return _twice(cluster, but=POLICIES)


def _calm(cluster_id: str, now: datetime) -> int | None:
    """The token of the last writer where none is at work or about to be: a push that fails again and again is no reason not to look."""
    row = ClusterPolicy.objects.filter(pk=cluster_id).first()
    if row is None:
        return 0
    is_held = row.lease_until is not None and row.lease_until > now
    return None if is_held or (row.wanted > row.done and not row.failures) else row.fence


def _twice(cluster: Cluster, *, but: frozenset[str]) -> Look:
    first = looking.look(cluster, but=but)
    if not first.faults:
        return first
    time.sleep(SECOND_LOOK)
    return looking.look(cluster, but=but).confirming(first)


# ---- what is kept --------------------------------------------------------------------------------------------------------


def _keep(cluster_id: str, fault: Fault, seen: Look, now: datetime) -> AuditFinding:
    tenant_id = seen.tenant_ids.get(fault.account)
    return findings.keep(cluster_id, Kind(fault.kind), fault.subject, dict(fault.evidence), now=now, tenant_id=tenant_id)


def _close(cluster_id: str, found: Iterable[AuditFinding], blind: frozenset[str], now: datetime) -> int:
    """What was open and is not so any more, as far as this audit could see."""
    there = {finding.pk for finding in found}
    open_ones = AuditFinding.objects.across_tenants().filter(cluster=cluster_id, over_at=None).exclude(kind__in=blind).exclude(pk__in=there)
    close = partial(findings.over, cluster_id, now=now)
    return sum(close(Kind(kind), subject) for kind, subject in list(open_ones.values_list("kind", "subject")))


def _alert(cluster_id: str, now: datetime) -> None:
    """One alert for a foreign policy, one for all the rest; over when nothing of the kind is open."""
    counts = Counter(AuditFinding.objects.across_tenants().filter(cluster=cluster_id, over_at=None).values_list("kind", flat=True))
    foreign = counts.pop(Kind.POLICY_FOREIGN, 0)
    for kind, facts in ((Alert.Kind.POLICY_FOREIGN, {"documents": foreign} if foreign else {}), (Alert.Kind.DRIFT, dict(counts))):
        if facts:
            alerts.raise_(kind, cluster_id, facts=facts, now=now)
        else:
            alerts.over(kind, cluster_id, now=now)


def _counts(found: Iterable[AuditFinding]) -> dict[str, int]:
    return dict(Counter(finding.kind for finding in found))


def served() -> list[str]:
    """The clusters that are audited, the longest unaudited first."""
    serving = Cluster.objects.exclude(state=Cluster.State.OFFLINE).exclude(registered_at=None)
    return list(serving.order_by(F("cluster_policy__checked_at").asc(nulls_first=True), "pk").values_list("pk", flat=True))


@transaction.atomic
def demand(cluster: Cluster, *, actor: str, now: datetime) -> None:
    """Somebody wants the cluster audited now: who follows the audit of acts sees to it. Raises: WrongState."""
    if cluster.registered_at is None or cluster.state == Cluster.State.OFFLINE:
        raise WrongState(_("%(cluster)s does not serve") % {"cluster": cluster.pk})
    acts.record("cluster.audit", actor=actor, tenant=None, target=cluster.pk, now=now)
