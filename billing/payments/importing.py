"""Statements of banks: a file is read whole and stored whole, in one transaction; then each new entry is matched, each in one of its own.

Killed in between, what waits is matched by the next import or the schedule.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from billing.errors import StatementRefused
from billing.models import Statement, StatementEntry
from billing.payments import camt, delimited, matching
from billing.payments.entries import Contents, Entry, account_of
from tenants import audit

LARGEST = 32 * 2**20  # bytes
ASKED = 10_000  # references in one query; PostgreSQL takes 65,535 parameters
FACTS = ("amount", "currency", "value_date")


@dataclass(frozen=True)
class Imported:
    """What an import came to, in statements of an account each. `again`: the very file was there; `known`: entries that other files had brought; `skipped`: not
    booked yet."""

    statements: tuple[Statement, ...]
    again: bool
    new: int
    known: int
    skipped: int


def from_camt(data: bytes, *, name: str = "", now: datetime, actor: str) -> Imported:
    """Raises: StatementRefused; nothing is stored then."""
    _check_size(data)
    return _again(data, now) or _store(data, camt.read(data), Statement.Format.CAMT, name=name, now=now, actor=actor)


def from_csv(data: bytes, shape: delimited.Shape, *, name: str = "", now: datetime, actor: str) -> Imported:
    """Raises: StatementRefused; nothing is stored then."""
    _check_size(data)
    return _again(data, now) or _store(data, (delimited.read(data, shape),), Statement.Format.CSV, name=name, now=now, actor=actor)


def _check_size(data: bytes) -> None:
    if not data.strip():
        raise StatementRefused(_("the file is empty"))
    if len(data) > LARGEST:
        raise StatementRefused(_("the file is larger than %(bytes)d bytes") % {"bytes": LARGEST})


def _again(data: bytes, now: datetime) -> Imported | None:
    known = tuple(Statement.objects.filter(digest=_digest(data)).order_by("pk"))
    if not known:
        return None
    matching.match_waiting(now=now)
    return Imported(known, True, 0, sum(each.entries_in_file for each in known), 0)


def _store(data: bytes, read: tuple[Contents, ...], form: str, *, name: str, now: datetime, actor: str) -> Imported:
    strange = sorted({each.account for each in read} - {account_of(each) for each in settings.BANK_ACCOUNTS})
    if strange:
        raise StatementRefused(_("%(account)s is no account of ours: ACS_BANK_ACCOUNTS names them") % {"account": ", ".join(strange)})
    facts = {"digest": _digest(data), "format": form, "name": name[:200], "imported_at": now, "imported_by": actor}
    try:
        with transaction.atomic():
            statements = tuple(_put(each, facts) for each in sorted(read, key=lambda each: each.account))
    except IntegrityError:  # somebody imports the same this moment
        if (there := _again(data, now)) is not None:
            return there
        raise StatementRefused(_("somebody else imports the same entries right now: import it again")) from None
    matching.match_waiting(now=now, actor=actor)
    known = sum(each.known_before for each in statements)
    total = sum(each.entries_in_file for each in statements)
    return Imported(statements, False, total - known, known, sum(each.skipped for each in read))


def _put(read: Contents, facts: dict[str, Any]) -> Statement:
    """What the file says of one account, in the transaction of the whole file."""
    new = _new_ones(read)
    known = len(read.entries) - len(new)
    statement = Statement.objects.create(
        account=read.account, bank_id=read.bank_id, entries_in_file=len(read.entries), known_before=known, **facts
    )
    StatementEntry.objects.bulk_create([_row(entry, statement) for entry in new])
    told = {"account": read.account, "entries": len(new), "known": known, "digest": statement.digest}
    audit.record("statement.import", actor=facts["imported_by"], tenant=None, target=str(statement), now=facts["imported_at"], **told)
    return statement


def _new_ones(read: Contents) -> list[Entry]:
    """Entries that no file has brought yet. Raises: StatementRefused where the bank says something else of one that is known."""
    references = [entry.reference for entry in read.entries]
    parts = [references[first : first + ASKED] for first in range(0, len(references), ASKED)]
    rows = StatementEntry.objects.filter(account=read.account)
    known = {row.bank_reference: row for part in parts for row in rows.filter(bank_reference__in=part)}
    for entry in read.entries:
        row = known.get(entry.reference)
        if row is not None and any(getattr(row, name) != getattr(entry, name) for name in FACTS):
            raise StatementRefused(_("entry %(reference)s is known with another amount or day") % {"reference": entry.reference})
    return [entry for entry in read.entries if entry.reference not in known]


def _row(entry: Entry, statement: Statement) -> StatementEntry:
    names = ("account", "amount", "currency", "value_date", "text", "counterparty", "counterparty_account")
    state = StatementEntry.State.ASIDE if entry.aside else StatementEntry.State.WAITING
    facts = {name: getattr(entry, name) for name in names}
    return StatementEntry(statement=statement, bank_reference=entry.reference, state=state, reason=entry.aside, **facts)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
