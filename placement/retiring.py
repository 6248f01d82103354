"""Keys that must not be redeemed any more: expired on their server, then marked, so that the next complete poll settles their grants.

A server that cannot be reached now is told by the next sweep; nothing is marked before the server has it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import structlog

from placement import clusters, fleetdb, settling
from placement.errors import ClusterError
from placement.models import Cluster

log = structlog.get_logger(__name__)


def retire_orphans(cluster: Cluster, *, now: datetime) -> int:
    """Expire the unused keys of suspended and closed tenants, of revoked enrolment keys, and those that were replaced. Returns how many. Raises: ClusterError."""
    key_ids = [key_id for key_id in settling.orphaned(cluster.cluster_id, now=now).values_list("key_id", flat=True) if key_id is not None]
    retire(cluster, key_ids, now=now)
    return len(key_ids)


def retire(cluster: Cluster, key_ids: Collection[int], *, now: datetime) -> None:
    """Expire these unused keys on the server. Raises: ClusterError; what was done until then stays done and marked."""
    if not key_ids:
        return
    if cluster.fleet is not None:
        with fleetdb.cursor_of(cluster.fleet) as cursor:
            fleetdb.expire_keys(cursor, cluster.cluster_id, sorted(key_ids), now=now)
        settling.mark_retired(cluster.cluster_id, key_ids, now=now)
        return
    with clusters.admin_of(cluster) as admin:
        for key_id in key_ids:
            try:
                admin.expire_key(key_id)
            except ClusterError:
                log.warning("key_not_retired", cluster_id=cluster.cluster_id, key_id=key_id)
                raise
            settling.mark_retired(cluster.cluster_id, [key_id], now=now)
