"""Invoices, for tenants' programs and operators': read by both, changed by operators alone. Tenants see no drafts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import invoice_shapes as shapes
from acs.api.documents import answers
from acs.api.pages import CursorPages, by_key
from acs.api.scoped import View
from billing import corrections, drilling, invoicing
from billing.documents import page, pdf, sheet
from billing.models import Invoice, InvoiceLine
from billing.papers import Paper, paper_of
from billing.rating.cycles import month_of
from tenants.errors import MalformedRequest

NO_STORE = {"Cache-Control": "no-store"}


class InvoiceView(View):
    """What the addresses of invoices share."""

    scope = "billing"
    ordering: tuple[str, ...] = ("-id",)

    def invoice(self, name: str) -> Invoice:
        return invoicing.by_name(name, of=self.tenant())

    def whole(self, paper: Paper) -> Response:
        return Response(shapes.WholeInvoiceShape(paper.invoice, context={"lines": paper.lines}).data)


class Invoices(InvoiceView):
    """The tenant's invoices and credit notes, newest first."""

    @extend_schema(operation_id="invoices_list", responses=answers({200: shapes.InvoiceShape(many=True)}, 400))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002 - DRF's signature
        rows = Invoice.objects.of(self.tenant()).exclude(state=Invoice.State.DRAFT)
        return self.page(rows.select_related("tenant", "corrects"), shapes.InvoiceShape)


class AllInvoices(InvoiceView):
    """Those of all tenants, drafts too."""

    operator_only = True

    @extend_schema(operation_id="billing_invoices_list", responses=answers({200: shapes.InvoiceShape(many=True)}, 400))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(Invoice.objects.across_tenants().select_related("tenant", "corrects"), shapes.InvoiceShape)


class PreviewInvoice(InvoiceView):
    """The invoice of a month as it would be made now: the same to the cent when nothing changes."""

    filters = shapes.PreviewFilters

    @extend_schema(
        operation_id="invoices_preview",
        parameters=[shapes.PreviewFilters],
        responses=answers({200: shapes.WholeInvoiceShape}, 400, 409, 422),
    )
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        tenant, now = self.tenant(), timezone.now()
        asked = self.filters.of_query(request).get("month")
        try:
            moment = datetime.strptime(asked, "%Y-%m").replace(tzinfo=UTC) if asked else now
            paper = invoicing.preview(tenant, month_of(moment), now)
        except (ValueError, OverflowError) as error:
            raise MalformedRequest({"month": str(error)}) from error
        if paper is None:
            raise NotFound(shapes.NOTHING_TO_BILL)
        return self.whole(paper)


class OneInvoice(InvoiceView):
    """An invoice or credit note, with lines and everything that is frozen on it."""

    @extend_schema(operation_id="invoices_read", responses=answers({200: shapes.WholeInvoiceShape}))
    def get(self, request: Request, account: str, invoice: str) -> Response:  # noqa: ARG002
        return self.whole(paper_of(self.invoice(invoice)))


class AnyKind(BaseContentNegotiation):
    """The address says what comes, whatever the caller would accept; problems are JSON."""

    def select_parser(self, request: Request, parsers: Any) -> Any:  # noqa: ARG002 - DRF's signature
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:  # noqa: ARG002
        return renderers[0], renderers[0].media_type


class InvoicePdf(InvoiceView):
    """The document as it is sent, in the tenant's language."""

    content_negotiation_class = AnyKind

    @extend_schema(operation_id="invoices_pdf", responses=answers({(200, "application/pdf"): OpenApiTypes.BINARY}))
    def get(self, request: Request, account: str, invoice: str) -> HttpResponse:  # noqa: ARG002
        found = self.invoice(invoice)
        return _file(pdf.render(paper_of(found)), "application/pdf", f"{found.name}.pdf")


class InvoiceCsv(InvoiceView):
    """A row for each line."""

    content_negotiation_class = AnyKind

    @extend_schema(operation_id="invoices_csv", responses=answers({(200, "text/csv"): OpenApiTypes.STR}))
    def get(self, request: Request, account: str, invoice: str) -> HttpResponse:  # noqa: ARG002
        found = self.invoice(invoice)
        return _file(sheet.render(paper_of(found)).encode(), "text/csv; charset=utf-8", f"{found.name}.csv")


class InvoicePage(InvoiceView):
    """The document as a page, in the tenant's language: what the PDF says."""

    content_negotiation_class = AnyKind

    @extend_schema(operation_id="invoices_html", responses=answers({(200, "text/html"): OpenApiTypes.STR}))
    def get(self, request: Request, account: str, invoice: str) -> HttpResponse:  # noqa: ARG002
        found = self.invoice(invoice)
        told = page.render(paper_of(found), host=settings.PUBLIC_URL)
        return _file(told.encode(), "text/html; charset=utf-8", f"{found.name}.html", shown="inline")


class LineOfInvoice(InvoiceView):
    """What a line was made of: its days, a day's devices, a device's sessions, the polls behind one of them. Devices and polls come in pages.

    Of a day that the line has a part of, the seconds are those of that part: they sum up to what the line was rated on.
    """

    filters, ordering = shapes.DrillFilters, ("started_at", "id")

    @extend_schema(operation_id="invoices_drill", parameters=[shapes.DrillFilters], responses=answers({200: shapes.DrillShape}, 400, 409))
    def get(self, request: Request, account: str, invoice: str, line: int) -> Response:  # noqa: ARG002
        rows = InvoiceLine.objects.filter(invoice=self.invoice(invoice)).select_related("invoice__tenant")
        found: InvoiceLine = self.one(rows, position=line)
        asked = self.filters.of_query(request, besides=CursorPages.parameters)
        day, device, session = asked.get("day"), asked.get("device"), asked.get("session")
        if (device and day is None) or (session and device is None):
            raise MalformedRequest({"day": "a device's sessions are of a day"} if device else {"device": "a session is of a device"})
        return Response(shapes.DrillShape(self._told(found, day, device, session)).data)

    def _told(self, line: InvoiceLine, day: date | None, device: UUID | None, session: datetime | None) -> dict[str, Any]:
        if day is None:
            return {"days": drilling.days(line)}
        if device is None:
            devices, following = by_key(
                self.request, UUID, lambda after, most: drilling.devices(line, day, after=after, most=most), "device_id"
            )
            return {"devices": devices, "next": following}
        if session is None:
            return {"sessions": drilling.sessions(line, day, device)}
        polls = self.paginate_queryset(drilling.polls(line, day, device, session))
        return {"polls": polls, "next": self.paginator.get_next_link()}  # type: ignore[union-attr]


class InvoiceVerb(InvoiceView):
    """What operators do with an invoice: void, uncollectible."""

    operator_only = True
    verbs: ClassVar[dict[str, Any]] = {"void": invoicing.void, "uncollectible": invoicing.mark_uncollectible}
    verb = ""
    http_method_names = ["post"]

    @extend_schema(request=shapes.ReasonShape, responses=answers({200: shapes.InvoiceShape}, 400, 409))
    def post(self, request: Request, account: str, invoice: str) -> Response:  # noqa: ARG002
        found, reason = self.invoice(invoice), self.body(shapes.ReasonShape)["reason"]
        self.verbs[self.verb](found, reason=reason, **self.acted)
        return Response(shapes.InvoiceShape(self.invoice(invoice)).data)


class CorrectInvoice(InvoiceView):
    """Count and rate its period again, or (`credit`) take back all of it; what is less is credited by a credit note that names the lines."""

    operator_only = True
    verbs: ClassVar[dict[str, Any]] = {"correct": corrections.correct, "credit": corrections.credit_whole}
    verb = ""
    http_method_names = ["post"]

    @extend_schema(request=shapes.ReasonShape, responses=answers({200: shapes.CorrectedShape}, 400, 409))
    def post(self, request: Request, account: str, invoice: str) -> Response:  # noqa: ARG002
        found, reason = self.invoice(invoice), self.body(shapes.ReasonShape)["reason"]
        return Response(shapes.CorrectedShape(self.verbs[self.verb](found, reason=reason, **self.acted)).data)


def _file(content: bytes, media_type: str, name: str, *, shown: str = "attachment") -> HttpResponse:
    return HttpResponse(content, content_type=media_type, headers={**NO_STORE, "Content-Disposition": f'{shown}; filename="{name}"'})
