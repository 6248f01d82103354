"""Keys and users on servers that ACS reaches only from outside: external clusters by their admin API, fleets elsewhere by their database.

Nothing here runs inside a transaction of ours: a slow server must never hold a row lock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

import stamina

from placement import clusters, fleetdb
from placement.errors import ClusterSilent, ClusterUnreachable
from placement.headscale.admin import PreAuthKey
from placement.headscale.keys import AuthKey
from placement.models import Cluster

PUT_SECONDS, PUT_TRIES = 2.0, 4  # of a key for a fleet elsewhere, while its device waits


def ensure_user(cluster: Cluster, account: str) -> int:
    """The id of the tenant's headscale user, made if missing. Asking first makes a repeat after silence safe. Raises: ClusterError."""
    if cluster.fleet_id is not None:
        with fleetdb.elsewhere(cluster, "acs_web") as cursor:
            cursor.execute("select headscale.make_user(%s, %s)", [cluster.cluster_id, account])
            return int(cursor.fetchall()[0][0])
    with clusters.admin_of(cluster) as admin:
        for user in admin.users(name=account):
            if user.name == account:
                return user.id
        return admin.make_user(account).id


def mint(cluster: Cluster, *, headscale_user_id: int, expires_at: datetime, ephemeral: bool, tags: Iterable[str] = ()) -> PreAuthKey:
    """A new single-use key of an external cluster; `tags` in the server's words. Raises: ClusterRefused, ClusterUnreachable, ClusterSilent (never repeat then)."""
    with clusters.admin_of(cluster) as admin:
        return admin.make_key(headscale_user_id, expiration=expires_at, ephemeral=ephemeral, tags=tags)


def put(
    cluster: Cluster, key: AuthKey, *, headscale_user_id: int, expires_at: datetime, ephemeral: bool, tags: str = "[]", now: datetime
) -> int:
    """Put a derived key into a fleet elsewhere and return its id; `tags` as the server's table has them. Safe to repeat, and repeated for a while: the prefix is unique.

    What could not be put, a later request of the device puts, or the sweeper. Raises: ClusterUnreachable, ClusterSilent.
    """
    row = [key.prefix, key.hashed(), headscale_user_id, ephemeral, tags, now, expires_at, cluster.cluster_id]
    deadline = time.monotonic() + PUT_SECONDS
    attempts = stamina.retry_context(
        on=lambda error: isinstance(error, ClusterUnreachable | ClusterSilent) and time.monotonic() < deadline,
        attempts=PUT_TRIES,
        timeout=PUT_SECONDS,
        wait_initial=0.1,
        wait_max=0.5,
    )
    for attempt in attempts:
        with attempt:
            key_id = _put_once(cluster, row, key.prefix)
    return key_id


def _put_once(cluster: Cluster, row: list[object], prefix: str) -> int:
    with fleetdb.elsewhere(cluster, "acs_web", seconds=PUT_SECONDS) as cursor:
        cursor.execute(PUT, row)
        rows = cursor.fetchall()
        if not rows:
            cursor.execute("select id from headscale.pre_auth_keys where prefix = %s", [prefix])
            rows = cursor.fetchall()
    return int(rows[0][0])


PUT = """
insert into headscale.pre_auth_keys (prefix, hash, user_id, reusable, ephemeral, used, tags, created_at, expiration, cluster_id)
values (%s, %s, %s, false, %s, false, %s, %s, %s, %s)
on conflict (prefix) where prefix is not null and prefix <> '' do nothing returning id
"""
