"""The operators' pages of the placement engine: what it decided and why, who waits for a place, and what wants an operator."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from placement import explaining
from placement.admin.base import ClusterFilter, PlacementAdmin, cluster, tenant
from placement.admin.pages import decision_context
from placement.models import Alert, Decision, Waiting
from tenants import columns
from tenants.columns import TenantFilter


@admin.register(Decision)
class DecisionAdmin(PlacementAdmin):
    list_display = (columns.at("at", _("at")), columns.stated("outcome", _("outcome")), tenant, cluster, "pool", "load", "why")
    list_filter = ("outcome", TenantFilter, ("cluster", ClusterFilter), "engine")
    search_fields = ("=id", "tenant__account", "cluster__cluster_id", "pool")
    list_select_related = ("tenant", "cluster")
    fields = (
        "id",
        columns.at("at", _("at")),
        columns.stated("outcome", _("outcome")),
        tenant,
        cluster,
        "pool",
        "load",
        "engine",
        "ring",
    )
    change_form_template = "admin/decision.html"

    @admin.display(description=_("reason"), ordering="reason")
    def why(self, row: Decision) -> str:
        return explaining.reason(row)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        extra = decision_context(row, now=timezone.now()) if row and self.has_view_permission(request, row) else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def links(self, obj: Decision) -> list[tuple[Any, str]]:
        every = reverse("admin:placement_decision_changelist", query={"account": obj.tenant.account})
        return [(_("All decisions of the tenant"), every), (_("Pools"), reverse("admin:placement_pools"))]

    def list_links(self) -> list[tuple[Any, str]]:
        return [(_("Pools"), reverse("admin:placement_pools"))]

    def audit_query(self, obj: Decision) -> str:
        return obj.tenant.account


@admin.register(Waiting)
class WaitingAdmin(PlacementAdmin):
    list_display = (
        columns.at("since", _("waiting since")),
        tenant,
        columns.stated("want", _("waits for")),
        "missing",
        "asked",
        "why_it_waits",
    )
    list_display_links = ("missing",)
    list_filter = ("want", "service_class", "residency", TenantFilter)
    search_fields = ("tenant__account", "service_class", "residency")
    fields = (
        *(tenant, columns.stated("want", _("waits for")), "missing", "why_it_waits", "since", "asked_at", "asked", "regions"),
        *("service_class", "residency", "load"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Waiting]:  # noqa: ARG002 - Django's signature
        return explaining.queue()

    @admin.display(description=_("to provision"))
    def missing(self, row: Waiting) -> str:
        return explaining.to_provision(row)

    @admin.display(description=_("why it waits"))
    def why_it_waits(self, row: Waiting) -> str:
        return explaining.why_waits(row)

    def audit_query(self, obj: Waiting) -> str:
        return obj.tenant.account


@admin.register(Alert)
class AlertAdmin(PlacementAdmin):
    list_display = (
        columns.at("opened_at", _("since")),
        "matter",
        "subject",
        "told",
        "times",
        columns.at("last_at", _("most recently")),
        "state",
    )
    list_display_links = ("subject",)
    list_filter = (columns.has("closed_at", _("over")), "kind")
    search_fields = ("subject",)
    fields = ("matter", "subject", "state", "told", "opened_at", "last_at", "times", "closed_at")

    @admin.display(description=_("alert"), ordering="kind")
    def matter(self, row: Alert) -> str:
        return row.get_kind_display()

    @admin.display(description=_("state"), ordering="closed_at")
    def state(self, row: Alert) -> str:
        return columns.badge("over", _("over")) if row.closed_at else columns.badge("late", _("open"))

    @admin.display(description=_("facts"))
    def told(self, row: Alert) -> str:
        return format_html_join(", ", "{}: {}", explaining.facts_of(row)) or columns.NOTHING
