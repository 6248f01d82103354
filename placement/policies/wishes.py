"""Asking for a push: whatever changes what a cluster's document must say counts one wish up, in its own transaction. The push itself comes later."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import connection

from placement.models import Binding
from tenants.models import Tenant

# one statement, so that wishes of many at once are all counted and nobody reads before writing
WISH = """
insert into placement_clusterpolicy as p (cluster_id, wanted, done, fence, failures, trouble, wanted_at, changed_at)
values (%(cluster_id)s, 1, 0, 0, 0, '', %(now)s, %(now)s)
on conflict (cluster_id) do update
set wanted = p.wanted + 1, wanted_at = coalesce(p.wanted_at, excluded.wanted_at), changed_at = excluded.changed_at
"""


def touch(cluster_id: str, *, now: datetime) -> None:
    """The cluster's document has to be compiled again. Cheap, and safe to say too often: what compiles to the same is not pushed."""
    with connection.cursor() as cursor:
        cursor.execute(WISH, {"cluster_id": cluster_id, "now": now})


def touch_of(tenant: Tenant | UUID, *, now: datetime) -> None:
    """The same for the cluster that the tenant lives on, if it has one."""
    cluster_id = Binding.objects.of(tenant).values_list("cluster_id", flat=True).first()
    if cluster_id is not None:
        touch(cluster_id, now=now)


def touch_all(*, now: datetime) -> None:
    """The same for every cluster that tenants live on."""
    for cluster_id in Binding.objects.across_tenants().order_by("cluster_id").values_list("cluster_id", flat=True).distinct():
        touch(cluster_id, now=now)
