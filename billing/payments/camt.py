"""CAMT.053, the ISO 20022 statement of an account: XML of versions 001.02 to 001.08. Read whole, or refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from django.utils.translation import gettext as _

from billing.errors import StatementRefused
from billing.payments.entries import Contents, Entry, account_of, minor, numbered, once, shortened

NAMESPACE = re.compile(r"urn:iso:std:iso:20022:tech:xsd:camt\.053\.001\.0([2-8])")
BOOKED = "BOOK"
NONE = ("NONREF", "NOTPROVIDED")  # what banks write that have nothing to say


def read(data: bytes) -> tuple[Contents, ...]:
    """What it says of each account. Raises: StatementRefused, with what is wrong and where."""
    root = _document(data)
    statements: dict[str, list[Element]] = {}
    for one in root:
        if one.tag == "Stmt":
            statements.setdefault(_account(one), []).append(one)
    if not statements:
        raise StatementRefused(_("the file has no statement in it"))
    return tuple(_contents(account, of_it) for account, of_it in statements.items())


def _contents(account: str, statements: list[Element]) -> Contents:
    entries: list[Entry] = []
    skipped = 0
    for statement in statements:
        booked = [one for one in statement.findall("Ntry") if _state(one) == BOOKED]
        skipped += len(statement.findall("Ntry")) - len(booked)
        read_ones = [entry for one in booked for entry in _entries(one, account)]
        _add_up(statement, sum(entry.amount for entry in read_ones))
        entries += read_ones
    names = ", ".join(_text(one, "Id") for one in statements)
    return Contents(account, names[:200], once(numbered(entries)), skipped)


def _document(data: bytes) -> Element:
    """The message without its namespace."""
    try:
        root = fromstring(data, forbid_dtd=True)
    except ParseError as error:
        raise StatementRefused(_("no whole XML document in the encoding that it names: %(reason)s") % {"reason": str(error)}) from None
    except (DefusedXmlException, LookupError, ValueError) as error:
        raise StatementRefused(_("XML that is not read: %(reason)s") % {"reason": str(error) or type(error).__name__}) from None
    namespace = root.tag.removeprefix("{").partition("}")[0]
    if not NAMESPACE.fullmatch(namespace):
        raise StatementRefused(_("no CAMT.053 of a version from 001.02 to 001.08: %(namespace)s") % {"namespace": namespace[:80]})
    for one in root.iter():
        one.tag = str(one.tag).rpartition("}")[2]
    message = root.find("BkToCstmrStmt")
    if message is None:
        raise StatementRefused(_("the document is no statement"))
    return message


def _account(statement: Element) -> str:
    found = _text(statement, "Acct/Id/IBAN") or _text(statement, "Acct/Id/Othr/Id")
    if not found:
        raise StatementRefused(_("a statement names no account"))
    return account_of(found)


def _entries(entry: Element, account: str) -> Iterator[Entry]:
    """One, or as many as the transfers that it sums up."""
    told = (_text(entry, place) for place in ("AcctSvcrRef", "NtryDtls/TxDtls/Refs/AcctSvcrRef"))
    reference = next((each for each in told if each and each not in NONE), "")  # NtryRef is the account's or counts within the file
    where = _("entry %(reference)s") % {"reference": reference or _text(entry, "NtryRef") or "?"}
    amount, currency = _amount(entry, where)
    details = entry.findall("NtryDtls/TxDtls")
    whole = Entry(account, shortened(reference, 90), amount, currency, _value_date(entry, where), aside=_aside(entry, amount))
    if not reference:
        whole = replace(whole, said=(_text(entry, "BookgDt/Dt") or _text(entry, "BookgDt/DtTm")[:10], whole.value_date.isoformat()))
    if len(details) < 2:
        yield _told(whole, details)
        return
    parts = [_part(one, where) for one in details]
    if None in parts or {part[1] for part in parts if part} != {currency} or sum(part[0] for part in parts if part) != abs(amount):
        yield replace(_told(whole, details), aside=whole.aside or "batch")
        return
    for number, (one, part) in enumerate(zip(details, parts, strict=True), start=1):
        size = part[0] if part else 0
        named = f"{whole.reference}/{number}" if reference else ""
        yield replace(_told(whole, [one]), reference=named, amount=size if amount >= 0 else -size)


def _told(entry: Entry, details: list[Element]) -> Entry:
    """The entry with what the transfers say. The payer is the other side of what came, the payee of what went."""
    side = "Dbtr" if entry.amount >= 0 else "Cdtr"
    words = [word for one in details for word in _words(one)]
    first = details[0] if details else Element("TxDtls")
    name = _text(first, f"RltdPties/{side}/Nm") or _text(first, f"RltdPties/{side}/Pty/Nm")
    account = _text(first, f"RltdPties/{side}Acct/Id/IBAN") or _text(first, f"RltdPties/{side}Acct/Id/Othr/Id")
    said = (*entry.said, name, account, " ".join(" ".join(words).split())) if entry.said else ()
    return replace(entry, text=" ".join(words)[:1000], counterparty=name[:200], counterparty_account=account[:40], said=said)


def _words(one: Element) -> Iterator[str]:
    places = ("RmtInf/Strd/CdtrRefInf/Ref", "RmtInf/Ustrd", "Refs/EndToEndId", "AddtlTxInf")
    yield from (found.text.strip() for place in places for found in one.findall(place) if found.text and found.text.strip() not in NONE)


def _part(one: Element, where: str) -> tuple[int, str] | None:
    """A transfer's own amount, without a sign."""
    found = one.find("Amt")
    found = one.find("AmtDtls/TxAmt/Amt") if found is None else found
    if found is None:
        return None
    currency = found.get("Ccy", "")
    return abs(minor(found.text or "", currency, where)), currency


def _amount(entry: Element, where: str) -> tuple[int, str]:
    found = entry.find("Amt")
    if found is None or not found.get("Ccy"):
        raise StatementRefused(_("%(where)s: no amount with a currency") % {"where": where})
    currency = str(found.get("Ccy"))
    size = minor(found.text or "", currency, where)
    direction = _text(entry, "CdtDbtInd")
    if size < 0 or direction not in ("CRDT", "DBIT"):
        raise StatementRefused(_("%(where)s: neither credit nor debit") % {"where": where})
    return (size if direction == "CRDT" else -size), currency


def _aside(entry: Element, amount: int) -> str:
    if _text(entry, "RvslInd").lower() in ("true", "1"):
        return "reversal"
    return "debit" if amount <= 0 else ""


def _value_date(entry: Element, where: str) -> date:
    found = next((text for place in ("ValDt/Dt", "ValDt/DtTm", "BookgDt/Dt", "BookgDt/DtTm") if (text := _text(entry, place))), "")
    try:
        return date.fromisoformat(found[:10])
    except ValueError:
        raise StatementRefused(_("%(where)s: no value date") % {"where": where}) from None


def _state(entry: Element) -> str:
    """Later versions put it one level deeper. What says nothing is not booked."""
    return _text(entry, "Sts/Cd") or _text(entry, "Sts")


def _add_up(statement: Element, booked: int) -> None:
    """Where the bank tells both balances, what lies between them is all there. Raises: StatementRefused."""
    balances: dict[str, int] = {}
    for one in statement.findall("Bal"):
        amount, _currency = _amount(one, _("a balance"))
        balances[_text(one, "Tp/CdOrPrtry/Cd")] = amount
    if {"OPBD", "CLBD"} <= balances.keys() and balances["CLBD"] - balances["OPBD"] != booked:
        raise StatementRefused(_("entries are missing: they do not come to the difference of the statement's balances"))


def _text(element: Any, place: str) -> str:
    found = element.find(place)
    return (found.text or "").strip() if found is not None else ""
