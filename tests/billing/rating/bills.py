"""Terms, phases and usage as tests of rating write them down."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from billing.rating.cycles import Interval, Range, month_of
from billing.rating.lines import Line, What
from billing.rating.rate import ranges, rate
from billing.rating.terms import Charged, Kind, Phase, PriceComponent, Terms, Tier
from billing.rating.used import Used

A, M = Charged.ADVANCE, Charged.ARREARS
PRO = (
    PriceComponent("base", Kind.FLAT, A, Decimal("29.00")),
    PriceComponent("devices", Kind.ACTIVE_DEVICE, M, included=20, tiers=(Tier(100, Decimal("1.50")), Tier(None, Decimal("1.00")))),
    PriceComponent("hours", Kind.DEVICE_HOURS, M, Decimal("0.002"), included=20_000),
)
ENTERPRISE = (
    PriceComponent("base", Kind.FLAT, A, Decimal("500.00")),
    PriceComponent("clusters", Kind.DEDICATED_CLUSTER, A, Decimal("400.00")),
    PriceComponent("devices", Kind.ACTIVE_DEVICE, M, Decimal("1.00"), included=500),
)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = month_of(datetime(2026, 6, 1, tzinfo=UTC))
JULY = month_of(datetime(2026, 7, 1, tzinfo=UTC))


def at(day: int, hour: int = 0, *, month: int = 6) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def terms(
    components: tuple[PriceComponent, ...] = PRO,
    *,
    plan: str = "pro",
    version: int = 1,
    currency: str = "EUR",
    interval: Interval = Interval.MONTH,
    inclusive: bool = False,
) -> Terms:
    return Terms(plan, version, currency, interval, components, inclusive)


def flat(price: str, charged: Charged = A) -> tuple[PriceComponent, ...]:
    return (PriceComponent("base", Kind.FLAT, charged, Decimal(price)),)


def phase(of: Terms, start: datetime = MAY, end: datetime | None = None, **more) -> Phase:
    return Phase(of, start, end, more.pop("anchor", MAY), **more)


def hours(amount: str, cluster_id: str = "a", *, devices: int = 0, dedicated=()) -> Used:
    seconds = int(Decimal(amount) * 3600)
    return Used(devices, seconds, {cluster_id: seconds} if seconds else {}, tuple(dedicated))


def bill(phases, *used: Used, period: Range = JUNE, currency: str = "EUR") -> tuple[Line, ...]:
    """`used` in the order of the ranges; none means nothing was used."""
    wanted = ranges(phases, period)
    given = used or (Used(),) * len(wanted)
    return rate(phases, dict(zip(wanted, given, strict=True)), period, currency)


def amounts(lines, *, what: What | None = None) -> list[int]:
    return [line.amount for line in lines if what in (None, line.what)]


def total(lines) -> int:
    return sum(amounts(lines))
