"""The ledger of promised load: raised by a conditional update that respects the hard cap, whatever the engine believed a moment ago.

`check` compares it with the bindings that it sums up; `manage.py placement ledger check` shows what it found.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from placement.engine.facts import Newcomer
from placement.engine.ledger import SHARED_PERCENT
from placement.models import Cluster

# one statement: two requests that both saw the last place cannot both take it
PROMISE = """
update placement_cluster set committed = committed + %(load)s, tenants = tenants + 1,
    reserved_for_id = case when kind = 'dedicated' then %(tenant)s::uuid end
where cluster_id = %(cluster)s and state = 'active' and kind = %(kind)s and service_class = %(service_class)s and %(residency)s in ('', residency)
  and committed + %(load)s <= case when kind = 'dedicated' then capacity else capacity::bigint * %(percent)s / 100 end
  and (max_tenants is null or tenants < max_tenants)
  and (kind <> 'dedicated' or (tenants = 0 and coalesce(reserved_for_id, %(tenant)s::uuid) = %(tenant)s::uuid))
"""


def promise(cluster: Cluster, newcomer: Newcomer) -> bool:
    """Whether the cluster takes the tenant's load; then it is counted. Inside the transaction that binds."""
    with connection.cursor() as cursor:
        cursor.execute(
            PROMISE,
            {
                "load": newcomer.load,
                "tenant": newcomer.tenant_id,
                "kind": newcomer.kind,
                "service_class": newcomer.service_class,
                "residency": newcomer.residency,
                "cluster": cluster.pk,
                "percent": SHARED_PERCENT,
            },
        )
        return bool(cursor.rowcount == 1)


# one statement, so that both sides are of one moment
CHECK = """
select c.cluster_id, c.committed, coalesce(sum(b.expected_load), 0)::bigint, c.tenants, count(b.tenant_id)
from placement_cluster c left join placement_binding b on b.cluster_id = c.cluster_id
group by c.cluster_id order by c.cluster_id
"""


@dataclass(frozen=True)
class Account:
    """One cluster's ledger, and what its bindings add up to."""

    cluster_id: str
    committed: int
    promised: int
    tenants: int
    bound: int

    @property
    def is_right(self) -> bool:
        return (self.committed, self.tenants) == (self.promised, self.bound)


def check() -> list[Account]:
    """Every cluster's. Reads only; what is off is made right by placement/reassess.py, a cluster at a time."""
    with connection.cursor() as cursor:
        cursor.execute(CHECK)
        return [Account(*row) for row in cursor.fetchall()]
