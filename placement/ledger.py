"""The ledger of promised load: raised by a conditional update that respects the hard cap, whatever the engine believed a moment ago."""

from __future__ import annotations

from django.db import connection

from placement.engine.facts import Newcomer
from placement.engine.ledger import SHARED_PERCENT
from placement.models import Cluster

# one statement: two requests that both saw the last place cannot both take it
PROMISE = """
update placement_cluster set committed = committed + %(load)s, tenants = tenants + 1,
    reserved_for_id = case when kind = 'dedicated' then %(tenant)s::uuid end
where cluster_id = %(cluster)s and state = 'active'
  and committed + %(load)s <= case when kind = 'dedicated' then capacity else capacity * %(percent)s / 100 end
  and (max_tenants is null or tenants < max_tenants)
  and (kind <> 'dedicated' or (tenants = 0 and coalesce(reserved_for_id, %(tenant)s::uuid) = %(tenant)s::uuid))
"""


def promise(cluster: Cluster, newcomer: Newcomer) -> bool:
    """Whether the cluster takes the tenant's load; then it is counted. Inside the transaction that binds."""
    with connection.cursor() as cursor:
        cursor.execute(
            PROMISE,
            {"load": newcomer.load, "tenant": newcomer.tenant_id, "cluster": cluster.pk, "percent": SHARED_PERCENT},
        )
        return bool(cursor.rowcount == 1)
