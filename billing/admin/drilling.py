"""The operators' way from a line of an invoice down to its evidence: days, a day's devices, a device's sessions, the polls behind one of them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _t

from billing import drilling
from billing.documents import telling
from billing.errors import EvidenceLost
from billing.models import InvoiceLine
from placement.admin.base import CountedSoFar
from placement.models import Device
from tenants.errors import MalformedRequest

SHOWN = 200  # devices or polls of a page


def drill_page(request: HttpRequest, invoice_id: int, position: int) -> HttpResponse:
    """`?day=`, `&device=`, `&session=`: one step further down with each."""
    if not request.user.has_perm("billing.view_invoice"):
        raise PermissionDenied
    line = InvoiceLine.objects.select_related("invoice__tenant").filter(invoice=invoice_id, position=position).first()
    if line is None:
        raise Http404
    context: dict[str, Any] = {"title": _t("Line %(position)s") % {"position": position}, "line": line, "invoice": line.invoice}
    context["what"] = telling.words(line)
    try:
        context |= _told(line, request)
    except EvidenceLost as lost:
        context["refusal"] = str(lost)
    except (ValueError, MalformedRequest):
        raise Http404 from None
    return TemplateResponse(request, "admin/drill.html", {**admin.site.each_context(request), **context})


def _told(line: InvoiceLine, request: HttpRequest) -> dict[str, Any]:
    asked = request.GET
    if "day" not in asked:
        return {"days": drilling.days(line)}
    day = date.fromisoformat(asked["day"])
    if "device" not in asked:
        return {"day": day, **_devices(line, day, asked.get("after"))}
    device = UUID(asked["device"])
    known = {"day": day, "device_id": device, "device": Device.objects.of(line.invoice.tenant).filter(pk=device).first()}
    if "session" not in asked:
        return known | {"sessions": drilling.sessions(line, day, device)}
    began = datetime.fromisoformat(asked["session"])
    polls = CountedSoFar(drilling.polls(line, day, device, began), SHOWN)
    return known | {"session": began, "polls": polls.get_page(asked.get("page"))}


def _devices(line: InvoiceLine, day: date, after: str | None) -> dict[str, Any]:
    found = drilling.devices(line, day, after=UUID(after) if after else None, most=SHOWN + 1)
    shown = found[:SHOWN]
    known = Device.objects.of(line.invoice.tenant).in_bulk([each.device_id for each in shown])
    rows = [{"device_id": each.device_id, "seconds": each.device_seconds, "device": known.get(each.device_id)} for each in shown]
    return {"devices": rows, "after": shown[-1].device_id if len(found) > SHOWN else None}
