"""Plans with prices, accounts and subscriptions for tests: plain functions over billing's own verbs."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from billing import accounts, catalogue, subscriptions
from billing.models import PlanVersion, TaxRate
from tenants.models import Tenant
from tests import factories

serial = itertools.count(1)
BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
TOLD = {"now": BEGIN, "actor": "system:tests"}


def told(now: datetime) -> dict[str, Any]:
    return {"now": now, "actor": "system:tests"}


def at(day: int, hour: int = 0, *, month: int = 6) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def version(
    price: str = "29.00", *, currencies: tuple[str, ...] = ("EUR",), publish: bool = True, of: Any = None, **fields: Any
) -> PlanVersion:
    """A published version of a new plan with a flat fee in advance, active devices and hours."""
    limits = {name: fields.pop(name) for name in ("strategy", "regions", "max_devices") if name in fields}
    plan = of or factories.plan(name=f"sold-{next(serial)}", **limits)
    made = catalogue.draft(plan, valid_from=BEGIN, **fields, **TOLD)
    for currency in currencies:
        put = lambda currency=currency, **component: catalogue.price(made, currency=currency, **component, **TOLD)  # noqa: E731
        put(key="base", kind="flat", charged="advance", unit_price=Decimal(price))
        tiers = [(100, Decimal("1.50")), (None, Decimal("1.00"))]
        put(key="devices", kind="active_device", charged="arrears", included=20, tiers=tiers)
        put(key="hours", kind="device_hours", charged="arrears", unit_price=Decimal("0.002"), included=20_000)
    return catalogue.publish(made, **TOLD) if publish else PlanVersion.objects.select_related("plan").get(pk=made.pk)


def rates() -> None:
    if TaxRate.objects.exists():
        return
    accounts.put_rate("DE", date(2007, 1, 1), Decimal(19), **TOLD)
    accounts.put_rate("JP", date(2019, 10, 1), Decimal(10), **TOLD)


def tenant(currency: str = "EUR", country: str = "DE", **account: Any) -> Tenant:
    """A tenant with a billing account."""
    rates()
    made = factories.tenant()
    fields = {"name": "Acme", "email": "books@acme.example", "country": country, "currency": currency, **account}
    accounts.put(made, **fields, **TOLD)
    return made


def subscriber(of: PlanVersion | None = None, *, now: datetime = BEGIN, **more: Any) -> Tenant:
    """A tenant on a version since `now`."""
    made = tenant()
    subscriptions.start(made, of or version(), **more, **told(now))
    return Tenant.objects.select_related("plan").get(pk=made.pk)
