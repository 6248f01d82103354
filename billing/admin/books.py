"""The operators' page of the books: what a month came to, what is open, whether every sum agrees, and both as files."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import closing
from billing.admin.period import Period
from billing.books import checks, receivables, sales
from billing.models import Invoice
from billing.rating import money
from billing.rating.cycles import Range, month_of


def books_page(request: HttpRequest) -> HttpResponse:
    """`?month=2026-06`: documents issued in it and its close; what is open now; `?check=1`: whether everything agrees."""
    _permit(request)
    now = timezone.now()
    period = Period.of_month(request.GET.get("month", ""), now=now)
    month = month_of(period.start)
    context: dict[str, Any] = {"title": _("Books"), "period": period, "issued": _issued(month), "report": closing.report(month)}
    context["ages"] = [
        (currency, [money.in_major(minor, currency) for minor in ages.values()])
        for currency, ages in receivables.by_age(receivables.receivables(now=now)).items()
    ]
    if request.GET.get("check"):
        context |= {"laws": len(checks.LAWS), "findings": checks.check(now=now)}
    return TemplateResponse(request, "admin/books.html", {**admin.site.each_context(request), **context})


def journal_file(request: HttpRequest, month: str) -> HttpResponse:
    """The sales journal of a month, as CSV."""
    _permit(request)
    period = Period.of_month(month, now=timezone.now())
    return _file(sales.journal(month_of(period.start)), f"journal-{period.name}.csv")


def receivables_file(request: HttpRequest) -> HttpResponse:
    """What is open now, as CSV."""
    _permit(request)
    now = timezone.now()
    return _file(receivables.sheet(receivables.receivables(now=now)), f"receivables-{now:%Y-%m-%d}.csv")


def _issued(month: Range) -> list[tuple[object, ...]]:
    """By kind and currency: how many documents, net, tax and total in major units."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    names: dict[tuple[str, str], set[int]] = {}
    for each in sales.entries(month):
        key = each.kind, each.invoice.currency
        sums.setdefault(key, Counter()).update(net=each.net, tax=each.tax)
        names.setdefault(key, set()).add(each.invoice.pk)
    labels = {**dict(Invoice.Kind.choices), "void": Invoice.State.VOID.label}
    return [
        (
            str(labels[kind]),
            currency,
            len(names[kind, currency]),
            *(money.in_major(minor, currency) for minor in (each["net"], each["tax"], each["net"] + each["tax"])),
        )
        for (kind, currency), each in sorted(sums.items())
    ]


def _file(text: str, name: str) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return HttpResponse(text.encode(), content_type="text/csv; charset=utf-8", headers=headers)


def _permit(request: HttpRequest) -> None:
    if not request.user.has_perm("billing.view_invoice"):
        raise PermissionDenied
