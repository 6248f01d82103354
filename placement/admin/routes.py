"""The operators' pages of routes: what devices announce, and who may route it."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from placement import routing
from placement.admin.base import ClusterFilter, PlacementAdmin, cluster, tenant
from placement.models import Route
from tenants import columns
from tenants.columns import TenantFilter
from tenants.office import Verb

State = Route.State
device = columns.linked("device", _("device"))


class RefusalForm(forms.Form):
    reason = forms.CharField(label=_("reason"), max_length=300, required=False)


def is_there(row: Route) -> bool:
    return row.device.gone_at is None


ROUTE_VERBS = (
    Verb(
        "approve",
        _("Approve"),
        _("Devices of the tenant reach the prefix through this device. An exit node is approved for both versions of IP."),
        lambda row, act: routing.approve(row, **act.told),
        fits=lambda row: is_there(row) and row.state != State.APPROVED,
        bulk=True,
    ),
    Verb(
        "refuse",
        _("Refuse"),
        _("The device does not route the prefix, or not any longer, whatever the tenant's policy approves by itself."),
        lambda row, act: routing.refuse(row, reason=act.said["reason"], **act.told),
        fits=lambda row: is_there(row) and row.state != State.REFUSED,
        form=RefusalForm,
        grave=True,
        bulk=True,
    ),
    Verb(
        "withdraw",
        _("Take the decision back"),
        _("The route waits again, for an operator or for what the tenant's policy approves by itself; until then nobody is routed there."),
        lambda row, act: routing.withdraw(row, **act.told),
        fits=lambda row: is_there(row) and row.state != State.WAITING,
        grave=True,
    ),
)


@admin.register(Route)
class RouteAdmin(PlacementAdmin):
    list_display = ("prefix", columns.stated(), "announced", tenant, device, cluster, "decided_by", "reason")
    list_filter = ("state", "announced", TenantFilter, ("cluster", ClusterFilter))
    search_fields = ("prefix", "tenant__account", "device__name", "device__hostname")
    list_select_related = ("tenant", "device", "cluster")
    fieldsets = (
        (None, {"fields": ("prefix", columns.stated(), "announced", tenant, device, cluster)}),
        (_("Decision"), {"fields": ("decided_by", "decided_at", "reason")}),
        (_("Times"), {"fields": ("created_at",)}),
    )
    verbs = ROUTE_VERBS

    def audit_query(self, obj: Route) -> str:
        return f"route:{obj.pk}"
