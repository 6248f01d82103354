"""`manage.py books journal|receivables|check`: what bookkeepers take out of billing, and whether its sums agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing.books import checks, receivables, sales
from billing.management.words import month
from billing.rating import money
from billing.rating.cycles import Range
from placement.management.telling import table
from tenants.management.verbs import VerbCommand


class Command(VerbCommand):
    help = "The sales journal, the receivables by age, and the check that every sum agrees."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        journal = verbs.add_parser("journal", help="every document that was issued in a month, as CSV")
        journal.add_argument("month", type=month, help="such as 2026-06")
        journal.add_argument("--out", type=Path, metavar="FILE", help="else it is printed")
        owed = verbs.add_parser("receivables", help="what is open now, by currency and age")
        owed.add_argument("--out", type=Path, metavar="FILE", help="every open invoice, as CSV")
        verbs.add_parser("check", help="whether numbers, sums, payments and balances agree; exit status 1 where one does not")

    def do_journal(self, *, month: Range, out: Path | None, **_: Any) -> None:
        text = sales.journal(month)
        if out is None:
            self.stdout.write(text, ending="")
        else:
            out.write_text(text, encoding="utf-8")

    def do_receivables(self, *, out: Path | None, **_: Any) -> None:
        found = receivables.receivables(now=timezone.now())
        heads = ("currency", "not due", "overdue", *(f"{age} days and more" for age in receivables.AGES[1:]))
        rows = [
            (currency, *(str(money.in_major(minor, currency)) for minor in ages.values()))
            for currency, ages in receivables.by_age(found).items()
        ]
        for line in table(heads, rows) if rows else ["nothing is open"]:
            self.stdout.write(line)
        if out is not None:
            out.write_text(receivables.sheet(found), encoding="utf-8")

    def do_check(self, **_: Any) -> None:
        found = checks.check(now=timezone.now())
        for each in found:
            self.stdout.write(f"{each.law}: {each.subject}: {each.detail}")
        if found:
            raise CommandError(f"{len(found)} sums do not agree.")
        self.stdout.write(f"{len(checks.LAWS)} laws hold.")
