"""Payments: what tenants' programs read of them, and what operators' do with statements, entries and pages where invoices are paid."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import paying_shapes as shapes
from acs.api.billing_shapes import CreditShape
from acs.api.bodies import StrictJsonParser
from acs.api.documents import answers
from acs.api.pages import CursorPages
from acs.api.scoped import View
from billing import invoicing
from billing.models import Payment, Statement, StatementEntry
from billing.payments import assigning, bank, cards, importing, ledger
from billing.payments.delimited import Shape
from tenants.errors import MalformedRequest
from tenants.models import Tenant


class FileParser(StrictJsonParser):
    """A statement takes more than other bodies."""

    most = 16 * 2**20


def payments() -> Any:
    return Payment.objects.across_tenants().select_related("tenant", "invoice__subscription")


class PaymentView(View):
    """What the addresses of payments share."""

    scope = "billing"
    ordering: Any = ("-id",)


class Payments(PaymentView):
    """What came for the tenant's invoices, and what of it was undone, newest first."""

    @extend_schema(operation_id="payments_list", responses=answers({200: shapes.PaymentShape(many=True)}, 400))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002 - DRF's signature
        return self.page(Payment.objects.of(self.tenant()).select_related("tenant", "invoice"), shapes.PaymentShape)


class PayInvoice(PaymentView):
    """How what is open of an invoice is paid: by transfer (GET), or on a page of the card provider's that is made for it (POST)."""

    @extend_schema(operation_id="invoices_payment_read", responses=answers({200: shapes.AskedShape}, 409))
    def get(self, request: Request, account: str, invoice: str) -> Response:  # noqa: ARG002
        return Response(shapes.AskedShape(bank.ask(invoicing.by_name(invoice, of=self.tenant()), **self.acted)).data)

    @extend_schema(operation_id="invoices_payment_page", request=None, responses=answers({200: shapes.AskedShape}, 409, 502))
    def post(self, request: Request, account: str, invoice: str) -> Response:  # noqa: ARG002
        return Response(shapes.AskedShape(cards.ask(invoicing.by_name(invoice, of=self.tenant()), **self.acted)).data)


class AllPayments(PaymentView):
    """Those of all tenants."""

    operator_only = True

    @extend_schema(operation_id="billing_payments_list", responses=answers({200: shapes.PaymentShape(many=True)}, 400))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(Payment.objects.across_tenants().select_related("tenant", "invoice"), shapes.PaymentShape)


class UndoPayment(PaymentView):
    """Take what is left of a payment back by a counter-entry; its money waits for another invoice."""

    operator_only = True
    http_method_names = ["post"]

    @extend_schema(
        operation_id="billing_payments_undo", request=shapes.UndoneShape, responses=answers({200: shapes.PaymentShape}, 400, 409)
    )
    def post(self, request: Request, payment_id: int) -> Response:  # noqa: ARG002
        counter = assigning.undo(self.one(payments(), pk=payment_id), **self.body(shapes.UndoneShape), **self.acted)
        return Response(shapes.PaymentShape(counter).data)


class BringBackPayment(PaymentView):
    """A payment that was undone, or a counter-entry, by mistake: its money is there again."""

    operator_only = True
    http_method_names = ["post"]

    @extend_schema(
        operation_id="billing_payments_bring_back", request=shapes.UndoneShape, responses=answers({200: shapes.PaymentShape}, 400, 409)
    )
    def post(self, request: Request, payment_id: int) -> Response:  # noqa: ARG002
        payment, said = self.one(payments(), pk=payment_id), self.body(shapes.UndoneShape)
        return Response(shapes.PaymentShape(ledger.bring_back(ledger.counter_of(payment), **said, **self.acted)).data)


class Statements(PaymentView):
    """Statements of the operator's bank accounts: imported whole or not at all, the same file once."""

    operator_only = True
    parser_classes: Any = (FileParser,)

    @extend_schema(operation_id="billing_statements_list", responses=answers({200: shapes.StatementShape(many=True)}, 400))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(Statement.objects.all(), shapes.StatementShape)

    @extend_schema(
        operation_id="billing_statements_import",
        request=shapes.StatementFile,
        responses=answers({200: shapes.ImportedShape}, 400, 409, 422),
    )
    def post(self, request: Request) -> Response:  # noqa: ARG002
        said = self.body(shapes.StatementFile)
        form, name, content = said.pop("format"), said.pop("name"), said.pop("content")
        try:
            data = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            raise MalformedRequest({"content": "no base64"}) from None
        if form == Statement.Format.CAMT:
            return Response(shapes.ImportedShape(importing.from_camt(data, name=name, **self.acted)).data)
        missing = {each: "needed for CSV" for each in ("account", "encoding", "columns") if each not in said}
        if missing:
            raise MalformedRequest(missing)
        return Response(shapes.ImportedShape(importing.from_csv(data, Shape(**said), name=name, **self.acted)).data)


class Entries(PaymentView):
    """What banks said came and went; `?state=unmatched` waits for somebody."""

    operator_only, filters = True, shapes.EntryFilters

    @extend_schema(
        operation_id="billing_entries_list",
        parameters=[shapes.EntryFilters],
        responses=answers({200: shapes.EntryShape(many=True)}, 400),
    )
    def get(self, request: Request) -> Response:
        asked = self.filters.of_query(request, besides=CursorPages.parameters)
        return self.page(StatementEntry.objects.filter(**asked), shapes.EntryShape)


class AssignEntry(PaymentView):
    """Give what is left of an entry, or a part of it, to an invoice."""

    operator_only = True
    http_method_names = ["post"]

    @extend_schema(
        operation_id="billing_entries_assign", request=shapes.AssignedEntry, responses=answers({200: shapes.PaymentShape}, 400, 409)
    )
    def post(self, request: Request, entry_id: int) -> Response:  # noqa: ARG002
        entry, said = self.one(StatementEntry.objects.all(), pk=entry_id), self.body(shapes.AssignedEntry)
        invoice = invoicing.by_name(said["invoice"])
        return Response(shapes.PaymentShape(assigning.assign(entry, invoice, amount=said.get("amount"), **self.acted)).data)


class TakeBackEntry(PaymentView):
    """An entry that left the account, or a part of it, is money of a payment that went back."""

    operator_only = True
    http_method_names = ["post"]

    @extend_schema(
        operation_id="billing_entries_take_back", request=shapes.TakingEntry, responses=answers({200: shapes.PaymentShape}, 400, 409)
    )
    def post(self, request: Request, entry_id: int) -> Response:  # noqa: ARG002
        entry, said = self.one(StatementEntry.objects.all(), pk=entry_id), self.body(shapes.TakingEntry)
        payment = self.one(payments(), pk=said["payment"])
        return Response(shapes.PaymentShape(assigning.take_back(entry, payment, amount=said.get("amount"), **self.acted)).data)


class PayOutEntry(PaymentView):
    """An entry that left the account, or a part of it, was paid out of a tenant's balance."""

    operator_only = True
    http_method_names = ["post"]

    @extend_schema(operation_id="billing_entries_pay_out", request=shapes.PayingEntry, responses=answers({200: CreditShape}, 400, 409))
    def post(self, request: Request, entry_id: int) -> Response:  # noqa: ARG002
        entry, said = self.one(StatementEntry.objects.all(), pk=entry_id), self.body(shapes.PayingEntry)
        tenant = self.one(Tenant.objects.all(), account=said["account"])
        return Response(CreditShape(assigning.pay_out(entry, tenant, amount=said.get("amount"), **self.acted)).data)


class ReleaseEntry(PaymentView):
    """An entry was assigned wrongly: whatever was done with it is taken back, and it waits again."""

    operator_only = True
    http_method_names = ["post"]

    @extend_schema(
        operation_id="billing_entries_release", request=shapes.UndoneShape, responses=answers({200: shapes.EntryShape}, 400, 409)
    )
    def post(self, request: Request, entry_id: int) -> Response:  # noqa: ARG002
        entry = self.one(StatementEntry.objects.all(), pk=entry_id)
        return Response(shapes.EntryShape(assigning.release(entry, **self.body(shapes.UndoneShape), **self.acted)).data)
