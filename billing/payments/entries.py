"""What a file of a bank says, whichever its format: plain values, amounts as exact decimals of major units."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from django.utils.translation import gettext as _

from billing.errors import StatementRefused
from billing.rating import money

AMOUNT = {
    ".": re.compile(r"[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)(\.[0-9]+)?"),
    ",": re.compile(r"[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]+)(,[0-9]+)?"),
}
DERIVED = "derived:"  # begins a reference that is ours and not the bank's
IBAN_GAPS = re.compile(r"\s")


@dataclass(frozen=True)
class Entry:
    """A booked entry. `amount` in minor units, below nothing for what left the account; `aside`: why nobody may match it by itself, or empty; `said`: all that
    tells it apart where the bank gave it no reference."""

    account: str
    reference: str
    amount: int
    currency: str
    value_date: date
    text: str = ""
    counterparty: str = ""
    counterparty_account: str = ""
    aside: str = ""
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """All that a file says of one account. `skipped`: entries that are not booked yet."""

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


def numbered(entries: Iterable[Entry]) -> list[Entry]:
    """Those without a reference of the bank get one made of what they say and of their number among those of the file that say the same: found again in another
    file that covers the same day, and two that are truly alike are two."""
    seen: Counter[str] = Counter()
    named = []
    for entry in entries:
        if not entry.reference:
            digest = hashlib.sha256(json.dumps([entry.account, entry.amount, entry.currency, *entry.said]).encode()).hexdigest()[:40]
            seen[digest] += 1
            entry = replace(entry, reference=f"{DERIVED}{digest}/{seen[digest]}")  # noqa: PLW2901
        named.append(entry)
    return named


def shortened(reference: str, most: int = 100) -> str:
    """A reference of a bank that is longer than we keep, still told apart from all others."""
    digest = hashlib.sha256(reference.encode()).hexdigest()[:32]
    return reference if len(reference) <= most else f"{reference[: most - 33]}~{digest}"


def once(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """A file that repeats an entry has it once. Raises: StatementRefused where the same reference stands for different entries."""
    found: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        before = found.setdefault((entry.account, entry.reference), entry)
        if before != entry:
            raise StatementRefused(_("two different entries have the bank's reference “%(reference)s”") % {"reference": entry.reference})
    return tuple(found.values())
