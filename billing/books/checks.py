"""Do the books agree? Numbers without gaps, lines with sums, states with payments, balances with what moved them, hours with days: each law is one query.

Everything is looked at as it is stored, apart from the code that wrote it: a sum that this page finds wrong was written wrongly, or by somebody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from placement import alerts
from placement.models import Alert

MONTHS = timedelta(days=62)  # how far back hours are compared with days


@dataclass(frozen=True)
class Finding:
    """What does not agree. `law`: the name of the query; `subject`: an invoice, account, entry or day."""

    law: str
    subject: str
    detail: str


NUMBERS = """
select coalesce(s.entity, i.entity) || ' ' || coalesce(s.series, i.series) || ' ' || coalesce(s.year, i.year),
    format('%%s documents up to number %%s, the series is at %%s', count(i.id), max(i.number), max(s.last))
from billing_numberseries s full join billing_invoice i on (i.entity, i.series, i.year) = (s.entity, s.series, s.year)
where s.id is not null or i.number is not null
group by s.id, s.entity, s.series, s.year, i.entity, i.series, i.year
having count(i.id) is distinct from max(s.last)::bigint or coalesce(max(i.number), 0) is distinct from max(s.last)"""

LINES = """
select coalesce(nullif(i.name, ''), 'draft ' || i.id), format('net %%s and tax %%s; by rate %%s and %%s; lines %%s', i.net, i.tax, t.net, t.tax, l.amount)
from billing_invoice i
cross join lateral (select coalesce(sum((e->>'net')::bigint), 0) as net, coalesce(sum((e->>'amount')::bigint), 0) as tax,
    coalesce(sum((e->>'net')::bigint + case when (e->>'inclusive')::boolean then (e->>'amount')::bigint else 0 end), 0) as told
    from jsonb_array_elements(i.taxes) e) t
cross join lateral (select coalesce(sum(amount), 0) as amount from billing_invoiceline where invoice_id = i.id) l
where (i.net, i.tax, l.amount) is distinct from (t.net, t.tax, t.told)"""

OPEN = """
select i.name, format('%%s, payable %%s, credited %%s, paid %%s', i.state, i.payable, n.set_off, p.paid)
from billing_invoice i
cross join lateral (select coalesce(sum(set_off), 0) as set_off from billing_invoice where corrects_id = i.id and state <> 'draft') n
cross join lateral (select coalesce(sum(amount - credited), 0) as paid from billing_payment where invoice_id = i.id) p
where i.kind = 'invoice' and case i.state when 'paid' then i.payable - n.set_off - p.paid <> 0
    when 'finalised' then i.payable - n.set_off - p.paid <= 0 when 'uncollectible' then i.payable - n.set_off - p.paid <= 0
    else n.set_off <> 0 or p.paid <> 0 end"""

CREDITED = """
select i.name, format('%%s invoiced, %%s credited', i.gross, -sum(n.gross))
from billing_invoice i join billing_invoice n on n.corrects_id = i.id and n.state <> 'draft' group by i.id having -sum(n.gross) > greatest(i.gross, 0)"""

MOVED = """
with told as (
    select tenant_id, 'invoice:' || id as reference, currency, carried - spent as amount from billing_invoice where state <> 'draft'
    union all select tenant_id, 'void:' || id, currency, spent - carried from billing_invoice where state = 'void'
    union all select tenant_id, 'payment:' || id, currency, credited from billing_payment
), entered as (
    select tenant_id, reference, currency, amount from billing_creditentry where reference ~ '^(invoice|void|payment):[0-9]+$'
)
select a.account, format('%%s is %%s %%s in the ledger of credit, and should be %%s', reference, coalesce(e.amount, 0), coalesce(e.currency, t.currency),
    coalesce(t.amount, 0))
from told t full join entered e using (tenant_id, reference) join tenants_tenant a on a.id = tenant_id
where coalesce(t.amount, 0) <> coalesce(e.amount, 0) or t.currency <> e.currency"""

BALANCES = """
select a.account, format('the balance is %%s %%s', sum(c.amount), c.currency)
from billing_creditentry c join tenants_tenant a on a.id = c.tenant_id group by a.account, c.currency having sum(c.amount) < 0"""

ENTRIES = """
select e.account || ' ' || e.bank_reference, format('%%s over %%s, what was given of it comes to %%s', e.state, e.amount, g.given)
from billing_statemententry e cross join lateral (select coalesce(sum(amount), 0) as given from (
    select amount from billing_payment where entry_id = e.id union all select amount from billing_creditentry where entry_id = e.id) each) g
where case e.state when 'matched' then g.given <> e.amount else g.given not between least(e.amount, 0) and greatest(e.amount, 0) end"""

HOURS = """
select coalesce(d.cluster_id, h.cluster_id) || ' ' || coalesce(d.day, h.day), format('%%s s by device, %%s s by hour', coalesce(d.seconds, 0),
    coalesce(h.seconds, 0))
from (select cluster_id, day, sum(seconds) as seconds from billing_deviceday where day >= %(first)s::date group by cluster_id, day) d
full join (select cluster_id, (hour at time zone 'UTC')::date as day, sum(seconds) as seconds from billing_usagehour
    where hour >= date_trunc('day', %(first)s::timestamptz, 'UTC') group by cluster_id, 2) h using (cluster_id, day)
where coalesce(d.seconds, 0) <> coalesce(h.seconds, 0)"""

LAWS = {
    "numbers-without-gaps": NUMBERS,
    "lines-and-sums": LINES,
    "state-and-payments": OPEN,
    "credited-at-most-what-was-invoiced": CREDITED,
    "credit-and-what-moved-it": MOVED,
    "no-balance-below-nothing": BALANCES,
    "entries-and-payments": ENTRIES,
    "hours-and-days": HOURS,
}


def check(*, now: datetime) -> list[Finding]:
    """Everything that does not agree, each law as of one moment. Hours and days are compared over the last two months."""
    return [finding for law in LAWS for finding in _broken(law, now)]


def watch(*, now: datetime) -> int:
    """Check, and tell operators by an alert while something does not agree. Returns how many findings there are."""
    found = check(now=now)
    if found:
        laws = Counter(each.law for each in found)
        alerts.raise_(Alert.Kind.BOOKS, "books", facts={**laws, "first": f"{found[0].subject}: {found[0].detail}"}, now=now)
    else:
        alerts.over(Alert.Kind.BOOKS, "books", now=now)
    return len(found)


def _broken(law: str, now: datetime) -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(LAWS[law], {"first": (now - MONTHS).date()})
        yield from (Finding(law, subject.strip(), detail) for subject, detail in cursor.fetchall())
