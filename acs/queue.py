"""The queue of waiting tenants, worked off: whoever came first is placed first, as soon as it fits."""

from __future__ import annotations

from datetime import datetime

import structlog
from django.conf import settings

from acs import wiring
from placement import bindings, dedicated, waiting
from placement.errors import PlacementError
from placement.models import Waiting
from tenants.models import Tenant

log = structlog.get_logger(__name__)

AT_ONCE = 200  # of the longest waiting; the next run goes on


def serve_all(*, now: datetime) -> int:
    """Returns how many were placed. What a server refuses or does not answer waits for the next run."""
    waiting.forget(now=now)
    placed = 0
    homeless = Waiting.objects.across_tenants().filter(tenant__binding=None, tenant__state=Tenant.State.ACTIVE)
    ordered = homeless.select_related("tenant__plan").order_by("since", "tenant")
    for row in ordered[:AT_ONCE]:
        placed += _serve(row, now)
    dedicated.review(now=now)
    dedicated.close_alerts(now=now)
    return placed


def _serve(row: Waiting, now: datetime) -> bool:
    try:
        binding = bindings.serve(row.tenant, list(row.regions), now=now)
    except PlacementError as error:
        log.warning("waiting_not_served", tenant=row.tenant.account, error=str(error))
        return False
    if binding is not None and settings.GATEWAY_SOCKETS:
        from acs.tasks import publish_route

        wiring.enqueue(publish_route, str(row.tenant_id))
    return binding is not None
