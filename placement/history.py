"""How many devices each tenant had, hour by hour: what its own expected load is read from."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection

from placement import retention
from placement.models import TenantHour

KEPT = timedelta(days=14)

# One statement a poll, however many tenants live on the cluster; a repeat or an earlier look of the same hour lowers nothing. A tenant without
# devices has an hour too, of none: else one whose devices all left would count for its busy days alone, and after a week for its plan's figure.
# In the order of tenants, so that the polls of two clusters never wait for each other's rows crosswise.
NOTE = """
insert into placement_tenanthour (tenant_id, hour, peak)
select b.tenant_id, date_trunc('hour', %(at)s::timestamptz, 'UTC'), count(d.id) from placement_binding b
left join placement_device d on d.tenant_id = b.tenant_id and d.cluster_id = b.cluster_id and d.gone_at is null
where b.cluster_id = %(cluster)s group by b.tenant_id order by b.tenant_id
on conflict (tenant_id, hour) do update set peak = excluded.peak where placement_tenanthour.peak < excluded.peak
"""


def note(cluster_id: str, *, at: datetime) -> None:
    """After a complete poll, in its transaction."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE, {"cluster": cluster_id, "at": at})


def forget(*, now: datetime) -> int:
    """Hours that no forecast reads any more. Returns how many."""
    return retention.drop(TenantHour.objects.across_tenants(), "hour", before=now - KEPT)
