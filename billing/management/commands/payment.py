"""`manage.py payment import|unmatched|assign|take-back|pay-out|release|undo|bring-back|list|ask|reconcile|messages|again|overdue|review`: what came and went, for
which invoice, and who does not pay."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing import dunning, invoicing
from billing.concessions import in_minor
from billing.management.words import price
from billing.models import DunningCase, Payment, ProviderEvent, StatementEntry
from billing.payments import assigning, bank, cards, importing, ledger
from billing.payments.delimited import COLUMNS, ENCODINGS, Shape
from billing.payments.references import shown
from billing.rating import money
from tenants.management.verbs import VerbCommand, day, tenant_of

PROVIDERS = {"bank": bank.ask, "stripe": cards.ask}


def column(text: str) -> tuple[str, str]:
    """For argparse: amount=Betrag."""
    name, equals, heading = text.partition("=")
    if not equals or name not in COLUMNS:
        raise ArgumentTypeError(f"{text!r} is no column: NAME=HEADING, a name is one of {', '.join(COLUMNS)}")
    return name, heading


class Command(VerbCommand):
    help = "Imports statements of banks, gives money to invoices, tells how invoices are paid and who does not."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        self._add_import(verbs)
        verbs.add_parser("unmatched", help="entries that somebody has to look at")
        assign = verbs.add_parser("assign", help="give what is left of an entry to an invoice")
        assign.add_argument("entry_id", type=int)
        assign.add_argument("number", help="of the invoice, such as INV-2026-000001")
        assign.add_argument("--amount", type=price, help="only so much of it, in major units")
        self._add_backwards(verbs)
        listed = verbs.add_parser("list", help="the latest payments")
        listed.add_argument("account", nargs="?")
        listed.add_argument("--most", type=int, default=50)
        ask = verbs.add_parser("ask", help="how an invoice is paid")
        ask.add_argument("number")
        ask.add_argument("--by", choices=sorted(PROVIDERS), default="bank")
        verbs.add_parser("reconcile", help="look at Stripe for what its messages have not told")
        verbs.add_parser("messages", help="of Stripe's, that somebody has to look at")
        verbs.add_parser("again", help="look such a message up again").add_argument("message_id", metavar="MESSAGE")
        verbs.add_parser("overdue", help="tenants that owe something past its due date, and how far they have come")
        verbs.add_parser("review", help="one step further, or back, for a tenant now").add_argument("account")

    def _add_backwards(self, verbs: Any) -> None:
        take_back = verbs.add_parser("take-back", help="an entry that left the account is money of a payment that went back")
        pay_out = verbs.add_parser("pay-out", help="an entry that left the account was paid out of a tenant's balance")
        release = verbs.add_parser("release", help="an entry was assigned wrongly: it waits again")
        for one in (take_back, pay_out, release):
            one.add_argument("entry_id", type=int)
        take_back.add_argument("payment_id", type=int)
        pay_out.add_argument("account")
        for one in (take_back, pay_out):
            one.add_argument("--amount", type=price, help="only so much of it, in major units")
        release.add_argument("reason")
        for verb, meaning in {
            "undo": "take all that is left of a payment back by a counter-entry",
            "bring-back": "a payment that was undone, or a counter-entry, by mistake is there again",
        }.items():
            one = verbs.add_parser(verb, help=meaning)
            one.add_argument("payment_id", type=int)
            one.add_argument("reason")

    def _add_import(self, verbs: Any) -> None:
        put = verbs.add_parser("import", help="a statement, whole or not at all; the same file again is a no-op")
        put.add_argument("file", help="- for standard input")
        put.add_argument("--format", choices=["camt", "csv"], required=True)
        csv = put.add_argument_group("csv", "how the bank writes it")
        csv.add_argument("--account", help="the IBAN of ours that the file is of")
        csv.add_argument("--column", type=column, action="append", default=[], metavar="NAME=HEADING", help=", ".join(COLUMNS))
        csv.add_argument("--delimiter", default=",")
        csv.add_argument("--encoding", choices=sorted(ENCODINGS))
        csv.add_argument("--decimal", choices=[".", ","], default=".")
        csv.add_argument("--date-format", default="%Y-%m-%d", help="as strptime reads it, such as %%d.%%m.%%Y")
        csv.add_argument("--currency", default="", help="of all entries, where no column says it")

    def do_import(self, *, file: str, **options: Any) -> None:
        name, data = Path(file).name, _read(file)
        if options["format"] == "camt":
            done = importing.from_camt(data, name=name, **self.acted)
        else:
            if not options["account"] or not options["encoding"]:
                raise CommandError("A CSV file needs --account and --encoding: nothing in it says them.")
            names = ("account", "delimiter", "encoding", "decimal", "date_format", "currency")
            shape = Shape(columns=dict(options["column"]), **{key: options[key] for key in names})
            done = importing.from_csv(data, shape, name=name, **self.acted)
        if done.again:
            self.stdout.write(f"{name} was imported {day(done.statements[0].imported_at)}: nothing to do")
            return
        self.stdout.write(f"{name}: {done.new} new entries, {done.known} known before, {done.skipped} not booked yet")
        for entry in StatementEntry.objects.filter(statement__in=done.statements).order_by("id"):
            self.stdout.write(_entry(entry))

    def do_unmatched(self, **_: Any) -> None:
        for entry in assigning.unmatched():
            self.stdout.write(_entry(entry))

    def do_assign(self, *, entry_id: int, number: str, amount: Decimal | None, **_: Any) -> None:
        entry = _entry_of(entry_id)
        self.stdout.write(_payment(assigning.assign(entry, invoicing.by_name(number), amount=_part(amount, entry), **self.acted)))

    def do_take_back(self, *, entry_id: int, payment_id: int, amount: Decimal | None, **_: Any) -> None:
        entry = _entry_of(entry_id)
        self.stdout.write(_payment(assigning.take_back(entry, _payment_of(payment_id), amount=_part(amount, entry), **self.acted)))

    def do_pay_out(self, *, entry_id: int, account: str, amount: Decimal | None, **_: Any) -> None:
        entry = _entry_of(entry_id)
        row = assigning.pay_out(entry, tenant_of(account), amount=_part(amount, entry), **self.acted)
        self.stdout.write(f"{money.in_major(-row.amount, row.currency)} {row.currency} of the balance of {account} were paid out")

    def do_release(self, *, entry_id: int, reason: str, **_: Any) -> None:
        self.stdout.write(_entry(assigning.release(_entry_of(entry_id), reason=reason, **self.acted)))

    def do_undo(self, *, payment_id: int, reason: str, **_: Any) -> None:
        self.stdout.write(_payment(assigning.undo(_payment_of(payment_id), reason=reason, **self.acted)))

    def do_bring_back(self, *, payment_id: int, reason: str, **_: Any) -> None:
        counter = ledger.counter_of(_payment_of(payment_id))
        self.stdout.write(_payment(ledger.bring_back(counter, reason=reason, **self.acted)))

    def do_list(self, *, account: str | None, most: int, **_: Any) -> None:
        rows = Payment.objects.of(tenant_of(account)) if account else Payment.objects.across_tenants()
        for payment in rows.select_related("invoice")[:most]:
            self.stdout.write(_payment(payment))

    def do_ask(self, *, number: str, by: str, **_: Any) -> None:
        asked = PROVIDERS[by](invoicing.by_name(number), **self.acted)
        where = asked.url or f"to {asked.account}, reference {shown(asked.reference)}"
        self.stdout.write(f"{money.in_major(asked.amount, asked.currency)} {asked.currency}  {where}")

    def do_reconcile(self, **_: Any) -> None:
        self.stdout.write(f"{cards.reconcile(now=timezone.now())} lines of payments, refunds and disputes that were not known")

    def do_messages(self, **_: Any) -> None:
        for event in cards.to_look_at():
            self.stdout.write(_message(event))

    def do_again(self, *, message_id: str, **_: Any) -> None:
        event = ProviderEvent.objects.filter(pk=message_id).first()
        if event is None:
            raise CommandError(f"There is no message {message_id}: `manage.py payment messages` shows them.")
        self.stdout.write(_message(cards.again(event, **self.acted)))

    def do_overdue(self, **_: Any) -> None:
        for case in DunningCase.objects.across_tenants().select_related("tenant__dunning_hold", "invoice"):
            held = getattr(case.tenant, "dunning_hold", None)
            why = f"  held until {day(held.until)}: {held.reason}" if held else ""
            self.stdout.write(f"{case.tenant.account}  {case.stage}  {case.invoice.name}  since {day(case.changed_at)}{why}")

    def do_review(self, *, account: str, **_: Any) -> None:
        case = dunning.review(tenant_of(account), **self.acted)
        self.stdout.write(f"{account}: {case.stage} for {case.invoice.name}" if case else f"{account}: nothing is overdue")


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error


def _entry_of(entry_id: int) -> StatementEntry:
    entry = StatementEntry.objects.filter(pk=entry_id).first()
    if entry is None:
        raise CommandError(f"There is no entry {entry_id}: `manage.py payment unmatched` shows them.")
    return entry


def _payment_of(payment_id: int) -> Payment:
    payment = Payment.objects.across_tenants().select_related("invoice__subscription", "tenant").filter(pk=payment_id).first()
    if payment is None:
        raise CommandError(f"There is no payment {payment_id}: `manage.py payment list` shows them.")
    return payment


def _part(amount: Decimal | None, entry: StatementEntry) -> int | None:
    return None if amount is None else in_minor(amount, entry.currency)


def _message(event: ProviderEvent) -> str:
    return f"{event.pk}  {day(event.said_at)}  {event.kind} {event.object_id}  {event.state}  {event.detail}"


def _entry(entry: StatementEntry) -> str:
    amount = f"{money.in_major(entry.amount, entry.currency)} {entry.currency}"
    why = f" ({entry.reason})" if entry.reason else ""
    return f"{entry.pk}  {entry.value_date}  {amount}  {entry.state}{why}  {entry.counterparty}: {entry.text}"


def _payment(payment: Payment) -> str:
    amount = f"{money.in_major(payment.amount, payment.currency)} {payment.currency}"
    credited = f", {money.in_major(payment.credited, payment.currency)} of it to the balance" if payment.credited else ""
    return f"{payment.pk}  {day(payment.paid_at)}  {payment.invoice.name}  {amount}{credited}  {payment}"
