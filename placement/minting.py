"""Minting on external clusters, measured.

A key costs such a server a tenth of a second of CPU and more. How long the last ones took says how fast its queue moves and how often the
refill may ask (placement/refill.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

from django.db import connection

from placement import external
from placement.headscale.admin import PreAuthKey
from placement.models import Cluster, Minting

AT_FIRST = 0.125  # seconds a key, until the first one was measured: what a core of today takes
WEIGHT = 0.2  # of the newest measure

MEASURE = """
insert into placement_minting (cluster_id, seconds, minted) values (%(cluster_id)s, %(took)s, 1)
on conflict (cluster_id) do update set minted = placement_minting.minted + 1, seconds = case when placement_minting.minted = 0 then excluded.seconds
    else placement_minting.seconds * (1 - %(weight)s::float8) + excluded.seconds * %(weight)s::float8 end
"""


def seconds_of(cluster_id: str) -> float:
    """How long this cluster takes to mint a key."""
    known = Minting.objects.filter(pk=cluster_id).values_list("seconds", flat=True).first()
    return AT_FIRST if known is None else known


def mint(cluster: Cluster, *, headscale_user_id: int, expires_at: datetime, ephemeral: bool, tags: Iterable[str] = ()) -> PreAuthKey:
    """A new key, and its time measured. Raises: ClusterRefused, ClusterUnreachable, ClusterSilent."""
    begun = time.monotonic()
    made = external.mint(cluster, headscale_user_id=headscale_user_id, expires_at=expires_at, ephemeral=ephemeral, tags=tags)
    took = max(time.monotonic() - begun, 0.001)
    with connection.cursor() as cursor:
        cursor.execute(MEASURE, {"cluster_id": cluster.pk, "took": took, "weight": WEIGHT})
    return made
