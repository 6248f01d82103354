"""What a tenant has agreed to: components of a price, the terms of a plan's version in one currency, and phases of a subscription under them.

Prices are in major units of the currency. Fees (flat, dedicated cluster) are charged in advance for a cycle (a month or a year) or in arrears; usage
(active devices, device-hours) is always charged in arrears, by the calendar month, and alone has an included quantity and tiers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from billing.rating.cycles import Interval, Range, cycle_of


class Kind(StrEnum):
    """What a component counts."""

    FLAT = "flat"
    DEDICATED_CLUSTER = "dedicated_cluster"
    ACTIVE_DEVICE = "active_device"  # seen online at least once
    DEVICE_HOURS = "device_hours"


USAGE = (Kind.ACTIVE_DEVICE, Kind.DEVICE_HOURS)


class Charged(StrEnum):
    """When a component falls due: at the start of what it pays for, or at its end."""

    ADVANCE = "advance"
    ARREARS = "arrears"


@dataclass(frozen=True)
class Tier:
    """Units up to and including `up_to` (None: all further ones) cost so much each. Bounds count from nothing, included units too."""

    up_to: int | None
    unit_price: Decimal


@dataclass(frozen=True)
class PriceComponent:
    """One part of a price, known by its key. `tiers`, where there are some, take the place of `unit_price`. Raises: ValueError."""

    key: str
    kind: Kind
    charged: Charged
    unit_price: Decimal = Decimal(0)
    included: int = 0
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        if self.kind in USAGE and self.charged == Charged.ADVANCE:
            raise ValueError("usage is charged in arrears: nobody knows it before")
        if self.kind not in USAGE and (self.included or self.tiers):
            raise ValueError("only usage has an included quantity and tiers")
        if self.included < 0 or any(tier.unit_price < 0 for tier in self.graduated):
            raise ValueError("prices and included quantities are not negative")
        bounds = [tier.up_to for tier in self.graduated if tier.up_to is not None]
        if self.graduated[-1].up_to is not None or len(bounds) != len(self.graduated) - 1:
            raise ValueError("the last tier, and no other, is without an end")
        if bounds != sorted({bound for bound in bounds if bound > 0}):
            raise ValueError("tiers end at growing numbers from 1")

    @property
    def graduated(self) -> tuple[Tier, ...]:
        """Its tiers; one price is one tier."""
        return self.tiers or (Tier(None, self.unit_price),)


@dataclass(frozen=True)
class Terms:
    """The prices of a plan's version in one currency. `inclusive`: tax is in them. Raises: ValueError when a key is there twice."""

    plan: str
    version: int
    currency: str
    interval: Interval
    components: tuple[PriceComponent, ...]
    inclusive: bool = False

    def __post_init__(self) -> None:
        keys = [component.key for component in self.components]
        if len(keys) != len(set(keys)):
            raise ValueError("two components of the same terms have the same key")


@dataclass(frozen=True)
class Override:
    """What one tenant was promised instead of its plan's own; None leaves that as it is. A unit price takes the place of tiers. What is included is of usage
    alone: where a later version has a fee of the same key, that is left as it is."""

    component: str
    unit_price: Decimal | None = None
    included: int | None = None

    def apply(self, component: PriceComponent) -> PriceComponent:
        if component.key != self.component:
            return component
        changed = component if self.unit_price is None else replace(component, unit_price=self.unit_price, tiers=())
        return changed if self.included is None or component.kind not in USAGE else replace(changed, included=self.included)


@dataclass(frozen=True)
class Coupon:
    """A discount over [start, end), end None: for good. `percent` of whatever lies in that time, or an `amount` in minor units off each period."""

    code: str
    start: datetime
    end: datetime | None
    percent: Decimal | None = None
    amount: int | None = None

    def __post_init__(self) -> None:
        if (self.percent is None) == (self.amount is None):
            raise ValueError("a coupon is a percentage or an amount")
        if (self.percent is not None and not 0 < self.percent <= 100) or (self.amount is not None and self.amount <= 0):
            raise ValueError("a coupon takes off something, and at most everything")


@dataclass(frozen=True)
class Phase:
    """Terms over [start, end), end None: until further notice. A trial costs nothing. `anchor`: when the subscription began, for its years."""

    terms: Terms
    start: datetime
    end: datetime | None
    anchor: datetime
    trial: bool = False
    overrides: tuple[Override, ...] = ()
    coupons: tuple[Coupon, ...] = ()

    @property
    def components(self) -> tuple[PriceComponent, ...]:
        """As they are for this tenant."""
        return tuple(_overridden(component, self.overrides) for component in self.terms.components)

    def cycle(self, moment: datetime) -> Range:
        """The cycle of its fees that a moment lies in."""
        return cycle_of(self.terms.interval, self.anchor, moment)

    def goes_on_as(self, other: Phase) -> bool:
        """Whether nothing changes where the other phase begins."""
        return self.end == other.start and replace(other, start=self.start, end=self.end) == self


def _overridden(component: PriceComponent, overrides: Iterable[Override]) -> PriceComponent:
    for override in overrides:
        component = override.apply(component)
    return component
