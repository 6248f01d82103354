"""The operators' pages of the policies that clusters run: what waits, what runs, every push with its document."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from placement.admin.base import ClusterFilter, PlacementAdmin, cluster
from placement.models import ClusterPolicy, PolicyPush
from placement.policies import history, writers
from tenants import columns
from tenants.office import Verb

MOST_LINES = 400  # of a difference, on the page

POLICY_VERBS = (
    Verb(
        "push",
        _("Push now"),
        _("The server is asked what it runs, and gets the document that it should run where that is another one."),
        lambda row, act: writers.demand(row.cluster, **act.told),
        bulk=True,
    ),
)


@admin.register(ClusterPolicy)
class ClusterPolicyAdmin(PlacementAdmin):
    list_display = ("cluster_id", "behind", "runs", "failures", "trouble", columns.at("try_at", _("next try")), "audited")
    list_select_related = ("cluster", "running")
    search_fields = ("cluster__cluster_id", "trouble")
    fields = (
        *(cluster, "behind", "runs", "failures", "trouble", columns.at("try_at", _("next try")), "audited"),
        *("wanted", "done", "changed_at", "fence", "lease_until"),
    )
    verbs = POLICY_VERBS

    def get_queryset(self, request: HttpRequest) -> QuerySet[ClusterPolicy]:
        return super().get_queryset(request).defer("running__document")

    @admin.display(description=_("waits to be pushed"), ordering="wanted_at")
    def behind(self, row: ClusterPolicy) -> str:
        return columns.ago(timezone.now() - row.wanted_at) if row.wanted > row.done and row.wanted_at else columns.NOTHING

    @admin.display(description=_("running document"))
    def runs(self, row: ClusterPolicy) -> str:
        return columns.link_to(row.running)

    @admin.display(description=_("last audited"), ordering="checked_at")
    def audited(self, row: ClusterPolicy) -> str:
        return columns.ago(timezone.now() - row.checked_at if row.checked_at else None)

    def links(self, obj: ClusterPolicy) -> list[tuple[Any, str]]:
        of = {"cluster__cluster_id__exact": obj.pk}
        return [(_("Pushes"), reverse("admin:placement_policypush_changelist", query=of))]

    def audit_query(self, obj: ClusterPolicy) -> str:
        return obj.pk


@admin.register(PolicyPush)
class PolicyPushAdmin(PlacementAdmin):
    list_display = ("id", cluster, columns.stated(), columns.at("started_at", _("started")), "form", "rules", "estimated", "reason")
    list_filter = ("state", ("cluster", ClusterFilter))
    list_select_related = ("cluster",)
    search_fields = ("cluster__cluster_id", "digest", "reason")
    fields = (
        *(cluster, columns.stated(), "started_at", "finished_at", "reason", "form", "rules", "estimated"),
        *("digest", "fence", "versions"),
    )
    change_form_template = "admin/push.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyPush]:
        return super().get_queryset(request).defer("document")

    @admin.display(description=_("estimated peer calculation in seconds"), ordering="cost")
    def estimated(self, row: PolicyPush) -> str:
        return f"{row.cost:.2f}"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        extra = push_context(row) if row and self.has_view_permission(request, row) else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def audit_query(self, obj: PolicyPush) -> str:
        return str(obj.cluster_id)


def push_context(row: PolicyPush) -> dict[str, Any]:
    """The document, and how it differs from what the cluster ran before."""
    former = history.former(row)
    lines = history.diff(row, former)
    return {"document": row.document, "former": former, "lines": lines[:MOST_LINES], "unlisted_lines": max(0, len(lines) - MOST_LINES)}
