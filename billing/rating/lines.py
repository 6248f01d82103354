"""One line of what is owed, with the way back to what it was reckoned from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from billing.rating.cycles import Range
from billing.rating.terms import Charged, Kind


class What(StrEnum):
    """Why a line is there. A credit takes back a fee in advance for time that its phase did not last; a coupon is a discount on the others."""

    CHARGE = "charge"
    CREDIT = "credit"
    COUPON = "coupon"


class Evidence(StrEnum):
    """What a line drills down to, over its `time`."""

    PHASE = "phase"  # the subscription's own
    PLACEMENT = "placement"  # of one dedicated cluster
    DEVICES = "devices"
    SESSIONS = "sessions"
    LINES = "lines"  # the others that fell due with it


EVIDENCE = {
    Kind.FLAT: Evidence.PHASE,
    Kind.DEDICATED_CLUSTER: Evidence.PLACEMENT,
    Kind.ACTIVE_DEVICE: Evidence.DEVICES,
    Kind.DEVICE_HOURS: Evidence.SESSIONS,
}


@dataclass(frozen=True)
class ClusterShare:
    """One cluster's part of a line: all its seconds of devices online in the line's time, and its share of the amount in minor units."""

    cluster_id: str
    seconds: int
    amount: int


@dataclass(frozen=True)
class Line:
    """amount = quantity x unit price x share, rounded once.

    `component`: the key of a price component, or a coupon's code. `unit_price` in major units of the currency, `amount` in minor ones. `quantity` is
    exact to six places; `share` is the part of a cycle or month that the price was charged for. `time`: what it pays for. `inclusive`: tax is in it.
    `phase`: when its phase began. A coupon's line has its percentage, or 1, as quantity, and what it took off as price and amount. `begun`: when the
    charge fell due that a credit takes back.
    """

    what: What
    component: str
    kind: Kind | None
    charged: Charged
    plan: str
    version: int
    phase: datetime
    time: Range
    due: datetime
    quantity: Decimal
    unit: str
    unit_price: Decimal
    amount: int
    share: Fraction = Fraction(1)
    inclusive: bool = False
    cluster_id: str = ""
    clusters: tuple[ClusterShare, ...] = ()
    begun: datetime | None = None

    @property
    def evidence(self) -> Evidence:
        """What it drills down to."""
        return EVIDENCE[self.kind] if self.kind else Evidence.LINES


def shown(quantity: Fraction) -> Decimal:
    """A quantity for people, to six places."""
    places = Decimal(1).scaleb(-6)
    return (Decimal(quantity.numerator) / Decimal(quantity.denominator)).quantize(places).normalize() + Decimal(0)
