"""The operators' pages of statements of banks and of their entries: imported, assigned, released."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing import invoicing
from billing.admin.invoices import ReasonForm
from billing.admin.payments import amount
from billing.concessions import in_minor
from billing.models import CreditEntry, Payment, Statement, StatementEntry
from billing.payments import assigning, importing
from billing.payments.delimited import COLUMNS, ENCODINGS, Shape
from tenants import columns
from tenants.errors import MalformedRequest
from tenants.models import Tenant
from tenants.office import Act, OperatorAdmin, Verb


class StatementForm(forms.Form):
    file = forms.FileField(label=_("file"))
    format = forms.ChoiceField(label=_("format"), choices=Statement.Format.choices)
    account = forms.CharField(label=_("account"), max_length=42, required=False, help_text=_("CSV only: the IBAN of ours that it is of."))
    encoding = forms.ChoiceField(label=_("encoding"), choices=[("", "-"), *((each, each) for each in ENCODINGS)], required=False)
    delimiter = forms.CharField(label=_("delimiter"), max_length=1, required=False, initial=";")
    decimal = forms.ChoiceField(label=_("decimal sign"), choices=[(",", ","), (".", ".")], required=False)
    date_format = forms.CharField(label=_("dates"), max_length=40, required=False, initial="%d.%m.%Y")
    columns = forms.CharField(
        label=_("columns"), widget=forms.Textarea(attrs={"rows": 6}), required=False,
        help_text=_("CSV only: a line for each, such as amount=Betrag. Names: reference, amount, date, currency, account, text, counterparty."),
    )  # fmt: skip
    currency = forms.CharField(label=_("currency"), max_length=3, required=False, help_text=_("Of all entries, where no column says it."))


@admin.register(Statement)
class StatementAdmin(OperatorAdmin):
    list_display: Any = (
        "__str__",
        "format",
        "account",
        "entries_in_file",
        "known_before",
        columns.at("imported_at", _("imported")),
        "imported_by",
    )
    list_filter = ("format",)
    search_fields = ("name", "bank_id", "account", "digest")
    fields: ClassVar[Any] = (
        *("name", "format", "account", "bank_id", "digest", "entries_in_file", "known_before"),
        "imported_at",
        "imported_by",
    )
    add_form = StatementForm
    add_lead = _(
        "The file is imported whole or not at all; the same file again changes nothing. What it brings is matched with invoices at once."
    )

    def create(self, act: Act, request: HttpRequest) -> tuple[Statement, str]:  # noqa: ARG002 - the office's signature
        said = act.said
        data, name = said["file"].read(), said["file"].name
        if said["format"] == Statement.Format.CAMT:
            return importing.from_camt(data, name=name, **act.told).statements[0], ""
        missing = [each for each in ("account", "encoding", "delimiter", "decimal", "columns") if not said[each]]
        if missing:
            raise MalformedRequest(dict.fromkeys(missing, _t("needed for CSV")))
        facts = {each: said[each] for each in ("account", "encoding", "delimiter", "decimal", "date_format", "currency")}
        return importing.from_csv(data, Shape(columns=_columns(said["columns"]), **facts), name=name, **act.told).statements[0], ""


def _columns(text: str) -> dict[str, str]:
    """Raises: MalformedRequest."""
    pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
    if any(name.strip() not in COLUMNS or not heading.strip() for name, _equals, heading in pairs):
        raise MalformedRequest({"columns": _t("a line for each: name=heading")})
    return {name.strip(): heading.strip() for name, _equals, heading in pairs}


class AssignForm(forms.Form):
    invoice = forms.CharField(label=_("invoice"), max_length=32, help_text=_("Its number."))
    amount = forms.DecimalField(label=_("amount"), required=False, help_text=_("All that is left of the entry, if nothing is said."))


def _assign(entry: StatementEntry, act: Act) -> Payment:
    return assigning.assign(entry, invoicing.by_name(act.said["invoice"].strip()), amount=_part(entry, act), **act.told)


class TakeBackForm(forms.Form):
    payment = forms.IntegerField(label=_("payment"), min_value=1, help_text=_("Its id: the end of its page's address."))
    amount = forms.DecimalField(label=_("amount"), required=False, help_text=_("All that is left of the entry, if nothing is said."))


class PayOutForm(forms.Form):
    account = forms.CharField(label=_("tenant"), max_length=63, help_text=_("Its account."))
    amount = forms.DecimalField(label=_("amount"), required=False, help_text=_("All that is left of the entry, if nothing is said."))


def _part(entry: StatementEntry, act: Act) -> int | None:
    part: Decimal | None = act.said["amount"]
    return None if part is None else in_minor(part, entry.currency)


def _take_back(entry: StatementEntry, act: Act) -> Payment:
    rows = Payment.objects.across_tenants().select_related("invoice__subscription", "tenant")
    payment = rows.filter(pk=act.said["payment"]).first()
    if payment is None:
        raise MalformedRequest({"payment": _t("no payment has this id")})
    return assigning.take_back(entry, payment, amount=_part(entry, act), **act.told)


def _pay_out(entry: StatementEntry, act: Act) -> CreditEntry:
    found = Tenant.objects.filter(account=act.said["account"].strip()).first()
    if found is None:
        raise MalformedRequest({"account": _t("no tenant has this account")})
    return assigning.pay_out(entry, found, amount=_part(entry, act), **act.told)


def is_gone(entry: StatementEntry) -> bool:
    return entry.amount < 0 and entry.state != StatementEntry.State.MATCHED


@admin.register(StatementEntry)
class StatementEntryAdmin(OperatorAdmin):
    list_display: Any = ("__str__", "value_date", amount, columns.stated(), "reason", "counterparty", "text")
    list_filter = ("state", "reason", "currency")
    search_fields = ("bank_reference", "text", "counterparty", "counterparty_account")
    fields: ClassVar[Any] = (
        *(columns.linked("statement", _("statement")), "account", "bank_reference", "value_date", amount, columns.stated(), "reason"),
        *("text", "counterparty", "counterparty_account", "payments_of"),
    )
    verbs = (
        Verb(
            "assign",
            _("Assign"),
            _("The money is a payment of that invoice; what is more than is open goes to the tenant's balance."),
            _assign,
            fits=lambda entry: entry.amount > 0 and entry.state != StatementEntry.State.MATCHED,
            form=AssignForm,
        ),
        Verb(
            "take_back",
            _("Takes back a payment"),
            _("So much of that payment went back: first what of it is on the tenant's balance, the rest opens the invoice again."),
            _take_back,
            fits=is_gone,
            form=TakeBackForm,
            grave=True,
        ),
        Verb(
            "pay_out",
            _("Paid out of a balance"),
            _("It is money that was sent to a tenant which had it in credit."),
            _pay_out,
            fits=is_gone,
            form=PayOutForm,
            grave=True,
        ),
        Verb(
            "release",
            _("Release"),
            _("It was assigned wrongly: whatever was done with it is taken back, and it waits again."),
            lambda entry, act: assigning.release(entry, **act.said, **act.told),
            fits=lambda entry: entry.payments.exists() or entry.paid_out.exists(),
            form=ReasonForm,
            grave=True,
        ),
    )

    @admin.display(description=_("payments"))
    def payments_of(self, row: StatementEntry) -> str:
        held = Payment.objects.across_tenants().filter(entry=row).select_related("invoice")
        rows: list[tuple[Any, ...]] = [(columns.link_to(each), each.invoice, amount(each)) for each in held]
        rows += [(columns.link_to(each), each.tenant, amount(each)) for each in row.paid_out.select_related("tenant")]
        return format_html_join("", "<p>{} {} {}</p>", rows) or columns.NOTHING
