"""What the commands of billing share: versions by name, money and times as people type them."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from django.core.management.base import CommandError

from billing.models import PlanVersion
from billing.rating.cycles import Range, month_of


def version_of(name: str) -> PlanVersion:
    """`team/2`."""
    plan, _, number = name.partition("/")
    found = number.isdecimal() and PlanVersion.objects.select_related("plan").filter(plan=plan, number=int(number)).first()
    if not found:
        raise CommandError(f"There is no version {name!r}: PLAN/NUMBER, `manage.py pricing list` shows them.")
    return found


def price(text: str) -> Decimal:
    """For argparse: a price in major units, such as 29.00 or 0.002."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ArgumentTypeError(f"{text!r} is no price: a number such as 29.00")
    return number


def tier(text: str) -> tuple[int | None, Decimal]:
    """For argparse: `100:1.50` up to 100 units, `:1.00` for all further ones."""
    bound, colon, each = text.partition(":")
    if not colon or (bound and not bound.isdecimal()):
        raise ArgumentTypeError(f"{text!r} is no tier: UP_TO:PRICE, the last one :PRICE")
    return (int(bound) if bound else None), price(each)


def moment(text: str) -> datetime:
    """For argparse: 2026-06-01 or 2026-06-01T06:00, in UTC unless it says otherwise."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time: 2026-06-01 or 2026-06-01T06:00") from None
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def day(text: str) -> date:
    """For argparse: 2026-06-01."""
    return moment(text).date()


def month(text: str) -> Range:
    """For argparse: 2026-06."""
    try:
        return month_of(datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no month, such as 2026-06") from None
