"""The SQL that says what counts: sessions, and open ones up to what is certain, clipped to a range, to the tenant's stays and to what is left by corrections.

`pieces(whose)` is a list of common table expressions that ends in `piece(tenant_id, cluster_id, device_id, lower, upper)`, between %(start)s and %(end)s (not
included), both given as whole seconds. A device that one single poll saw is a piece of no length: it is active, for no second.
"""

from __future__ import annotations

BY_CLUSTER_DAY = "cluster_id = %(cluster)s"
BY_TENANT = "tenant_id = %(tenant)s"
BY_DEVICE = "tenant_id = %(tenant)s and device_id = %(device)s"

# A stored session lies within one UTC day: those that may reach into the range began on its first day or later. Partitions and BRIN leave out the others.
RAW = """
raw as (
    select tenant_id, cluster_id, device_id, began, ended from billing_session
    where {whose} and began >= date_trunc('day', %(start)s::timestamptz, 'UTC') and began < %(end)s and ended >= %(start)s
    union all
    select o.tenant_id, o.cluster_id, o.device_id, o.began, {until} from billing_opensession o
    join billing_meter m using (cluster_id) where o.{whose_open} and o.began < %(end)s and {until} >= %(start)s
)"""

# An open session is billable up to the last poll that was accepted, never to now; in doubt, up to the last certain moment.
UNTIL = "coalesce(o.certain_until, m.last_ok)"

STAYED = """
stayed as (
    select r.tenant_id, r.cluster_id, r.device_id, r.began, greatest(r.began, s.since, %(start)s) as lower, least(r.ended, s.until, %(end)s) as upper,
        r.began >= s.since and r.began < s.until and r.began >= %(start)s as seen
    from raw r join ({stays}) s on s.tenant_id = r.tenant_id and s.cluster_id = r.cluster_id
)"""

STAYS = """
select tenant_id, cluster_id, date_trunc('second', since) as since, coalesce(date_trunc('second', until), 'infinity') as until from placement_stay"""

# Of a cluster, of a tenant or of a device: what several corrections say counts once. One that was taken back says nothing.
LEFT = """
wrong as materialized (
    select cluster_id, tenant_id, device_id, range_agg(tstzrange(date_trunc('second', since), date_trunc('second', until))) as ranges
    from billing_correction c where since < %(end)s and until > %(start)s
        and not exists (select from billing_retraction r where r.correction_id = c.id)
    group by cluster_id, tenant_id, device_id
), piece as materialized (
    select c.tenant_id, c.cluster_id, c.device_id, lower(part) as lower, upper(part) as upper
    from stayed c
    left join wrong of_cluster on of_cluster.cluster_id = c.cluster_id
    left join wrong of_tenant on of_tenant.tenant_id = c.tenant_id and of_tenant.device_id is null
    left join wrong of_device on of_device.device_id = c.device_id and of_device.tenant_id = c.tenant_id,
    unnest(case when of_cluster.ranges is null and of_tenant.ranges is null and of_device.ranges is null
        then tstzmultirange(tstzrange(c.lower, c.upper, '[]'))
        else tstzmultirange(tstzrange(c.lower, c.upper, '[]')) - coalesce(of_cluster.ranges, '{}') - coalesce(of_tenant.ranges, '{}')
            - coalesce(of_device.ranges, '{}') end) part
    where (c.lower < c.upper or c.seen and c.lower = c.upper) and (lower(part) < upper(part) or c.lower = c.upper)
)"""


def pieces(whose: str) -> str:
    """Common table expressions, without the word `with`, of everything that counts for whoever `whose` names."""
    raw = RAW.format(whose=whose, whose_open=whose.replace(" and ", " and o."), until=UNTIL)
    return f"{raw}, {STAYED.format(stays=STAYS)}, {LEFT}"


SECONDS = "coalesce(sum(extract(epoch from upper - lower)), 0)::bigint"
