"""Plans: what a tenant may use. Made by operators; tenants are moved between them by lifecycle.change_plan."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from tenants import audit
from tenants.errors import MalformedRequest
from tenants.models import Plan, Quota

AGREED: list[Callable[[datetime], Q]] = []  # whose quota was agreed otherwise and stays: acs wires billing's subscriptions in


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
    service_class: str = "standard",
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
        service_class=service_class,
        strategy=strategy,
    )
    _check(plan)
    plan.save(force_insert=True)
    audit.record("plan.create", actor=actor, tenant=None, target=name, now=now, max_devices=max_devices)
    return plan


@transaction.atomic
def change(plan: Plan, *, now: datetime, actor: str, **fields: Any) -> Plan:
    """Other limits, for its tenants too and at once: one over its new limit keeps its devices and gets no new keys. What a subscription
    says of devices stays. Raises: MalformedRequest."""
    changed = Plan.objects.select_for_update(of=("self",)).get(pk=plan.pk)
    before = changed.max_devices
    for name, value in fields.items():
        setattr(changed, name, value)
    _check(changed)
    changed.save(force_update=True)
    others = Quota.objects.filter(tenant__plan=changed)
    for agreed in AGREED:
        others = others.exclude(agreed(now))
    others.update(limit=changed.max_devices)
    audit.record("plan.change", actor=actor, tenant=None, target=plan.pk, now=now, before=before, max_devices=changed.max_devices)
    return changed


def _check(plan: Plan) -> None:
    try:
        plan.full_clean()
    except ValidationError as error:
        raise MalformedRequest({field: " ".join(reasons) for field, reasons in error.message_dict.items()}) from None
    if plan.default_region and plan.regions and plan.default_region not in plan.regions:
        raise MalformedRequest({"default_region": _("not one of the plan's regions")})
