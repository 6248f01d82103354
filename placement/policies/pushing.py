"""A cluster's document brought to its server: compiled, proven, stored, and written down. One writer at a time, and a kill anywhere is made good.

What is pushed are not changes but the whole: however many wishes waited, one document carries them all out, and what they come to is read after they
were counted. The server is asked what it runs before it is told, so that a policy which somebody else wrote is kept as evidence before it is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import structlog

from placement import alerts, clusters, policy
from placement.errors import ClusterError, ClusterRefused, ClusterSilent, ClusterUnreachable
from placement.headscale.admin import Admin
from placement.models import Alert, AuditFinding, Cluster, PolicyPush
from placement.policies import bookkeeping, findings, writers
from placement.policies.choosing import choose
from placement.policies.compiling import digest_of
from placement.policies.proving import NotProven
from placement.policies.writers import Fenced, Writer

log = structlog.get_logger(__name__)

State = PolicyPush.State
Hook = Callable[[str, datetime], object]


def push(cluster_id: str, now: datetime, *, after: Iterable[Hook] = ()) -> PolicyPush | None:
    """Bring the server what the tenants of the cluster wish for. What became of it; None where there was nothing to do, or another one does it.

    `after` is called with the cluster and the time once the server runs the document. A server that says no or nothing is no error here: it is
    written down and tried again.
    """
    cluster = Cluster.objects.select_related("fleet").filter(pk=cluster_id).exclude(state=Cluster.State.OFFLINE).first()
    if cluster is None or cluster.registered_at is None:
        return None
    return write(cluster, now, after=after)


def write(cluster: Cluster, now: datetime, *, after: Iterable[Hook] = ()) -> PolicyPush | None:
    """The same whatever the cluster's state."""
    writer = writers.take(cluster.pk, now=now)
    if writer is None:
        return None
    try:
        with clusters.admin_of(cluster) as admin:
            done = carry(writer, admin)
    except Fenced:
        log.warning("policy_writer_fenced", cluster_id=cluster.pk, fence=writer.fence)
        return None
    except (ClusterError, NotProven) as trouble:
        bookkeeping.failed(writer, str(trouble))
        return None
    finally:
        writers.release(writer)
    if done.state == State.STORED:
        _tell(after, writer)
    return done


def _tell(after: Iterable[Hook], writer: Writer) -> None:
    """Each by itself: the document runs whatever becomes of those who waited for it."""
    for hook in after:
        try:
            hook(writer.cluster_id, writer.now)
        except ClusterError as error:
            log.warning("after_push_failed", cluster_id=writer.cluster_id, error=str(error))


def carry(writer: Writer, admin: Admin) -> PolicyPush:
    """Find out what the server shall run, and see that it does. Raises: Fenced, ClusterError, NotProven."""
    recover(writer, admin)
    running = bookkeeping.running_of(writer.cluster_id)
    digest = running.digest if running else ""
    chosen = choose(writer.cluster_id, admin, running=digest, turn=writer.fence, go_on=lambda: writers.hold(writer))
    writers.hold(writer)
    bookkeeping.tell(writer, chosen)
    if running is not None and chosen.compiled.digest == digest:
        done = running
    else:
        done = bookkeeping.begin(writer, chosen)
        if not _bring(writer, admin, done):
            done.refresh_from_db()
            return done
    bookkeeping.stored(writer, done, chosen.versions, reached=writer.wanted)
    bookkeeping.weigh(writer.cluster_id, chosen.compiled.rules)
    bookkeeping.worked(writer)
    done.refresh_from_db()
    return done


def recover(writer: Writer, admin: Admin) -> None:
    """A push whose writer died: the server took its document, or never will. Raises: Fenced, ClusterError."""
    left = bookkeeping.under_way(writer.cluster_id)
    if left is None:
        return
    present = admin.policy()
    writers.hold(writer)
    if present is not None and present.document == left.document:
        bookkeeping.stored(writer, left, left.versions, reached=None)
        log.info("policy_push_recovered", cluster_id=writer.cluster_id, push=left.pk)
    else:
        bookkeeping.ended(writer, left, State.SUPERSEDED, "its writer ended before the server had it")


def _bring(writer: Writer, admin: Admin, row: PolicyPush) -> bool:
    """Whether the server runs the row's document now; why not is written down. A server of which nobody knows leaves the row under way.

    Raises: Fenced, ClusterSilent.
    """
    try:
        if _runs_already(writer, admin, row):
            return True
    except ClusterError as error:
        return _came_to_nothing(writer, row, State.FAILED, error.reason)
    writers.hold(writer)
    try:
        taken = _put(writer, admin, row)
    except ClusterRefused as refusal:
        return _came_to_nothing(writer, row, State.REFUSED, refusal.reason)
    except ClusterUnreachable as error:
        return _came_to_nothing(writer, row, State.FAILED, error.reason)
    return taken or _came_to_nothing(writer, row, State.FAILED, "the server fell silent and did not take it")


def _came_to_nothing(writer: Writer, row: PolicyPush, state: PolicyPush.State, reason: str) -> bool:
    bookkeeping.ended(writer, row, state, reason)
    bookkeeping.failed(writer, reason)
    return False


def _put(writer: Writer, admin: Admin, row: PolicyPush) -> bool:
    """Tell the server, and see that nobody else did meanwhile. Raises: Fenced, ClusterError; ClusterSilent where nobody knows whether it took it."""
    try:
        admin.put_policy(row.document)
        taken = True
    except ClusterSilent as silence:
        taken = _took_it(admin, row, silence)
    finally:
        _doubt_if_late(writer)
    writers.hold(writer)
    return taken


def _took_it(admin: Admin, row: PolicyPush, silence: ClusterSilent) -> bool:
    """What became of a document on which the server fell silent. Raises: ClusterSilent."""
    try:
        present = admin.policy()
    except ClusterError as error:
        raise silence from error
    return present is not None and present.document == row.document


def _doubt_if_late(writer: Writer) -> None:
    """A document that reached the server after another writer's: nobody knows which one it runs."""
    try:
        writers.hold(writer)
    except Fenced:
        writers.distrust(writer.cluster_id, now=writer.now)


def _runs_already(writer: Writer, admin: Admin, row: PolicyPush) -> bool:
    """What the server has now. A policy of somebody else's is kept before it is replaced. Raises: ClusterError."""
    present = admin.policy()
    if present is None:
        return False
    if not policy.is_ours(present.document):
        keep_foreign(writer.cluster_id, present.document, now=writer.now)
    return present.document == row.document


def keep_foreign(cluster_id: str, document: str, *, now: datetime) -> AuditFinding:
    """A policy that ACS did not write stands on a cluster of ACS. Its alert stays open until an audit finds the cluster in order."""
    kind = AuditFinding.Kind.POLICY_FOREIGN
    found = findings.keep(cluster_id, kind, digest_of(document), findings.document(document), now=now)
    findings.repaired(found, "replaced by the next push", now=now)
    alerts.raise_(Alert.Kind.POLICY_FOREIGN, cluster_id, facts={"characters": len(document)}, now=now)
    return found
