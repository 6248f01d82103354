"""What a notice says, in the language of the billing account and as things stand when it is sent; nothing, where it is no longer so.

Bodies are templates/billing/mail/<kind>.txt. What is due is looked up anew: who has paid meanwhile is not dunned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from babel.dates import format_date
from babel.numbers import format_currency
from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _

from billing import dunning
from billing.documents import pdf
from billing.documents.telling import LOCALES
from billing.models import BillingAccount, DunningCase, Invoice, Notice, QuotaWarning
from billing.notices import writing
from billing.owed import open_amount
from billing.papers import paper_of
from billing.payments import bank
from billing.payments.references import shown
from billing.rating import money

ACTOR = "system:notices"
Kind, Stage = Notice.Kind, DunningCase.Stage


@dataclass(frozen=True)
class Mail:
    """One message, ready to be sent. `identity`: the same again when the same notice is sent again."""

    to: str
    subject: str
    body: str
    identity: str
    pdf_name: str = ""
    pdf: bytes = b""

    def message(self, line: BaseEmailBackend) -> EmailMessage:
        headers = {"Message-ID": self.identity, "Auto-Submitted": "auto-generated"}
        made = EmailMessage(self.subject, self.body, to=[self.to], headers=headers, connection=line)
        if self.pdf:
            made.attach(self.pdf_name, self.pdf, "application/pdf")
        return made


def compose(notice: Notice, *, now: datetime) -> Mail | None:
    """None: it is no longer so, or the tenant or the operators want no notices. Raises: NoInvoiceFont."""
    account = BillingAccount.objects.of(notice.tenant_id).first()
    if account is None or not account.notices or not settings.BILLING_MAIL:
        return None
    with translation.override(account.language):
        told = TELLERS[Kind(notice.kind)](notice, account, now)
        if told is None:
            return None
        about = {"tenant": notice.tenant, "account": account, "seller": _seller(), **told}
        body = render_to_string(f"billing/mail/{notice.kind}.txt", about).strip() + "\n"
        subject = " ".join(str(told["subject"]).split())
    host = urlsplit(settings.PUBLIC_URL).hostname or "localhost"
    mail = Mail(account.email, subject, body, f"<notice-{notice.pk}-{notice.made_at:%Y%m%d%H%M%S}@{host}>")
    if notice.invoice is None or notice.kind not in (Kind.INVOICE, Kind.CREDIT_NOTE):
        return mail
    return replace(mail, pdf_name=f"{notice.invoice}.pdf", pdf=pdf.render(paper_of(notice.invoice)))


def _invoice(notice: Notice, account: BillingAccount, now: datetime) -> dict[str, Any] | None:  # noqa: ARG001 - every teller's signature
    made = notice.invoice
    if made is None or (made.state == Invoice.State.VOID) != notice.event.startswith(writing.VOID):
        return None
    if made.state == Invoice.State.VOID:
        words = {"number": made.name, "seller": _seller()}
        return {"subject": _("Invoice %(number)s of %(seller)s is void") % words, **words, "void": True} if _has_come(made) else None
    left = open_amount(made)
    told = {"subject": _("Invoice %(number)s of %(seller)s") % {"number": made.name, "seller": _seller()}, "number": made.name}
    told |= {"total": _amount(made.gross, made, account), "period": _month(made.period_start, account)}
    return told | ({"due": _how_to_pay(made, left, account)} if left > 0 else {})


def _has_come(made: Invoice) -> bool:
    """Whether the customer has got it by e-mail, or may have: somebody has it in hand."""
    rows = Notice.objects.of(made.tenant_id).filter(event=f"{made.kind}:{made.pk}")
    return rows.filter(Q(state=Notice.State.SENT) | Q(state=Notice.State.WAITING, claimed_until__isnull=False)).exists()


def _credit_note(notice: Notice, account: BillingAccount, now: datetime) -> dict[str, Any] | None:  # noqa: ARG001
    made = notice.invoice
    if made is None or made.corrects is None:
        return None
    words = {"number": made.name, "invoice": made.corrects.name}
    told: dict[str, Any] = {"subject": _("Credit note %(number)s for invoice %(invoice)s") % words, **words, "reason": made.reason}
    sums = {"total": -made.gross, "set_off": made.set_off, "carried": made.carried}
    return told | {name: _amount(minor, made, account) for name, minor in sums.items() if minor}


def _dunning(notice: Notice, account: BillingAccount, now: datetime) -> dict[str, Any] | None:
    case, facts = DunningCase.objects.of(notice.tenant_id).first(), notice.facts
    overdue = dunning.all_overdue_of(notice.tenant, now=now)
    if case is None or case.stage != facts["stage"] or not overdue:
        return None
    subject = {
        Stage.PAST_DUE: _("Payment overdue: %(number)s"),
        Stage.RESTRICTED: _("Payment overdue: %(number)s. New devices get no keys"),
        Stage.SUSPENDED: _("Payment overdue: %(number)s. Your network is suspended"),
        Stage.CLOSED: _("Payment overdue: %(number)s. Your network is closed"),
    }[Stage(case.stage)]
    following_at = datetime.fromisoformat(facts["next_at"]) if facts["next_at"] else None
    return {
        "subject": subject % {"number": overdue[0].name},
        "stage": case.stage,
        "overdue": [_how_to_pay(each, open_amount(each), account) for each in overdue],
        "next": facts["next"],
        "next_day": _day(following_at, account) if following_at and following_at > now else "",
        "expire": _day(notice.tenant.devices_expire_at, account),
        "delete": _day(notice.tenant.devices_delete_at, account),
    }


def _lifted(notice: Notice, account: BillingAccount, now: datetime) -> dict[str, Any] | None:  # noqa: ARG001
    tenant, facts = notice.tenant, notice.facts
    if tenant.restricted_at is not None and facts["after"] != Stage.RESTRICTED:
        return None  # it did not pay the next one
    return {"subject": _("Your network %(account)s has its rights again") % {"account": tenant.account}, **facts}


def _quota(notice: Notice, account: BillingAccount, now: datetime) -> dict[str, Any] | None:  # noqa: ARG001
    warning = QuotaWarning.objects.of(notice.tenant_id).first()
    if warning is None or warning.level != notice.facts["level"]:
        return None
    words = {"used": warning.used, "limit": warning.limit, "account": notice.tenant.account}
    over = warning.level == QuotaWarning.Level.OVER
    subject = (
        _("%(account)s uses %(used)d devices, more than its plan's %(limit)d")
        if over
        else _("%(account)s uses %(used)d of %(limit)d devices")
    )
    return {"subject": subject % words, **words, "over": over, "hard": notice.facts["enforcement"] == "hard"}


TELLERS: dict[Notice.Kind, Callable[[Notice, BillingAccount, datetime], dict[str, Any] | None]] = {
    Kind.INVOICE: _invoice,
    Kind.CREDIT_NOTE: _credit_note,
    Kind.DUNNING: _dunning,
    Kind.LIFTED: _lifted,
    Kind.QUOTA: _quota,
}


def _how_to_pay(invoice: Invoice, left: int, account: BillingAccount) -> dict[str, str]:
    asked = bank.ask(invoice, now=invoice.made_at, actor=ACTOR)
    told = {"number": invoice.name, "amount": _amount(left, invoice, account), "day": _day(invoice.due_at, account)}
    return {**told, "reference": shown(asked.reference), "bank": asked.account}


def _seller() -> str:
    return str(settings.SELLER.get("name", "") or urlsplit(settings.PUBLIC_URL).hostname or "")


def _amount(minor: int, invoice: Invoice, account: BillingAccount) -> str:
    return format_currency(money.in_major(minor, invoice.currency), invoice.currency, locale=LOCALES[account.language])


def _day(moment: datetime | None, account: BillingAccount) -> str:
    return format_date(moment.date(), format="long", locale=LOCALES[account.language]) if moment else ""


def _month(moment: datetime, account: BillingAccount) -> str:
    return format_date(moment.date(), format="MMMM y" if account.language == "en" else "y年M月", locale=LOCALES[account.language])
