"""Who may change a cluster's document now: one writer at a time, by a lease in the cluster's row, and every write of it under its fencing token.

A lease is taken by one conditional update that counts `fence` up. A writer that was slower than its lease finds another token there and stops. What it
cannot take back is a call that is on its way to the server: it looks again afterwards, and says that nobody knows any more what the server runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet

from placement.models import Cluster, ClusterPolicy
from placement.policies import wishes
from tenants import audit

QUIET = timedelta(seconds=1)  # a wish is pushed when no other has come for so long
LONGEST_WAIT = timedelta(seconds=5)  # or when the first has waited for so long
LEASE = timedelta(seconds=60)  # several times what one call to a server may last
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=5)

TAKE = """
update placement_clusterpolicy set fence = fence + 1, lease_until = %(until)s
where cluster_id = %(cluster_id)s and (lease_until is null or lease_until <= %(now)s) and wanted > done
returning fence, wanted, failures
"""


class Fenced(Exception):
    """Another writer holds the lease meanwhile: whatever this one found out is out of date."""


@dataclass(frozen=True)
class Writer:
    """Who holds the lease of a cluster under the token `fence`, taken at `taken_at`. `wanted`: the wishes that it found, which it will have carried out."""

    cluster_id: str
    fence: int
    wanted: int
    failures: int
    taken_at: datetime
    begun: float = field(default_factory=time.monotonic)

    @property
    def now(self) -> datetime:
        """The time, on the clock by which the lease was taken."""
        return self.taken_at + timedelta(seconds=time.monotonic() - self.begun)

    @property
    def row(self) -> QuerySet[ClusterPolicy]:
        """The cluster's row, if it is still this writer's to change."""
        return ClusterPolicy.objects.filter(pk=self.cluster_id, fence=self.fence)


def ripe(*, now: datetime) -> list[str]:
    """Clusters whose wishes have waited long enough, the longest first."""
    due = Q(changed_at__lte=now - QUIET) | Q(wanted_at__lte=now - LONGEST_WAIT) | Q(changed_at=None)
    free = Q(lease_until=None) | Q(lease_until__lte=now)
    calm = Q(try_at=None) | Q(try_at__lte=now)
    rows = served().filter(due, free, calm, wanted__gt=F("done"))
    return list(rows.order_by("wanted_at").values_list("cluster_id", flat=True))


def served() -> QuerySet[ClusterPolicy]:
    """Of clusters that ACS talks to."""
    return ClusterPolicy.objects.exclude(cluster__state=Cluster.State.OFFLINE).exclude(cluster__registered_at=None)


def take(cluster_id: str, *, now: datetime) -> Writer | None:
    """The lease, if there is something to do and nobody has it."""
    with connection.cursor() as cursor:
        cursor.execute(TAKE, {"cluster_id": cluster_id, "now": now, "until": now + LEASE})
        row = cursor.fetchone()
    return Writer(cluster_id, row[0], row[1], row[2], now) if row else None


def hold(writer: Writer) -> None:
    """Still the one writer, and for a whole lease from now on. Raises: Fenced."""
    if writer.row.update(lease_until=writer.now + LEASE) != 1:
        raise Fenced(writer.cluster_id)


def release(writer: Writer) -> None:
    writer.row.update(lease_until=None)


def pause(failures: int) -> timedelta:
    """How long to leave a server alone after so many failures in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))


def distrust(cluster_id: str, *, now: datetime) -> None:
    """Nobody knows what the server runs: the next push asks it, whatever was pushed last."""
    wishes.touch(cluster_id, now=now)
    ClusterPolicy.objects.filter(pk=cluster_id).update(running=None)


@transaction.atomic
def demand(cluster: Cluster, *, actor: str, now: datetime) -> None:
    """Somebody wants the cluster's document compared with the server's, and pushed where it differs, without waiting for a pause to end."""
    audit.record("policy.push", actor=actor, tenant=None, target=cluster.cluster_id, now=now)
    distrust(cluster.cluster_id, now=now)
    ClusterPolicy.objects.filter(pk=cluster.pk).update(try_at=None)
