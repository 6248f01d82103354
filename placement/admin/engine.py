"""The operators' pages of the placement engine: what it decided and why, who waits, how hot clusters are, regions, and what wants an operator."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.postgres.forms import SimpleArrayField
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from placement import explaining, nearness
from placement.admin.base import ClusterFilter, PlacementAdmin, cluster, measured, tenant
from placement.admin.pages import decision_context
from placement.explaining import percent
from placement.models import Alert, Decision, Heat, Nearness, Region, Waiting
from tenants import columns
from tenants.columns import TenantFilter
from tenants.office import Act, Verb


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
    list_select_related = ("tenant", "tenant__dedicated_cluster")
    fields = (
        *(tenant, columns.stated("want", _("waits for")), "missing", "why_it_waits", "since", "asked_at", "asked", "regions"),
        *("service_class", "residency", "load"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Waiting]:
        refused = Decision.objects.across_tenants().filter(outcome=Decision.Outcome.REFUSED)
        return super().get_queryset(request).prefetch_related(Prefetch("tenant__decisions", refused, to_attr="refusals"))

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
        columns.at("last_at", _("last seen")),
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


@admin.register(Heat)
class HeatAdmin(PlacementAdmin):
    list_display = (
        cluster,
        "used",
        "cpu_cores",
        "sessions",
        "backlog",
        "calculation",
        "resident",
        columns.at("at", _("last sample")),
        "failures",
    )
    list_display_links = ("used",)
    list_filter = ("breaker_open",)
    search_fields = ("cluster__cluster_id",)
    list_select_related = ("cluster",)
    ordering = ("cluster",)
    fields = (
        *(cluster, "used", "cpu_cores", "sessions", "backlog", "calculation", "resident", "at", "attempted_at", "failures"),
        *("breaker_open", "cool_since", "hot_since"),
    )

    @admin.display(description=_("measured utilisation"), ordering="measured")
    def used(self, row: Heat) -> str:
        return measured(row)

    @admin.display(description=_("CPU"), ordering="cpu")
    def cpu_cores(self, row: Heat) -> str:
        return f"{row.cpu:.2f} / {row.cluster.cores:g}"

    @admin.display(description=_("netmap backlog"), ordering="queue")
    def backlog(self, row: Heat) -> str:
        return f"{row.queue:.1f} / {row.cluster.max_queue}"

    @admin.display(description=_("peer calculation p95"), ordering="peer_seconds")
    def calculation(self, row: Heat) -> str:
        return f"{row.peer_seconds * 1000:.0f} ms"

    @admin.display(description=_("resident memory"), ordering="memory")
    def resident(self, row: Heat) -> str:
        return f"{row.memory / 2**20:.1f} MiB"


# ---- regions ---------------------------------------------------------------------------------------------------------


class RegionForm(forms.Form):
    title = forms.CharField(label=_("title"), max_length=80, required=False)
    neighbours = SimpleArrayField(
        forms.CharField(max_length=32), label=_("neighbours"), required=False, help_text=_("Comma separated, the nearest first.")
    )


class NewRegionForm(RegionForm):
    name = forms.CharField(label=_("name"), max_length=32)
    field_order = ("name", "title", "neighbours")


class NearnessForm(forms.Form):
    place = forms.CharField(
        label=_("network or country"), max_length=43, help_text=_("A network such as 203.0.113.0/24, or a country's two capital letters.")
    )
    region = forms.CharField(label=_("region"), max_length=32)


@admin.register(Region)
class RegionAdmin(PlacementAdmin):
    list_display = ("name", "title", "near")
    search_fields = ("name", "title")
    fields = ("name", "title", "near")
    add_form = NewRegionForm
    add_lead = _(
        "A region exists as soon as a cluster names it. Here it gets a title, and neighbours that take its tenants when it is full."
    )
    verbs = (
        Verb(
            "change",
            _("Change"),
            _("Tenants that are placed from now on may go to these neighbours when the region is full. Nobody is moved."),
            lambda row, act: nearness.describe(row.pk, **act.said, **act.told),
            form=RegionForm,
            initial=lambda row: {"title": row.title, "neighbours": row.neighbours},
        ),
    )

    @admin.display(description=_("neighbours"))
    def near(self, row: Region) -> str:
        return ", ".join(row.neighbours) or columns.NOTHING

    def create(self, act: Act, request: HttpRequest) -> tuple[Region, str]:  # noqa: ARG002 - the base's signature
        return nearness.describe(**act.said, **act.told), ""


@admin.register(Nearness)
class NearnessAdmin(PlacementAdmin):
    list_display = ("place", "region")
    list_filter = ("region",)
    search_fields = ("network", "country", "region")
    fields = ("network", "country", "region")
    add_form = NearnessForm
    add_lead = _("Devices of this network or country have their tenant placed in the region, unless they measured which one is nearest.")
    verbs = (
        Verb(
            "forget",
            _("Forget"),
            _("Nothing is known of the place any more. Nobody is moved."),
            lambda row, act: nearness.unlearn(row.network or row.country, **act.told),
            ends=True,
        ),
    )

    @admin.display(description=_("network or country"), ordering="network")
    def place(self, row: Nearness) -> str:
        return row.network or row.country

    def create(self, act: Act, request: HttpRequest) -> tuple[Nearness, str]:  # noqa: ARG002 - the base's signature
        return nearness.learn(**act.said, **act.told), ""

    def audit_query(self, obj: Nearness) -> str:
        return obj.network or obj.country
