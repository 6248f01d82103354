"""Money: integer minor units of a currency. An exact amount becomes one by one rounding, half up (halves away from zero), at its very end.

Unit prices are Decimals in major units, as contracts say them: 0.002 EUR an hour. A currency's digits are CLDR's.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import floor

from babel.core import get_global


class UnknownCurrency(ValueError):
    """The text is no currency's ISO 4217 code."""


def digits(currency: str) -> int:
    """How many decimals the currency has: 2 of EUR, 0 of JPY, 3 of KWD. Raises: UnknownCurrency."""
    if currency not in get_global("all_currencies"):
        raise UnknownCurrency(currency)
    fractions = get_global("currency_fractions")
    return int(fractions.get(currency, fractions["DEFAULT"])[0])


def in_minor(price: Decimal, currency: str) -> Fraction:
    """A price in major units as an exact amount of minor ones. Raises: UnknownCurrency."""
    return Fraction(price) * 10 ** digits(currency)


def in_major(amount: int, currency: str) -> Decimal:
    """Minor units as people write them: 34328 EUR is 343.28. Raises: UnknownCurrency."""
    return Decimal(amount).scaleb(-digits(currency))


def rounded(exact: Fraction) -> int:
    """Half up; a credit is rounded like the charge that it takes back."""
    size = floor(abs(exact) + Fraction(1, 2))
    return size if exact >= 0 else -size


def split(amount: int, weights: Mapping[str, int]) -> dict[str, int]:
    """An amount by weights, whole units each, by largest remainder: the shares sum to the amount. Of equal remainders the first name goes first.

    Raises: ValueError where the weights are negative, or sum to nothing.
    """
    total = sum(weights.values())
    if total <= 0 or min(weights.values()) < 0:
        raise ValueError("weights are not negative, and one of them is more than nothing")
    sign, size = (1, amount) if amount >= 0 else (-1, -amount)
    shares = {name: size * weight // total for name, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda name: (-(size * weights[name] % total), name))
    for name in by_remainder[: size - sum(shares.values())]:
        shares[name] += 1
    return {name: sign * share for name, share in sorted(shares.items())}
