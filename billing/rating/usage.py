"""Usage in arrears: active devices and device-hours of one range of a month, by graduated tiers.

Where a phase is a part of the month, a device costs that part of its price: the months of two phases cost what one would. Hours keep their price, and
what is included of them, like the bounds of their tiers, is that part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction

from billing.rating import money
from billing.rating.cycles import Range
from billing.rating.lines import ClusterShare, Line, What, shown
from billing.rating.terms import Kind, Phase, PriceComponent, Tier
from billing.rating.used import Used


def usage_lines(phase: Phase, component: PriceComponent, used: Used, time: Range, period: Range) -> Iterator[Line]:
    """A line for each tier that is reached. `time`: the phase's part of the period."""
    part = time.seconds / period.seconds
    by_device = component.kind == Kind.ACTIVE_DEVICE
    scale, share = (Fraction(1), part) if by_device else (part, Fraction(1))
    quantity = Fraction(used.active_devices) if by_device else Fraction(used.device_seconds, 3600)
    for units, unit_price in graduated(quantity, component.included * scale, component.graduated, scale=scale):
        amount = money.rounded(units * money.in_minor(unit_price, phase.terms.currency) * share)
        yield Line(
            what=What.CHARGE,
            component=component.key,
            kind=component.kind,
            charged=component.charged,
            plan=phase.terms.plan,
            version=phase.terms.version,
            phase=phase.start,
            time=time,
            due=period.end,
            quantity=shown(units),
            unit="device" if by_device else "hour",
            unit_price=unit_price,
            amount=amount,
            share=share,
            inclusive=phase.terms.inclusive,
            clusters=() if by_device else _by_cluster(amount, used),
        )


def graduated(
    quantity: Fraction, included: Fraction, tiers: Iterable[Tier], *, scale: Fraction = Fraction(1)
) -> Iterator[tuple[Fraction, Decimal]]:
    """The units beyond the included ones, tier by tier, with the price of each. The bounds of tiers are taken times `scale`."""
    below = Fraction(0)
    for tier in tiers:
        above = quantity if tier.up_to is None else min(quantity, tier.up_to * scale)
        units = above - max(below, included)
        if units > 0:
            yield units, tier.unit_price
        below = max(below, above)


def _by_cluster(amount: int, used: Used) -> tuple[ClusterShare, ...]:
    shares = money.split(amount, used.seconds_by_cluster)
    return tuple(ClusterShare(cluster_id, used.seconds_by_cluster[cluster_id], share) for cluster_id, share in shares.items())
