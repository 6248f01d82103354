"""What was agreed, as rating and enforcement read it: the phases of a period with their overrides and coupons, and what a tenant may use now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from billing import catalogue
from billing.models import Override, PlanVersion, Redemption, Subscription, SubscriptionPhase
from billing.rating.cycles import Range
from billing.rating.terms import Coupon, Phase
from billing.rating.terms import Override as Promise
from tenants.models import Tenant

UNLIMITED = 2**31 - 1  # what the quota of a soft limit is: nobody is refused for it


@dataclass(frozen=True)
class Entitlement:
    """What a tenant may use, overrides in it. `max_members` None: as many as there are. `warn_at`: percent of the devices."""

    plan: str
    version: int
    max_devices: int
    max_members: int | None
    regions: tuple[str, ...]
    strategy: str
    enforcement: str
    warn_at: int

    @property
    def quota(self) -> int:
        """Device slots to admit."""
        return self.max_devices if self.enforcement == PlanVersion.Enforcement.HARD else UNLIMITED


def phases_of(tenant: Tenant, period: Range) -> tuple[Phase, ...]:
    """The tenant's phases that touch the period, whole, in order: a new one wherever a version, a trial or an override begins or ends. Empty without
    a subscription. Raises: NoPriceInCurrency, where somebody wrote such a phase by hand."""
    subscription = Subscription.objects.of(tenant).first()
    if subscription is None:
        return ()
    touched = DateTimeTZRange(period.start, period.end)
    rows = subscription.phases.filter(during__overlap=touched).order_by("during")
    rows = rows.select_related("version").prefetch_related("version__components")
    promises = list(subscription.overrides.exclude(component="").order_by("id"))
    redemptions = list(subscription.redemptions.select_related("coupon"))
    return tuple(phase for row in rows for phase in _phases(row, promises, redemptions))


def entitlement_of(tenant: Tenant, *, at: datetime) -> Entitlement | None:
    """What the tenant may use at a moment; None where no phase of a subscription is in force."""
    phase = phase_at(tenant, at)
    if phase is None:
        return None
    version = phase.version
    limits = {"max_devices": version.max_devices, "max_members": version.max_members}
    for override in phase.subscription.overrides.filter(component="", during__contains=at).order_by("id"):
        limits |= {name: value for name in limits if (value := getattr(override, name)) is not None}
    return Entitlement(
        plan=version.plan_id,
        version=version.number,
        max_devices=limits["max_devices"] or 0,
        max_members=limits["max_members"],
        regions=tuple(version.regions),
        strategy=version.strategy,
        enforcement=version.enforcement,
        warn_at=version.warn_at,
    )


def phase_at(tenant: Tenant, at: datetime) -> SubscriptionPhase | None:
    """The phase in force at a moment, with its version, plan and subscription."""
    rows = SubscriptionPhase.objects.select_related("version__plan", "subscription")
    return rows.filter(subscription__tenant=tenant, during__contains=at).first()


def _phases(row: SubscriptionPhase, promises: Iterable[Override], redemptions: Iterable[Redemption]) -> Iterator[Phase]:
    terms = catalogue.terms_of(row.version, row.currency)
    coupons = tuple(_coupon(each) for each in redemptions if each.coupon.currency in ("", row.currency))
    promises = list(promises)
    for start, end in _pieces(row, promises):
        held = tuple(_promise(each) for each in promises if _holds(each, start))
        trial = row.trial_until is not None and start < row.trial_until
        yield Phase(terms, start, end, row.anchor, trial, held, coupons)


def _pieces(row: SubscriptionPhase, promises: Iterable[Override]) -> Iterator[tuple[datetime, datetime | None]]:
    lower, upper = utc(row.during.lower), utc_end(row.during.upper)
    edges = {row.trial_until, *(edge for each in promises for edge in (each.during.lower, each.during.upper))}
    inside = sorted(utc(edge) for edge in edges if edge and lower < edge and (upper is None or edge < upper))
    yield from zip([lower, *inside], [*inside, upper], strict=True)


def _holds(override: Override, at: datetime) -> bool:
    return override.during.lower <= at and (override.during.upper is None or at < override.during.upper)


def _promise(override: Override) -> Promise:
    return Promise(override.component, override.unit_price, override.included)


def _coupon(redemption: Redemption) -> Coupon:
    coupon, during = redemption.coupon, redemption.during
    return Coupon(coupon.code, utc(during.lower), utc_end(during.upper), coupon.percent, coupon.amount)


def utc(moment: datetime) -> datetime:
    """As rating compares and shows it."""
    return moment.astimezone(UTC)


def utc_end(moment: datetime | None) -> datetime | None:
    """The same of an end, which may be open."""
    return moment.astimezone(UTC) if moment else None
