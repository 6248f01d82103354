"""What a file of a bank says, whichever its format: plain values, amounts as exact decimals of major units."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.utils.translation import gettext as _

from billing.errors import StatementRefused
from billing.rating import money

AMOUNT = {
    ".": re.compile(r"[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)(\.[0-9]+)?"),
    ",": re.compile(r"[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]+)(,[0-9]+)?"),
}
IBAN_GAPS = re.compile(r"\s")


@dataclass(frozen=True)
class Entry:
    """A booked entry. `amount` in minor units, below nothing for what left the account; `aside`: why nobody may match it by itself, or empty."""

    account: str
    reference: str
    amount: int
    currency: str
    value_date: date
    text: str = ""
    counterparty: str = ""
    counterparty_account: str = ""
    aside: str = ""


@dataclass(frozen=True)
class Contents:
    """All that a file says. `skipped`: entries that are not booked yet."""

    account: str
    bank_id: str
    entries: tuple[Entry, ...]
    skipped: int = 0


def minor(text: str, currency: str, where: str, *, decimal: str = ".") -> int:
    """An amount as a bank writes it, in minor units of its currency. Raises: StatementRefused."""
    plain = text.strip()
    if not AMOUNT[decimal].fullmatch(plain):
        raise StatementRefused(_("%(where)s: “%(text)s” is no amount") % {"where": where, "text": plain[:40]})
    plain = plain.replace("." if decimal == "," else ",", "").replace(decimal, ".")
    try:
        exact = money.in_minor(Decimal(plain), currency)
    except money.UnknownCurrency:
        raise StatementRefused(_("%(where)s: “%(text)s” is no currency") % {"where": where, "text": currency[:10]}) from None
    if exact.denominator != 1 or abs(exact) >= 2**62:
        raise StatementRefused(
            _("%(where)s: %(currency)s has no amount “%(text)s”") % {"where": where, "currency": currency, "text": plain}
        )
    return int(exact)


def account_of(text: str) -> str:
    """An account as it is compared: without gaps, in capitals."""
    return IBAN_GAPS.sub("", text).upper()


def once(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """A file that repeats an entry has it once. Raises: StatementRefused where the same reference stands for different entries."""
    found: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        before = found.setdefault((entry.account, entry.reference), entry)
        if before != entry:
            raise StatementRefused(_("two different entries have the bank's reference “%(reference)s”") % {"reference": entry.reference})
    return tuple(found.values())
