"""The catalogue: versions of plans drafted, priced and published. What is published stays as it is; what changes is a new version."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from billing.errors import NoPriceInCurrency
from billing.models import PlanVersion, PriceComponent
from billing.rating import money
from billing.rating.cycles import Interval
from billing.rating.terms import Charged, Kind, Terms, Tier
from billing.rating.terms import PriceComponent as Component
from tenants import audit
from tenants.errors import MalformedRequest, WrongState
from tenants.models import Plan
from tenants.scoping import TenantManager

ENTITLEMENT = ("max_devices", "max_members", "enforcement", "warn_at")


@transaction.atomic
def draft(plan: Plan, *, valid_from: datetime, now: datetime, actor: str, **wish: Any) -> PlanVersion:
    """The next version of a plan, without prices yet. `wish`: interval, trial_days, tax_behaviour, max_devices (else the plan's), max_members,
    enforcement, warn_at. Regions and the kind of clusters are the plan's: placement reads them there. Raises: MalformedRequest."""
    Plan.objects.select_for_update(of=("self",)).get(pk=plan.pk)  # numbers are given one after the other
    last = PlanVersion.objects.filter(plan=plan).aggregate(last=Max("number"))["last"] or 0
    wish = {"max_devices": plan.max_devices, **{name: value for name, value in wish.items() if value is not None}}
    version = PlanVersion(
        plan=plan, number=last + 1, valid_from=valid_from, regions=plan.regions, strategy=plan.strategy, created_at=now, **wish
    )
    check(version)
    version.save(force_insert=True)
    audit.record("plan_version.draft", actor=actor, tenant=None, target=str(version), now=now, interval=version.interval)
    return version


@transaction.atomic
def price(
    version: PlanVersion,
    *,
    currency: str,
    key: str,
    kind: str,
    charged: str,
    now: datetime,
    actor: str,
    unit_price: Decimal = Decimal(0),
    included: int = 0,
    tiers: Iterable[tuple[int | None, Decimal]] = (),
) -> PriceComponent:
    """A component of a draft's price, or another one in its place. Prices are in major units of the currency. Raises: MalformedRequest, WrongState."""
    draft_of(version)
    steps = [{"up_to": up_to, "unit_price": str(_checked(up_to, each))} for up_to, each in tiers]
    component = PriceComponent(
        version=version, currency=currency, key=key, kind=kind, charged=charged, unit_price=unit_price, included=included, tiers=steps
    )
    check_currency(currency)
    PriceComponent.objects.filter(version=version, currency=currency, key=key).delete()
    check(component)
    try:
        component_of(component)
    except ValueError as error:
        raise MalformedRequest({"component": str(error)}) from None
    component.save(force_insert=True)
    audit.record(
        "plan_version.price", actor=actor, tenant=None, target=str(version), now=now, currency=currency, key=key, unit_price=str(unit_price)
    )
    return component


@transaction.atomic
def unprice(version: PlanVersion, *, currency: str, key: str, now: datetime, actor: str) -> None:
    """A draft without that component. Raises: WrongState."""
    draft_of(version)
    if not PriceComponent.objects.filter(version=version, currency=currency, key=key).delete()[0]:
        raise WrongState(_("there is no such component"))
    audit.record("plan_version.unprice", actor=actor, tenant=None, target=str(version), now=now, currency=currency, key=key)


@transaction.atomic
def publish(version: PlanVersion, *, now: datetime, actor: str) -> PlanVersion:
    """From its `valid_from` on this is what is sold. Raises: WrongState when published already, without prices, or when currencies differ in more than
    prices."""
    locked = draft_of(version)
    shapes: dict[str, set[tuple[str, str, str]]] = {}
    for component in locked.components.all():
        shapes.setdefault(component.currency, set()).add((component.key, component.kind, component.charged))
    if not shapes:
        raise WrongState(_("the version has no prices; a free one has a flat fee of 0"))
    if any(shape != next(iter(shapes.values())) for shape in shapes.values()):
        raise WrongState(_("the components have to be the same in every currency: overrides name them by their keys"))
    if (locked.regions, locked.strategy) != (locked.plan.regions, locked.plan.strategy):
        raise WrongState(_("the plan's regions or kind of clusters have changed since: draft the version again"))
    PlanVersion.objects.filter(pk=locked.pk).update(published_at=now)
    audit.record("plan_version.publish", actor=actor, tenant=None, target=str(locked), now=now, currencies=sorted(shapes))
    return PlanVersion.objects.select_related("plan").get(pk=locked.pk)


@transaction.atomic
def discard(version: PlanVersion, *, now: datetime, actor: str) -> None:
    """A draft that is not wanted any more. Raises: WrongState when published."""
    locked = draft_of(version)
    locked.components.all().delete()
    locked.delete()
    audit.record("plan_version.discard", actor=actor, tenant=None, target=str(version), now=now)


def draft_of(version: PlanVersion) -> PlanVersion:
    """The version's row, ours until commit. Raises: WrongState when it is published."""
    locked = PlanVersion.objects.select_related("plan").select_for_update(of=("self",)).get(pk=version.pk)
    if locked.published_at:
        raise WrongState(_("the version is published: a change is a new version"))
    return locked


def sold(plan: Plan, interval: str, *, now: datetime) -> PlanVersion | None:
    """The version that new subscribers get now; None where the plan is not for sale by that interval."""
    published = PlanVersion.objects.filter(plan=plan, interval=interval, published_at__isnull=False, valid_from__lte=now)
    return published.select_related("plan").order_by("-valid_from", "-number").first()


def terms_of(version: PlanVersion, currency: str) -> Terms:
    """A version's prices as rating reads them. Raises: NoPriceInCurrency. Prefetch `components` where it is called for many."""
    components = tuple(component_of(each) for each in version.components.all() if each.currency == currency)
    if not components:
        raise NoPriceInCurrency(str(version), currency)
    inclusive = version.tax_behaviour == PlanVersion.TaxBehaviour.INCLUSIVE
    return Terms(version.plan_id, version.number, currency, Interval(version.interval), components, inclusive)


def component_of(row: PriceComponent) -> Component:
    """Raises: ValueError."""
    try:
        tiers = tuple(Tier(step["up_to"], Decimal(step["unit_price"])) for step in row.tiers)
    except InvalidOperation:
        raise ValueError("the price of a tier is no number") from None
    return Component(row.key, Kind(row.kind), Charged(row.charged), row.unit_price, row.included, tiers)


def _checked(up_to: int | None, unit_price: Decimal) -> Decimal:
    """A tier's price, which has the form of every unit price: an invoice's line could not show another one. Raises: MalformedRequest."""
    try:
        PriceComponent._meta.get_field("unit_price").run_validators(unit_price)
    except ValidationError as error:
        raise MalformedRequest({"tiers": " ".join(error.messages)}) from None
    if up_to is not None and up_to >= 2**53:  # what JSON keeps exactly
        raise MalformedRequest({"tiers": _("a tier ends at a smaller number")})
    return unit_price


def check(row: Any) -> None:
    """Raises: MalformedRequest naming each field that is wrong. Of a tenant's rows what only the database sees is left to it."""
    alone = isinstance(type(row)._default_manager, TenantManager)
    try:
        row.full_clean(validate_unique=not alone, validate_constraints=not alone)
    except ValidationError as error:
        raise MalformedRequest({field: " ".join(reasons) for field, reasons in error.message_dict.items()}) from None


def check_currency(currency: str) -> None:
    """Raises: MalformedRequest."""
    try:
        money.digits(currency)
    except money.UnknownCurrency:
        raise MalformedRequest({"currency": _("no currency: three letters, such as EUR")}) from None
