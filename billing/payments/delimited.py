"""Statements as CSV: no bank writes them like another, so the operator says how. Read whole, or refused."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from django.utils.translation import gettext as _

from billing.errors import StatementRefused
from billing.payments.entries import Contents, Entry, account_of, minor, once, shortened

# Whoever says latin-1 means what Windows writes: its signs at 0x80 to 0x9f, such as €, are no signs in latin-1 proper.
ENCODINGS = {"utf-8": "utf-8-sig", "utf-16": "utf-16", "latin-1": "cp1252", "windows-1252": "cp1252"}
NEEDED = ("reference", "amount", "date")
COLUMNS = (*NEEDED, "currency", "account", "text", "counterparty", "counterparty_account")
MISREAD = re.compile(r"[^\W\d_][„”][^\W\d_]|[A-Za-z][ŠŸ][a-z]")  # ä and ö of DOS, ä and ü of old Macs, read as Windows-1252
BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Shape:
    """How a bank writes its CSV. `columns`: by our names (of COLUMNS) the bank's headings. `currency`: of all entries, where no column says it."""

    account: str
    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    date_format: str = "%Y-%m-%d"
    currency: str = ""


def read(data: bytes, shape: Shape) -> Contents:
    """Raises: StatementRefused, with the line that is wrong."""
    _check(shape)
    rows = csv.reader(io.StringIO(_decode(data, shape.encoding), newline=""), delimiter=shape.delimiter, strict=True)
    try:
        entries = once(_entries(rows, shape))
    except csv.Error as error:
        raise StatementRefused(_("line %(line)d: no CSV, or cut off: %(reason)s") % {"line": rows.line_num, "reason": str(error)}) from None
    return Contents(account_of(shape.account), "", entries)


def _check(shape: Shape) -> None:
    missing = [name for name in NEEDED if not shape.columns.get(name)]
    unknown = sorted(set(shape.columns) - set(COLUMNS))
    if missing or unknown:
        raise StatementRefused(_("say which columns are %(names)s") % {"names": ", ".join(missing or COLUMNS)})
    if not shape.columns.get("currency") and not shape.currency:
        raise StatementRefused(_("say which column is the currency, or which currency all entries are in"))
    if shape.encoding not in ENCODINGS or shape.decimal not in (".", ",") or len(shape.delimiter) != 1:
        raise StatementRefused(
            _("an encoding is utf-8, utf-16, latin-1 or windows-1252, a decimal sign “.” or “,”, a delimiter one character")
        )


def _decode(data: bytes, encoding: str) -> str:
    """The text, if it is in the encoding that was said: another one would spoil names and hide references. Raises: StatementRefused."""
    wrong = StatementRefused(_("the file is not in %(encoding)s") % {"encoding": encoding})
    told = next((name for bom, name in BOMS.items() if data.startswith(bom)), "")
    if told not in ("", encoding):
        raise StatementRefused(_("the file is in %(real)s, not in %(encoding)s") % {"real": told, "encoding": encoding})
    try:
        text = data.decode(ENCODINGS[encoding])
    except UnicodeDecodeError:
        raise wrong from None
    if ENCODINGS[encoding] == "cp1252" and not data.isascii() and _is_utf8(data):
        raise StatementRefused(_("the file is in %(real)s, not in %(encoding)s") % {"real": "utf-8", "encoding": encoding})
    if (ENCODINGS[encoding] == "cp1252" and MISREAD.search(text)) or (encoding == "utf-16" and not told and b"\0" not in data):
        raise wrong
    if any((ord(sign) < 32 and sign not in "\t\r\n") or 0x7F <= ord(sign) < 0xA0 for sign in text):
        raise wrong
    return text


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _entries(rows: Iterator[list[str]], shape: Shape) -> Iterator[Entry]:
    heading = [name.strip() for name in next(rows, [])]
    absent = sorted(name for name in shape.columns.values() if heading.count(name) != 1)
    if absent:
        raise StatementRefused(_("the heading does not have these columns, each once: %(names)s") % {"names": ", ".join(absent)})
    places = {name: heading.index(column) for name, column in shape.columns.items()}
    for number, row in enumerate(rows, start=2):
        if not any(row):
            continue
        where = _("row %(number)d") % {"number": number}
        if len(row) != len(heading):
            raise StatementRefused(
                _("%(where)s: %(found)d columns in place of %(wanted)d") % {"where": where, "found": len(row), "wanted": len(heading)}
            )
        yield _entry({name: row[place].strip() for name, place in places.items()}, shape, where)


def _entry(told: dict[str, str], shape: Shape, where: str) -> Entry:
    if not told["reference"]:
        raise StatementRefused(_("%(where)s: no reference of the bank: it could be imported twice") % {"where": where})
    account = account_of(told.get("account") or shape.account)
    if account != account_of(shape.account):
        raise StatementRefused(_("%(where)s is of another account: %(account)s") % {"where": where, "account": account})
    currency = (told.get("currency") or shape.currency).upper()
    amount = minor(told["amount"], currency, where, decimal=shape.decimal)
    return Entry(
        account=account,
        reference=shortened(told["reference"]),
        amount=amount,
        currency=currency,
        value_date=_day(told["date"], shape.date_format, where),
        text=told.get("text", "")[:1000],
        counterparty=told.get("counterparty", "")[:200],
        counterparty_account=told.get("counterparty_account", "")[:40],
        aside="" if amount > 0 else "debit",
    )


def _day(text: str, date_format: str, where: str) -> date:
    try:
        return datetime.strptime(text, date_format).date()  # noqa: DTZ007 - a bank's day has no zone
    except ValueError:
        raise StatementRefused(_("%(where)s: “%(text)s” is no date") % {"where": where, "text": text[:40]}) from None
