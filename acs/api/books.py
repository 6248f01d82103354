"""The books, for operators' programs: the sales journal of a month, what is open now, whether every sum agrees."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api.bodies import Fields
from acs.api.documents import answers
from acs.api.invoicing import NO_STORE, AnyKind
from acs.api.scoped import View
from billing.books import checks, receivables, sales
from billing.rating.cycles import month_of
from tenants.errors import MalformedRequest

SHEET = answers({(200, "text/csv"): OpenApiTypes.STR}, 400)


class JournalFilters(Fields):
    month = serializers.RegexField(
        r"^[0-9]{4}-(0[1-9]|1[0-2])\Z", required=False, help_text="Such as 2026-06; the present one if left out."
    )


class BrokenLawShape(serializers.Serializer[Any]):
    law = serializers.CharField(help_text="What does not hold, such as `numbers-without-gaps`.")
    subject = serializers.CharField(help_text="An invoice, an account, an entry of a statement, or a cluster and day.")
    detail = serializers.CharField()


class ChecksShape(serializers.Serializer[Any]):
    laws = serializers.ListField(child=serializers.CharField(), help_text="What was looked at.")
    findings = BrokenLawShape(many=True)


class BooksView(View):
    """What the addresses of the books share."""

    scope, operator_only = "billing", True


class Journal(BooksView):
    """Every invoice and credit note that was issued in a month, a row for each rate of tax."""

    content_negotiation_class, filters = AnyKind, JournalFilters

    @extend_schema(operation_id="books_journal", parameters=[JournalFilters], responses=SHEET)
    def get(self, request: Request) -> HttpResponse:
        text = self.filters.of_query(request).get("month") or f"{timezone.now():%Y-%m}"
        try:
            month = month_of(datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC))
        except (ValueError, OverflowError) as error:
            raise MalformedRequest({"month": str(error)}) from error
        return _sheet(sales.journal(month), f"journal-{text}.csv")


class Receivables(BooksView):
    """Every invoice with something open, longest due first."""

    content_negotiation_class = AnyKind

    @extend_schema(operation_id="books_receivables", responses=SHEET)
    def get(self, request: Request) -> HttpResponse:  # noqa: ARG002 - DRF's signature
        now = timezone.now()
        return _sheet(receivables.sheet(receivables.receivables(now=now)), f"receivables-{now:%Y-%m-%d}.csv")


class Checks(BooksView):
    """Whether numbers, sums, payments and balances agree; nothing is written."""

    @extend_schema(operation_id="books_check", responses=answers({200: ChecksShape}))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return Response(ChecksShape({"laws": list(checks.LAWS), "findings": checks.check(now=timezone.now())}).data)


def _sheet(text: str, name: str) -> HttpResponse:
    headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text.encode(), content_type="text/csv; charset=utf-8", headers=headers)
