"""The ledger of promised load: raised by a conditional update that respects the hard cap, whatever the engine believed a moment ago."""

from __future__ import annotations

from django.db import connection

from placement.engine.facts import Newcomer
from placement.engine.ledger import DEDICATED_CAP, SHARED_CAP
from placement.models import Cluster

# one statement: two requests that both saw the last place cannot both take it
PROMISE = """
update placement_cluster set committed = committed + %(load)s, tenants = tenants + 1,
    reserved_for_id = case when kind = 'dedicated' then %(tenant)s::uuid end
where cluster_id = %(cluster)s and state = 'active'
  and committed + %(load)s <= floor(capacity * case when kind = 'dedicated' then %(dedicated_cap)s else %(shared_cap)s end::numeric)
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
                "cluster": cluster.pk,
                "shared_cap": SHARED_CAP,
                "dedicated_cap": DEDICATED_CAP,
            },
        )
        return bool(cursor.rowcount == 1)
