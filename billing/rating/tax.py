"""Tax: once per rate over the lines it applies to; reverse charge and exemption; whether a tax id can be one.

Only the form of an id and its check digits are looked at: whether it is in force, its authority knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

import stdnum
from babel import Locale
from stdnum.eu import vat
from stdnum.exceptions import ValidationError

from billing.rating import money
from billing.rating.lines import Line

LONGEST_ID = 30
NO_COUNTRIES = {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}
TERRITORIES = {code for code in map(str, Locale("en").territories) if len(code) == 2 and code.isalpha()} - NO_COUNTRIES


class Kind(StrEnum):
    """How a customer is taxed."""

    STANDARD = "standard"  # at the rate of its country
    REVERSE_CHARGE = "reverse_charge"  # the customer accounts for it
    EXEMPT = "exempt"


@dataclass(frozen=True)
class Treatment:
    """How one customer is taxed. `rates`: (first day, percent) of its country, needed for the standard treatment alone. `charged`: at how many percent a fee
    was invoiced that fell due on a day of an earlier month: what is given back of it is taxed so, however the customer is taxed by now."""

    kind: Kind
    rates: tuple[tuple[date, Decimal], ...] = ()
    charged: tuple[tuple[date, Decimal], ...] = ()

    def of(self, line: Line) -> Decimal:
        """A line's rate: that of the first day that it pays for, or that the charge which it takes back paid for. Raises: NoTaxRate."""
        day = (line.begun or line.time.start).astimezone(UTC).date()
        known = dict(self.charged) if line.begun else {}
        return known[day] if day in known else self.percent(day)

    def percent(self, day: date) -> Decimal:
        """The rate on a day. Raises: NoTaxRate."""
        if self.kind != Kind.STANDARD:
            return Decimal(0)
        known = [(first, percent) for first, percent in self.rates if first <= day]
        if not known:
            raise NoTaxRate(f"no rate of tax is known for {day}")
        return max(known)[1]


@dataclass(frozen=True)
class Tax:
    """Tax at one rate. `net` and `amount` in minor units; `inclusive`: it was in the prices."""

    percent: Decimal
    inclusive: bool
    net: int
    amount: int


class NoTaxRate(ValueError):
    """The operators' table has no rate for the country and day."""


class BadTaxId(ValueError):
    """The text cannot be a tax id of the country."""


def taxes(lines: Iterable[Line], treatment: Treatment) -> tuple[Tax, ...]:
    """One amount per rate (of prices with tax and without it apart), highest rate first. A line is taxed by `Treatment.of`.

    Prices that include tax stay what they are where no tax is due. Raises: NoTaxRate.
    """
    sums: dict[tuple[Decimal, bool], int] = {}
    for line in lines:
        key = treatment.of(line), line.inclusive
        sums[key] = sums.get(key, 0) + line.amount
    return tuple(_tax(percent, inclusive, total) for (percent, inclusive), total in sorted(sums.items(), reverse=True))


def _tax(percent: Decimal, inclusive: bool, total: int) -> Tax:
    rate = Fraction(percent) / 100
    if not inclusive:
        return Tax(percent, inclusive, total, money.rounded(total * rate))
    amount = money.rounded(total * rate / (1 + rate))
    return Tax(percent, inclusive, total - amount, amount)


def check_id(country: str, text: str) -> str:
    """A tax id as it is written on invoices: of the European Union with its prefix, elsewhere by the country's rules where they are known.

    `country`: two letters, upper case. Raises: BadTaxId.
    """
    squeezed = "".join(text.upper().split())
    if not squeezed or len(squeezed) > LONGEST_ID or not squeezed.isprintable() or not squeezed.isascii():
        raise BadTaxId(text)
    try:
        if prefix := _prefix(country, squeezed):
            return vat.validate(squeezed if squeezed.startswith(prefix) else prefix + squeezed)
        module = stdnum.get_cc_module(country.lower(), "vat")
        return str(module.validate(squeezed)) if module else squeezed
    except ValidationError:
        raise BadTaxId(text) from None


def is_european(country: str) -> bool:
    """Whether the country is of the European Union's VAT area."""
    return country.lower() in vat.MEMBER_STATES - {"xi"}


def _prefix(country: str, number: str) -> str:
    """The prefix of the country's ids in the European Union, empty elsewhere: Greece writes EL, Northern Ireland XI."""
    if country == "GR":
        return "EL"
    if country == "GB" and number.startswith("XI"):
        return "XI"
    return country if is_european(country) else ""


def is_country(code: str) -> bool:
    """Whether it is an ISO 3166 code of a country, two letters in upper case."""
    return code in TERRITORIES
