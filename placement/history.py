"""How many devices each tenant had, hour by hour: what its own expected load is read from."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection

from placement.models import TenantHour

KEPT = timedelta(days=14)

# one statement a poll, however many tenants live on the cluster; a repeat or an earlier look of the same hour lowers nothing
NOTE = """
insert into placement_tenanthour (tenant_id, hour, peak)
select tenant_id, date_trunc('hour', %(at)s::timestamptz, 'UTC'), count(*) from placement_device
where cluster_id = %(cluster)s and gone_at is null group by tenant_id
on conflict (tenant_id, hour) do update set peak = excluded.peak where placement_tenanthour.peak < excluded.peak
"""


def note(cluster_id: str, *, at: datetime) -> None:
    """After a complete poll, in its transaction."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE, {"cluster": cluster_id, "at": at})


def forget(*, now: datetime) -> int:
    """Hours that no forecast reads any more. Returns how many."""
    return TenantHour.objects.across_tenants().filter(hour__lt=now - KEPT).delete()[0]
