"""The operators' pages of statements, their entries, payments and what the card provider said, and of tenants that do not pay."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing import dunning, holds, invoicing
from billing.admin.invoices import ReasonForm
from billing.admin.notices import HoldForm
from billing.concessions import in_minor
from billing.models import DunningCase, Payment, PaymentLink, ProviderEvent, QuotaWarning, Statement, StatementEntry
from billing.payments import assigning, importing
from billing.payments.delimited import COLUMNS, ENCODINGS, Shape
from billing.rating import money
from tenants import columns
from tenants.columns import TenantFilter
from tenants.errors import MalformedRequest
from tenants.office import Act, OperatorAdmin, Verb

tenant, invoice = columns.linked("tenant", _("tenant")), columns.linked("invoice", _("invoice"))


@admin.display(description=_("amount"), ordering="amount")
def amount(row: Any) -> str:
    return f"{money.in_major(row.amount, row.currency)} {row.currency}"


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
            return importing.from_camt(data, name=name, **act.told).statement, ""
        missing = [each for each in ("account", "encoding", "delimiter", "decimal", "columns") if not said[each]]
        if missing:
            raise MalformedRequest(dict.fromkeys(missing, _t("needed for CSV")))
        facts = {each: said[each] for each in ("account", "encoding", "delimiter", "decimal", "date_format", "currency")}
        return importing.from_csv(data, Shape(columns=_columns(said["columns"]), **facts), name=name, **act.told).statement, ""


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
    part: Decimal | None = act.said["amount"]
    minor = None if part is None else in_minor(part, entry.currency)
    return assigning.assign(entry, invoicing.by_name(act.said["invoice"].strip()), amount=minor, **act.told)


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
    )

    @admin.display(description=_("payments"))
    def payments_of(self, row: StatementEntry) -> str:
        held = Payment.objects.across_tenants().filter(entry=row).select_related("invoice")
        return (
            format_html_join("", "<p>{} {} {}</p>", ((columns.link_to(each), each.invoice, amount(each)) for each in held))
            or columns.NOTHING
        )


@admin.register(Payment)
class PaymentAdmin(OperatorAdmin):
    list_display: Any = (
        "__str__",
        tenant,
        invoice,
        amount,
        "provider",
        columns.at("paid_at", _("paid")),
        columns.at("recorded_at", _("recorded")),
    )
    list_filter = ("provider", "currency", TenantFilter)
    search_fields = ("provider_reference", "invoice__name", "tenant__account", "note")
    list_select_related = ("tenant", "invoice")
    fields: ClassVar[Any] = (
        *(tenant, invoice, amount, "credited", "provider", "provider_reference", columns.linked("entry", _("entry of a statement"))),
        *(columns.linked("undoes", _("undoes")), "paid_at", "recorded_at", "recorded_by", "note"),
    )
    verbs = (
        Verb(
            "undo",
            _("Undo"),
            _("A counter-entry takes it back: the invoice is open again, and the money waits for another one."),
            lambda payment, act: assigning.undo(payment, reason=act.said["reason"], **act.told),
            fits=lambda payment: payment.undoes_id is None and not hasattr(payment, "undone_by"),
            form=ReasonForm,
            grave=True,
        ),
    )

    def audit_query(self, obj: Payment) -> str:
        return str(obj.invoice)


@admin.register(PaymentLink)
class PaymentLinkAdmin(OperatorAdmin):
    list_display: Any = ("__str__", tenant, invoice, amount, columns.at("made_at", _("made")), columns.at("expires_at", _("expires")))
    list_filter = (TenantFilter,)
    search_fields = ("session_id", "invoice__name", "tenant__account")
    list_select_related = ("tenant", "invoice")
    fields: ClassVar[Any] = (tenant, invoice, amount, "url", "made_at", "expires_at")


@admin.register(ProviderEvent)
class ProviderEventAdmin(OperatorAdmin):
    list_display: Any = ("id", "kind", "object_id", columns.stated(), "detail", columns.at("received_at", _("received")))
    list_filter = ("state", "kind")
    search_fields = ("id", "object_id", "detail")
    fields: ClassVar[Any] = ("id", "kind", "object_id", columns.stated(), "detail", "said_at", "received_at")


@admin.register(DunningCase)
class DunningCaseAdmin(OperatorAdmin):
    list_display: Any = (
        tenant,
        columns.stated("stage", _("stage")),
        invoice,
        columns.at("opened_at", _("since")),
        columns.at("changed_at", _("at this stage since")),
        "held",
    )
    list_filter = ("stage",)
    search_fields = ("tenant__account", "invoice__name")
    list_select_related = ("tenant__dunning_hold", "invoice")
    fields: ClassVar[Any] = (
        *(tenant, columns.stated("stage", _("stage")), invoice, "held", "opened_at", "changed_at", "suspended_at", "closed_at"),
    )

    def audit_query(self, obj: DunningCase) -> str:
        return obj.tenant.account

    verbs = (
        Verb(
            "review",
            _("Review now"),
            _("What the schedule does every hour: one stage further where that is due, back where the tenant has paid."),
            lambda case, act: dunning.review(case.tenant, **act.told),
            ends=True,
        ),
        Verb(
            "hold",
            _("Hold"),
            _("The tenant stays at its stage until then, and goes on by itself after it."),
            lambda case, act: holds.hold(case.tenant, **act.said, **act.told),
            form=HoldForm,
        ),
    )

    @admin.display(description=_("held until"))
    def held(self, case: DunningCase) -> Any:
        return columns.link_to(case.tenant.dunning_hold) if hasattr(case.tenant, "dunning_hold") else columns.NOTHING


@admin.register(QuotaWarning)
class QuotaWarningAdmin(OperatorAdmin):
    list_display: Any = (tenant, columns.stated("level", _("level")), "used", "limit", columns.at("since", _("since")))
    list_filter = ("level",)
    search_fields = ("tenant__account",)
    list_select_related = ("tenant",)
    fields: ClassVar[Any] = (tenant, columns.stated("level", _("level")), "used", "limit", "since")
