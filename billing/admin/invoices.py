"""The operators' pages of invoices and credit notes, and of what the close of a month came to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing import corrections, invoicing
from billing.admin import wording
from billing.admin.drilling import drill_page
from billing.documents import page, pdf, sheet, telling
from billing.models import ClosedPeriod, Invoice, InvoiceLine
from billing.papers import Paper, paper_of
from billing.rating import money
from billing.rating.lines import Evidence
from tenants import columns
from tenants.columns import TenantFilter
from tenants.office import OperatorAdmin, Verb

State = Invoice.State
FILES: dict[str, tuple[Callable[[Paper], str | bytes], str, str]] = {
    "html": (page.render, "text/html; charset=utf-8", "inline"),
    "pdf": (pdf.render, "application/pdf", "attachment"),
    "csv": (sheet.render, "text/csv; charset=utf-8", "attachment"),
}


class ReasonForm(forms.Form):
    reason = forms.CharField(label=_("reason"), max_length=300)


def is_open(invoice: Invoice) -> bool:
    return invoice.state == State.FINALISED and invoice.kind == Invoice.Kind.INVOICE


def is_issued(invoice: Invoice) -> bool:
    return invoice.kind == Invoice.Kind.INVOICE and invoice.state not in (State.DRAFT, State.VOID)


def is_draft(invoice: Invoice) -> bool:
    return invoice.state == State.DRAFT


@admin.display(description=_("total"), ordering="gross")
def total(invoice: Invoice) -> str:
    return f"{money.in_major(invoice.gross, invoice.currency)} {invoice.currency}"


@admin.display(description=_("month"), ordering="period_start")
def month(row: Any) -> str:
    return f"{row.period_start:%Y-%m}"


@admin.display(description=_("lines"))
def lines(invoice: Invoice) -> str:
    """As the customer reads them, in the operator's language."""
    heads = (_t("Line"), _t("Description"), _t("Quantity"), _t("Unit price"), _t("Amount"), "")
    told = ((_place(invoice, line), telling.row(line, invoice)) for line in paper_of(invoice).lines)
    rows = ([place, *(each[name] for name in ("what", "quantity", "price", "amount", "note"))] for place, each in told)
    cells = "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>"
    head = format_html_join("", "<th>{}</th>", ((each,) for each in heads))
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, format_html_join("", cells, rows))


def _place(invoice: Invoice, line: InvoiceLine) -> str:
    """Its number, which leads down to the evidence of what was used."""
    if line.evidence not in (Evidence.DEVICES, Evidence.SESSIONS):
        return str(line.position)
    return format_html('<a href="{}">{}</a>', reverse("admin:billing_invoice_line", args=[invoice.pk, line.position]), line.position)


@admin.display(description=_("sums"))
def sums(invoice: Invoice) -> str:
    """Net, tax, total and payable, and of the rest what is not nothing."""
    names = ("net", "tax", "gross", "spent", "carried", "set_off", "payable")
    told = (
        (Invoice._meta.get_field(name).verbose_name, telling.amount(getattr(invoice, name), invoice))  # type: ignore[union-attr]
        for name in names
        if getattr(invoice, name) or name in ("net", "tax", "gross", "payable")
    )
    return format_html("<table><tbody>{}</tbody></table>", format_html_join("", "<tr><th>{}</th><td>{}</td></tr>", told))


@admin.display(description=_("buyer"))
def buyer(invoice: Invoice) -> str:
    return wording.party(invoice.buyer)


@admin.display(description=_("seller"))
def seller(invoice: Invoice) -> str:
    return wording.party(invoice.seller)


@admin.display(description=_("how it is taxed"))
def taxed(invoice: Invoice) -> str:
    return wording.taxed(invoice.treatment)


@admin.display(description=_("terms"))
def terms(invoice: Invoice) -> str:
    return wording.terms(invoice.terms)


@admin.display(description=_("corrects"))
def corrects(invoice: Invoice) -> str:
    return columns.link_to(invoice.corrects)


@admin.display(description=_("credit notes"))
def credit_notes(invoice: Invoice) -> str:
    return format_html_join(", ", "{}", ((columns.link_to(each),) for each in invoice.credit_notes.order_by("id"))) or columns.NOTHING


@admin.register(Invoice)
class InvoiceAdmin(OperatorAdmin):
    list_display: Any = (
        "__str__",
        columns.linked("tenant", _("tenant")),
        "kind",
        month,
        columns.stated(),
        total,
        columns.at("issued_at", _("issued")),
    )
    list_filter = ("state", "kind", "currency", TenantFilter)
    search_fields = ("name", "tenant__account")
    list_select_related = ("tenant",)
    fields: ClassVar[Any] = (
        *("name", columns.linked("tenant", _("tenant")), "kind", columns.stated(), month, corrects, credit_notes, "reason", lines, sums),
        *(columns.at("issued_at", _("issued")), columns.at("due_at", _("due")), columns.at("settled_at", _("settled"))),
        *(buyer, seller, taxed, terms),
    )
    verbs = (
        Verb(
            "finalise",
            _("Finalise"),
            _("The draft is made anew, gets its number and never changes again."),
            lambda invoice, act: invoicing.finalise(invoice, **act.told),
            fits=is_draft,
        ),
        Verb(
            "discard",
            _("Discard"),
            _("The draft is forgotten; the close of its month makes another one."),
            lambda invoice, act: invoicing.discard(invoice, **act.told),
            fits=is_draft,
            ends=True,
        ),
        Verb(
            "correct",
            _("Correct"),
            _("Its period is counted and rated again by the terms on it; what is less is credited by a credit note that names the lines."),
            lambda invoice, act: corrections.correct(invoice, **act.said, **act.told),
            fits=is_issued,
            form=ReasonForm,
        ),
        Verb(
            "credit",
            _("Credit all of it"),
            _("A credit note takes back all that is left of it; what was paid goes to the tenant's balance."),
            lambda invoice, act: corrections.credit_whole(invoice, **act.said, **act.told),
            fits=is_issued,
            form=ReasonForm,
            grave=True,
        ),
        Verb(
            "void",
            _("Void"),
            _("It was never owed. Its number stays used; its period can be drafted anew."),
            lambda invoice, act: invoicing.void(invoice, **act.said, **act.told),
            fits=is_open,
            form=ReasonForm,
            grave=True,
        ),
        Verb(
            "uncollectible",
            _("Mark uncollectible"),
            _("Nobody expects it to be paid any more. It may be, all the same."),
            lambda invoice, act: invoicing.mark_uncollectible(invoice, **act.said, **act.told),
            fits=is_open,
            form=ReasonForm,
            grave=True,
        ),
    )

    def get_urls(self) -> list[URLPattern]:
        files, drill = self.admin_site.admin_view(self.file_view), self.admin_site.admin_view(drill_page)
        return [
            path("<int:invoice_id>/as/<slug:kind>/", files, name="billing_invoice_file"),
            path("<int:invoice_id>/lines/<int:position>/", drill, name="billing_invoice_line"),
            *super().get_urls(),
        ]

    def file_view(self, request: HttpRequest, invoice_id: int, kind: str) -> HttpResponse:
        """The invoice as a page, or as a file: html, pdf or csv."""
        found = self.get_object(request, str(invoice_id))
        if found is None or kind not in FILES or not self.has_view_permission(request):
            raise Http404
        render, media_type, shown = FILES[kind]
        try:
            content = render(paper_of(found))
        except self.refusals as refusal:
            return HttpResponse(str(refusal), status=503, content_type="text/plain; charset=utf-8")
        headers = {"Content-Disposition": f'{shown}; filename="{found}.{kind}"', "Cache-Control": "no-store"}
        return HttpResponse(content, content_type=media_type, headers=headers)

    def links(self, obj: Invoice) -> list[tuple[Any, str]]:
        return [(kind.upper(), reverse("admin:billing_invoice_file", args=[obj.pk, kind])) for kind in FILES]

    def list_links(self) -> list[tuple[Any, str]]:
        return [(_("Books"), reverse("admin:billing_books"))]

    def audit_query(self, obj: Invoice) -> str:
        return str(obj)


@admin.register(ClosedPeriod)
class ClosedPeriodAdmin(OperatorAdmin):
    list_display: Any = (month, "account", columns.stated("outcome", _("outcome")), "code", "detail", columns.at("at", _("at")))
    list_filter = ("outcome",)
    search_fields = ("subscription__tenant__account", "code", "detail")
    list_select_related = ("subscription__tenant",)
    fields: ClassVar[Any] = (month, "account", columns.stated("outcome", _("outcome")), "code", "detail", columns.at("at", _("at")))

    @admin.display(description=_("tenant"), ordering="subscription__tenant__account")
    def account(self, row: ClosedPeriod) -> str:
        return columns.link_to(row.subscription.tenant)
