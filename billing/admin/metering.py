"""The operators' pages of metering: use by tenant, how long clusters were watched, and what does not count."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from billing.admin.period import DAY, Period
from billing.metering import corrections, coverage, usage
from billing.metering.errors import EvidenceGone, MeteringError
from billing.models import Correction, Meter, UsageHour
from placement.admin.base import ClusterFilter, PlacementAdmin, cluster, tenant
from placement.models import Cluster, Device
from tenants import columns
from tenants.columns import TenantFilter
from tenants.models import Tenant
from tenants.office import Act, Verb

SHOWN = 100  # devices of a tenant on its page


class CorrectionForm(forms.Form):
    cluster = forms.ModelChoiceField(Cluster.objects.all(), label=_("cluster"), required=False, help_text=_("All of it, or:"))
    account = forms.CharField(label=_("tenant"), required=False, max_length=63, help_text=_("Its account: wherever it lived; or:"))
    device = forms.UUIDField(label=_("device"), required=False, help_text=_("The id of one device."))
    since = forms.SplitDateTimeField(label=_("from"), widget=AdminSplitDateTime, help_text=_("UTC."))
    until = forms.SplitDateTimeField(label=_("to"), widget=AdminSplitDateTime, help_text=_("UTC; not included."))
    reason = forms.CharField(label=_("reason"), max_length=300)

    def clean(self) -> dict[str, Any]:
        said: dict[str, Any] = super().clean() or {}
        named = [name for name in ("cluster", "account", "device") if said.get(name)]
        if len(named) != 1:
            raise forms.ValidationError(_("Name a cluster, a tenant or a device: one of them."))
        rows: dict[str, Any] = {
            "account": Tenant.objects.filter(account=said.get("account")),
            "device": Device.objects.across_tenants().filter(pk__in=filter(None, [said.get("device")])),
        }
        said["of"] = said["cluster"] if named == ["cluster"] else rows[named[0]].first()
        if said["of"] is None:
            self.add_error(named[0], _t("There is none."))
        return said


class TakeBackForm(forms.Form):
    reason = forms.CharField(label=_("reason"), max_length=300)


@admin.display(description=_("of"))
def whose(made: Correction) -> str:
    device = Device.objects.across_tenants().filter(pk=made.device_id).first() if made.device_id else None
    return columns.link_to(made.cluster or device or made.tenant)


@admin.display(description=_("state"))
def stands(made: Correction) -> str:
    return columns.badge("released", _t("taken back")) if hasattr(made, "retraction") else columns.badge("active", _t("holds"))


@admin.display(description=_("taken back"))
def taken_back(made: Correction) -> str:
    if not hasattr(made, "retraction"):
        return columns.NOTHING
    back = made.retraction
    return f"{back.made_at:%Y-%m-%d %H:%M}, {back.made_by}: {back.reason}"


@admin.register(Correction)
class CorrectionAdmin(PlacementAdmin):
    refusals: ClassVar[tuple[type[Exception], ...]] = (*PlacementAdmin.refusals, MeteringError)
    list_display = (
        columns.at("made_at", _("made")),
        whose,
        columns.at("since", _("from")),
        columns.at("until", _("to")),
        stands,
        "reason",
        "made_by",
    )
    list_filter = (("cluster", ClusterFilter), TenantFilter)
    search_fields = ("reason", "cluster__cluster_id", "tenant__account", "made_by")
    list_select_related = ("cluster", "tenant", "retraction")
    fields: ClassVar[Any] = (whose, tenant, "since", "until", "reason", "made_by", "made_at", taken_back)
    add_form = CorrectionForm
    add_lead = _(
        "Nothing of it is billed in that range of time, and every sum is made again. What was billed is credited by “Correct” of the invoice."
    )
    verbs = (
        Verb(
            "take_back",
            _("Take back"),
            _("That time counts again, and every sum is made again. A credit note that was issued for it stays."),
            lambda made, act: corrections.take_back(made, **act.said, **act.told),
            fits=lambda made: not hasattr(made, "retraction"),
            form=TakeBackForm,
            grave=True,
        ),
    )

    def create(self, act: Act, request: HttpRequest) -> tuple[Correction, str]:  # noqa: ARG002 - the office's signature
        said = act.said
        return corrections.exclude(said["of"], said["since"], said["until"], reason=said["reason"], **act.told), ""

    def audit_query(self, obj: Correction) -> str:
        return f"correction:{obj.pk}"


@admin.register(Meter)
class MeterAdmin(PlacementAdmin):
    list_display = (cluster, columns.at("last_ok", _("counted until")), columns.at("server_started", _("server started")))
    list_filter = (("cluster", ClusterFilter),)
    search_fields = ("cluster__cluster_id",)
    list_select_related = ("cluster",)
    fields = (cluster, "last_ok", "server_started")

    def list_links(self) -> list[tuple[Any, str]]:
        return [(_("Coverage"), reverse("admin:billing_coverage"))]


@admin.register(UsageHour)
class UsageHourAdmin(PlacementAdmin):
    list_display = (columns.at("hour", _("hour")), tenant, cluster, "seconds")
    list_filter = (TenantFilter, ("cluster", ClusterFilter))
    search_fields = ("tenant__account", "cluster__cluster_id")
    list_select_related = ("tenant", "cluster")
    fields = ("hour", tenant, cluster, "seconds")


def usage_page(request: HttpRequest, account: str) -> HttpResponse:
    """`?month=2026-06`: what a tenant used in a month, by cluster, day and device."""
    _permit(request)
    of = Tenant.objects.filter(account=account).first()
    if of is None:
        raise Http404
    period = Period.of_month(request.GET.get("month", ""), now=timezone.now())
    context: dict[str, Any] = {"title": _t("What %(tenant)s used") % {"tenant": of.account}, "tenant": of, "period": period}
    try:
        context["used"] = usage.used(of, period.start, period.end)
    except EvidenceGone as error:
        context["refusal"] = str(error)
    devices = list(usage.by_device(of, period.start, period.end).order_by("-device_seconds", "device_id")[: SHOWN + 1])
    known = Device.objects.of(of).in_bulk([row["device_id"] for row in devices])
    context["devices"] = [row | {"device": known.get(row["device_id"])} for row in devices[:SHOWN]]
    context |= {"more": len(devices) > SHOWN, "days": usage.daily(of, period.start, period.end)}
    return TemplateResponse(request, "admin/usage.html", {**admin.site.each_context(request), **context})


def coverage_page(request: HttpRequest) -> HttpResponse:
    """`?day=2026-06-11`: how long each cluster was watched that day, and when it was not."""
    _permit(request)
    period = Period.of_day(request.GET.get("day", ""), now=timezone.now())
    watched = [
        {
            "cluster_id": one.cluster_id,
            "seconds": one.seconds,
            "polls": one.polls,
            "gaps": coverage.gaps(one.cluster_id, period.start, period.end),
        }
        for one in coverage.watched(period.start, period.end)
    ]
    whole = int(min(DAY, period.end - period.start).total_seconds())
    context = {"title": _t("Coverage"), "period": period, "watched": watched, "whole": whole}
    return TemplateResponse(request, "admin/coverage.html", {**admin.site.each_context(request), **context})


def _permit(request: HttpRequest) -> None:
    if not request.user.has_perm("billing.view_meter"):
        raise PermissionDenied
