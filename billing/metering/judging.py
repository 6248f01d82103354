"""The SQL that makes transitions of a poll: whose session closes, since when and why; who is in doubt; whose session opens.

Each statement speaks of one cluster (%(cluster)s) and one poll: %(t)s its time, %(last)s the poll before it. All moments are whole seconds. The nodes of the
poll stand in billing_sample, whose index is what makes a million of them a matter of seconds.
"""

# Rule 4: what the server says of the last time it saw a node is believed where it lies between the two polls and the server's clock is right.
LAST_SEEN = "date_trunc('second', s.last_seen)"
CERTAIN = f"case when %(clock_right)s and {LAST_SEEN} >= %(last)s then least({LAST_SEEN}, %(t)s) else %(last)s end"

# A node is no longer there when the server does not list it, or when it is another device's by now.
THERE = """
from billing_opensession o
left join billing_sample s on s.cluster_id = o.cluster_id and s.node_id = o.node_id
left join placement_device d on d.cluster_id = o.cluster_id and d.node_id = o.node_id and d.gone_at is null and d.id = o.device_id
where o.cluster_id = %(cluster)s"""

JUDGED = f"""
select o.node_id, s.last_seen,
    case when o.certain_until is not null then o.certain_until when s.node_id is null or d.id is null then %(last)s else {CERTAIN} end as ended,
    case when s.node_id is null or d.id is null then 'gone' when o.certain_until is not null then 'doubt' else 'offline' end as reason
{THERE} and (s.node_id is null or d.id is null or not s.online and case when o.certain_until is null then not %(restarted)s
    else %(t)s - o.certain_until > %(trust)s end)"""

# Rule 3: nobody watched for too long.
UNWATCHED = """
select o.node_id, null::timestamptz as last_seen, coalesce(o.certain_until, %(last)s) as ended,
    case when o.certain_until is null then 'gap' else 'doubt' end as reason
from billing_opensession o where o.cluster_id = %(cluster)s"""

# Rule 8: a row for each UTC day that is kept; a session that one single poll saw is a row of no length.
CLOSE = """
with judged as materialized ({judged}), closed as (
    delete from billing_opensession o using judged j where o.cluster_id = %(cluster)s and o.node_id = j.node_id
    returning o.began, j.ended, j.last_seen, o.node_id, o.device_id, o.tenant_id, o.cluster_id, j.reason
), written as (
    insert into billing_session (began, ended, told_at, last_seen, node_id, device_id, tenant_id, cluster_id, reason)
    select greatest(c.began, day), least(c.ended, day + interval '1 day'), %(t)s, c.last_seen, c.node_id, c.device_id, c.tenant_id, c.cluster_id, c.reason
    from closed c, generate_series(greatest(date_trunc('day', c.began, 'UTC'), %(horizon)s), c.ended, interval '1 day') day
    where greatest(c.began, day) < least(c.ended, day + interval '1 day') or c.began = c.ended
) select count(*) from closed"""

DOUBT = f"""
with doubtful as (select o.node_id, {CERTAIN} as certain {THERE} and not s.online and d.id is not null and o.certain_until is null)
update billing_opensession o set certain_until = greatest(j.certain, o.began) from doubtful j
where o.cluster_id = %(cluster)s and o.node_id = j.node_id and %(restarted)s"""  # noqa: S608 - this page's own words

TRUST_AGAIN = """
update billing_opensession o set certain_until = null from billing_sample s
where o.cluster_id = %(cluster)s and o.certain_until is not null and s.cluster_id = o.cluster_id and s.node_id = o.node_id and s.online
    and exists (select from placement_device d where d.id = o.device_id and d.gone_at is null)"""

# Rule 5: who is online and has no session has one from this poll on.
OPEN = """
insert into billing_opensession (cluster_id, node_id, device_id, tenant_id, began)
select d.cluster_id, d.node_id, d.id, d.tenant_id, %(t)s from billing_sample s
join placement_device d on d.cluster_id = s.cluster_id and d.node_id = s.node_id and d.gone_at is null
where s.cluster_id = %(cluster)s and s.online
    and not exists (select from billing_opensession o where o.cluster_id = s.cluster_id and o.node_id = s.node_id)"""
