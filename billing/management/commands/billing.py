"""`manage.py billing close|preview|invoices|show|pdf|html|csv|draft|finalise|void|uncollectible|correct|credit|hold|unhold|notices`: months, invoices,
corrections, what customers are told."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from billing import closing, corrections, invoicing
from billing.corrections import Corrected
from billing.documents import page, pdf, sheet
from billing.management.customers import CustomerVerbs
from billing.management.words import month
from billing.models import Invoice, Subscription
from billing.papers import Paper, paper_of
from billing.rating import money
from billing.rating.cycles import Range, month_of
from placement.management.telling import table, when
from tenants.management.verbs import VerbCommand, tenant_of

SHOWN = 50


class Command(CustomerVerbs, VerbCommand):
    help = "Closes months, shows invoices, sets them as PDF, corrects them; holds dunning, shows what customers were told."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        close = verbs.add_parser("close", help="bill a month that is over; again: go on where it stopped, or nothing")
        close.add_argument("month", type=month, help="such as 2026-06")
        close.add_argument("--dry-run", action="store_true", help="tell what it would come to; write nothing")
        close.add_argument("--workers", type=int, default=2, help="processes; 2 if left out")
        for verb, meaning in {"preview": "a tenant's month as it would be billed now", "draft": "make or renew a draft"}.items():
            one = verbs.add_parser(verb, help=meaning)
            one.add_argument("account")
            one.add_argument("--month", type=month, help="else the present one")
        listed = verbs.add_parser("invoices", help="invoices and credit notes, newest first")
        listed.add_argument("account", nargs="?")
        listed.add_argument("--month", type=month)
        listed.add_argument("--state", choices=Invoice.State.values)
        meanings = {"show": "an invoice and its lines", "void": "it was never owed", "uncollectible": "nobody expects it to be paid"}
        for verb, meaning in {**meanings, "finalise": "number the draft of ACCOUNT/MONTH"}.items():
            one = verbs.add_parser(verb, help=meaning)
            one.add_argument("number")
            if verb in ("void", "uncollectible"):
                one.add_argument("reason", nargs="?", default="", help="goes into the audit")
        for verb in ("pdf", "html", "csv"):
            paper = verbs.add_parser(verb, help=f"an invoice as {verb.upper()}")
            paper.add_argument("number")
            paper.add_argument("--out", type=Path, required=True, metavar="FILE")
        meanings = {
            "correct": "count an invoice, or those of a month that metering has corrected since, again",
            "credit": "credit all of it",
        }
        for verb, meaning in meanings.items():
            one = verbs.add_parser(verb, help=meaning)
            one.add_argument("number", metavar="NUMBER or MONTH" if verb == "correct" else "number")
            one.add_argument("reason")
        self.add_customer_verbs(verbs)

    def do_close(self, *, month: Range, dry_run: bool, workers: int, **_: Any) -> None:
        now = timezone.now()
        if dry_run:
            self._say(_report(closing.dry_run(month, now=now)))
            return
        self._say(_report(closing.close(month, workers=max(1, workers), **{**self.acted, "now": now})))

    def do_preview(self, *, account: str, month: Range | None, **_: Any) -> None:
        now = timezone.now()
        paper = invoicing.preview(tenant_of(account), month or month_of(now), now)
        self._say(_paper(paper) if paper else ["nothing to bill"])

    def do_draft(self, *, account: str, month: Range | None, **_: Any) -> None:
        now = timezone.now()
        made = invoicing.draft(_subscription(account), month or month_of(now), now=now)
        self._say(_paper(paper_of(made)) if made else ["nothing to bill"])

    def do_finalise(self, *, number: str, **_: Any) -> None:
        account, _slash, text = number.partition("/")
        try:
            period = month(text)
        except ArgumentTypeError as error:
            raise CommandError(f"{number!r} names no draft: ACCOUNT/MONTH ({error})") from error
        found = Invoice.objects.of(tenant_of(account)).filter(period_start=period.start, state=Invoice.State.DRAFT).first()
        if found is None:
            raise CommandError(f"{account} has no draft for {text}: `manage.py billing draft` makes one.")
        self._say(_paper(paper_of(invoicing.finalise(found, **self.acted))))

    def do_invoices(self, *, account: str | None, month: Range | None, state: str | None, **_: Any) -> None:
        rows = Invoice.objects.of(tenant_of(account)) if account else Invoice.objects.across_tenants()
        wanted = {"period_start": month.start if month else None, "state": state}
        found = (
            rows.filter(**{name: value for name, value in wanted.items() if value}).select_related("tenant").order_by("-id")[: SHOWN + 1]
        )
        heads = ("number", "tenant", "month", "state", "total", "to be paid", "issued")
        shown = [_row(made) for made in found[:SHOWN]]
        self._say(table(heads, shown) if shown else ["no invoice"])
        if len(found) > SHOWN:
            self._say(["and more: name an account or a month"])

    def do_show(self, *, number: str, **_: Any) -> None:
        self._say(_paper(paper_of(invoicing.by_name(number))))

    def do_pdf(self, *, number: str, out: Path, **_: Any) -> None:
        out.write_bytes(pdf.render(paper_of(invoicing.by_name(number))))

    def do_html(self, *, number: str, out: Path, **_: Any) -> None:
        out.write_text(page.render(paper_of(invoicing.by_name(number)), host=settings.PUBLIC_URL), encoding="utf-8")

    def do_csv(self, *, number: str, out: Path, **_: Any) -> None:
        out.write_text(sheet.render(paper_of(invoicing.by_name(number))), encoding="utf-8")

    def do_void(self, *, number: str, reason: str, **_: Any) -> None:
        invoicing.void(invoicing.by_name(number), reason=reason, **self.acted)

    def do_uncollectible(self, *, number: str, reason: str, **_: Any) -> None:
        invoicing.mark_uncollectible(invoicing.by_name(number), reason=reason, **self.acted)

    def do_correct(self, *, number: str, reason: str, **_: Any) -> None:
        try:
            invoices = corrections.touched(month(number))
        except ArgumentTypeError:
            invoices = [invoicing.by_name(number)]
        for invoice in invoices:
            self._say([_corrected(corrections.correct(invoice, reason=reason, **self.acted))])
        if not invoices:
            self._say(["metering has corrected nothing of that month since it was billed"])

    def do_credit(self, *, number: str, reason: str, **_: Any) -> None:
        self._say([_corrected(corrections.credit_whole(invoicing.by_name(number), reason=reason, **self.acted))])

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(line)


def _subscription(account: str) -> Subscription:
    found = Subscription.objects.of(tenant_of(account)).select_related("tenant").first()
    if found is None:
        raise CommandError(f"{account} has no subscription.")
    return found


def _report(report: closing.Report) -> Iterator[str]:
    yield f"{report.period.start:%Y-%m}: {report.invoiced} invoiced, {report.nothing} with nothing to bill, {len(report.refused)} not billed"
    for currency, minor in report.totals.items():
        yield f"  {money.in_major(minor, currency)} {currency}"
    for each in report.refused:
        yield f"not billed: {each.account}: {each.code}: {each.detail}"
    for gap in report.unwatched:
        yield f"not watched, so not billed: {gap.seconds} s of {gap.cluster_id} in {gap.gaps} gaps"


def _row(made: Invoice) -> tuple[object, ...]:
    total, due = (money.in_major(minor, made.currency) for minor in (made.gross, made.payable))
    month = f"{made.period_start:%Y-%m}"
    issued = when(made.issued_at) if made.issued_at else "-"
    return made.name or "(draft)", made.tenant.account, month, made.state, f"{total} {made.currency}", due, issued


def _paper(paper: Paper) -> Iterator[str]:
    made = paper.invoice
    yield f"{made.get_kind_display()} {made.name or '(not issued)'}, {made.buyer['account']}, {made.period_start:%Y-%m}, {made.state}"
    heads = ("", "what", "component", "plan", "from", "to", "quantity", "unit price", "amount")
    rows = [
        (
            *(line.position, line.what, line.component, f"{line.plan}/{line.version}", when(line.start), when(line.end)),
            *(f"{line.quantity.normalize():f} {line.unit}", f"{line.unit_price.normalize():f}", money.in_major(line.amount, made.currency)),
        )
        for line in paper.lines
    ]
    yield from table(heads, rows)
    sums = {"net": made.net, **{f"tax {tax['percent']} %": tax["amount"] for tax in made.taxes}, "total": made.gross}
    more = {"from the balance": made.spent, "to the balance": made.carried, "set off": made.set_off}
    for label, minor in {**sums, **{name: value for name, value in more.items() if value}, "to be paid": made.payable}.items():
        yield f"  {label}: {money.in_major(minor, made.currency)} {made.currency}"


def _corrected(done: Corrected) -> str:
    held = done.invoice
    amount = f"{money.in_major(abs(done.difference), held.currency)} {held.currency}"
    if done.credit_note is not None:
        return f"{held.name}: {amount} credited by {done.credit_note.name}"
    return f"{held.name}: {amount} were billed too little; they are not charged" if done.difference else f"{held.name}: nothing to correct"
