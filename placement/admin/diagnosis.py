"""Why a device is not in its network yet: a page per device, the requests that were refused, and the reports of devices' own sides."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from placement.admin.base import PlacementAdmin, tenant
from placement.diagnosis import gather, words
from placement.diagnosis.causes import Cause
from placement.diagnosis.gather import Diagnosis
from placement.models import Device, NetReport, Refusal
from tenants import columns
from tenants.admin.singles import EnrolmentAdmin
from tenants.columns import TenantFilter
from tenants.models import Enrolment, Tenant

WHY = _("What happened to it")
MOST = 20  # tenants shown at once, of those that know a registration id


def why_page(request: HttpRequest) -> HttpResponse:
    """`?registration_id=...`, with `account` where several tenants know it; or `?device=UUID`."""
    if not request.user.has_perm("placement.view_refusal"):
        raise PermissionDenied
    asked = {name: request.GET.get(name, "").strip() for name in ("account", "registration_id", "device")}
    found = _found(asked)
    context = {
        **admin.site.each_context(request),
        "title": asked["registration_id"] or _("Why is a device not in its network?"),
        "asked": asked,
        "searched": bool(asked["registration_id"] or asked["device"]),
        "found": [_shown(tenant, diagnosis) for tenant, diagnosis in found],
    }
    return TemplateResponse(request, "admin/why.html", context)


def why_of(registration_id: str | None, account: str) -> list[tuple[Any, str]]:
    """The page's address for a row's links."""
    if not registration_id:
        return []
    return [(WHY, reverse("admin:placement_why", query={"account": account, "registration_id": registration_id}))]


def why_of_device(device: Device) -> list[tuple[Any, str]]:
    return [(WHY, reverse("admin:placement_why", query={"device": str(device.pk)}))]


def _found(asked: dict[str, str]) -> list[tuple[Tenant, Diagnosis]]:
    now = timezone.now()
    if asked["device"]:
        devices = Device.objects.across_tenants().select_related("slot", "tenant")
        device = devices.filter(pk=named).first() if (named := _uuid(asked["device"])) else None
        return [(device.tenant, gather.diagnose_device(device, now=now))] if device else []
    if not asked["registration_id"]:
        return []
    tenants = gather.tenants_with(asked["registration_id"])
    if asked["account"]:
        tenants = Tenant.objects.filter(account=asked["account"])
    diagnosed = ((tenant, gather.diagnose(tenant, asked["registration_id"], now=now, claimed=True)) for tenant in tenants[:MOST])
    return [(tenant, diagnosis) for tenant, diagnosis in diagnosed if diagnosis is not None]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _shown(tenant: Tenant, diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis with its words."""
    at = diagnosis.standing
    return {
        "tenant": tenant,
        "device": next((device for device in diagnosis.known.devices if device.gone_at is None), None),
        "net": diagnosis.known.net,
        "stalled": at.stalled,
        "since": at.since,
        "stage": words.STAGES.get(at.stage, ""),
        "steps": [{"step": step, "stage": words.STAGES[step.stage], "outcome": words.OUTCOMES[step.outcome]} for step in diagnosis.steps],
        "causes": [_worded(cause) for cause in diagnosis.causes],
        "hints": [_worded(cause) for cause in diagnosis.hints],
    }


def _worded(cause: Cause) -> dict[str, Any]:
    return {"cause": cause, "words": words.CAUSES[cause.code]}


@admin.register(Refusal)
class RefusalAdmin(PlacementAdmin):
    list_display = (
        columns.at("last_at", _("last")),
        tenant,
        "registration_id",
        "code",
        "reason",
        "times",
        "address",
    )
    list_filter = (TenantFilter, "code", columns.has("tenant", _("of a tenant")))
    search_fields = ("registration_id", "account", "=address", "code", "hostname")
    list_select_related = ("tenant", "enrolment_key")
    fieldsets = (
        (None, {"fields": (tenant, "account", "registration_id", "code", "reason", "times")}),
        (_("Who asked"), {"fields": (columns.linked("enrolment_key", _("credential")), "address", "hostname", "os")}),
        (_("Times"), {"fields": ("first_at", "last_at")}),
    )

    def links(self, obj: Refusal) -> list[tuple[Any, str]]:
        return why_of(obj.registration_id, obj.account)


@admin.register(NetReport)
class NetReportAdmin(PlacementAdmin):
    list_display = (columns.at("at", _("at")), tenant, "registration_id", "by")
    list_filter = (TenantFilter,)
    search_fields = ("registration_id", "tenant__account")
    list_select_related = ("tenant",)
    fields = (tenant, "registration_id", "at", "by", "told")

    def links(self, obj: NetReport) -> list[tuple[Any, str]]:
        return why_of(obj.registration_id, obj.tenant.account)


class DiagnosedEnrolmentAdmin(EnrolmentAdmin):
    """A single device's page, with what only placement knows."""

    def links(self, obj: Enrolment) -> list[tuple[Any, str]]:
        return why_of(obj.registration_id, obj.tenant.account)


admin.site.unregister(Enrolment)
admin.site.register(Enrolment, DiagnosedEnrolmentAdmin)
