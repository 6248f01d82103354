"""Plans: what a tenant may use. Made by operators; tenants are moved between them by lifecycle.change_plan."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from tenants import audit
from tenants.errors import MalformedRequest
from tenants.models import Plan


@transaction.atomic
def create(
    name: str,
    *,
    title: str,
    max_devices: int,
    now: datetime,
    actor: str,
    expected_devices: int = 10,
    regions: list[str] | None = None,
    default_region: str = "",
    strategy: str = Plan.Strategy.SHARED,
) -> Plan:
    """A new plan. Raises: MalformedRequest naming each field that is wrong."""
    regions = regions or []
    plan = Plan(
        name=name,
        title=title,
        max_devices=max_devices,
        expected_devices=expected_devices,
        regions=regions,
        default_region=default_region,
        strategy=strategy,
    )
    try:
        plan.full_clean()
    except ValidationError as error:
        raise MalformedRequest({field: " ".join(reasons) for field, reasons in error.message_dict.items()}) from None
    if default_region and regions and default_region not in regions:
        raise MalformedRequest({"default_region": "not one of the plan's regions"})
    plan.save(force_insert=True)
    audit.record("plan.create", actor=actor, tenant=None, target=name, now=now, max_devices=max_devices)
    return plan
