"""The operators' pages of network policies: which version counts and which one runs, every version with its text and what it changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from placement.admin.base import PlacementAdmin, tenant
from tenants import columns, netpolicy
from tenants.columns import TenantFilter
from tenants.models import NetworkPolicy, PolicyVersion

REACH, EDIT = _("Who reaches what"), _("Edit")


def pages_of(account: str, *, edit: bool = True) -> list[tuple[Any, str]]:
    """The links to the pages of one tenant's policy."""
    reach = (REACH, reverse("admin:placement_policy_reach", args=[account]))
    return [reach, (EDIT, reverse("admin:placement_policy_edit", args=[account]))] if edit else [reach]


@admin.register(NetworkPolicy)
class NetworkPolicyAdmin(PlacementAdmin):
    list_display = (tenant, "counts", "runs", "troubled", "by", "stored_at")
    list_display_links = ("counts",)
    list_filter = (TenantFilter, columns.has("trouble_at", _("in trouble")))
    search_fields = ("tenant__account", "trouble")
    list_select_related = ("tenant", "current", "running")
    fields = (tenant, "counts", "runs", "troubled", "trouble_at", "by", "stored_at", "note")
    change_form_template = "admin/policy.html"

    @admin.display(description=_("current version"), ordering="current__number")
    def counts(self, row: NetworkPolicy) -> str:
        return str(row.current.number)

    @admin.display(description=_("running version"), ordering="running__number")
    def runs(self, row: NetworkPolicy) -> str:
        if row.running is None:
            return columns.badge("queued", _("none yet"))
        if row.running_id != row.current_id:
            return format_html("{} {}", row.running.number, columns.badge("queued", _("behind")))
        return str(row.running.number)

    @admin.display(description=_("trouble"))
    def troubled(self, row: NetworkPolicy) -> str:
        return row.trouble or columns.NOTHING

    @admin.display(description=_("by"))
    def by(self, row: NetworkPolicy) -> str:
        return row.current.author

    @admin.display(description=_("stored"), ordering="current__created_at")
    def stored_at(self, row: NetworkPolicy) -> str:
        return f"{row.current.created_at:%Y-%m-%d %H:%M}"

    @admin.display(description=_("note"))
    def note(self, row: NetworkPolicy) -> str:
        return row.current.note or columns.NOTHING

    def links(self, obj: NetworkPolicy) -> list[tuple[Any, str]]:
        versions = reverse("admin:tenants_policyversion_changelist", query={"account": obj.tenant.account})
        return [*pages_of(obj.tenant.account), (_("Versions"), versions)]

    def audit_query(self, obj: NetworkPolicy) -> str:
        return f"policy:{obj.tenant.account}"


@admin.register(PolicyVersion)
class PolicyVersionAdmin(PlacementAdmin):
    list_display = (tenant, "number", columns.at("created_at", _("stored")), "author", "restores", "note")
    list_display_links = ("number",)
    list_filter = (TenantFilter,)
    search_fields = ("tenant__account", "author", "note")
    list_select_related = ("tenant",)
    fields = (tenant, "number", columns.at("created_at", _("stored")), "author", "restores", "note", "digest")
    change_form_template = "admin/policy_version.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyVersion]:
        return super().get_queryset(request).defer("text")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        extra: dict[str, Any] = {}
        if row is not None and self.has_view_permission(request, row):
            before = netpolicy.version(row.tenant, row.number - 1)
            extra = {"changes": marked(netpolicy.diff(before, row))}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def links(self, obj: PolicyVersion) -> list[tuple[Any, str]]:
        every = reverse("admin:tenants_policyversion_changelist", query={"account": obj.tenant.account})
        return [*pages_of(obj.tenant.account), (_("Versions"), every)]

    def audit_query(self, obj: PolicyVersion) -> str:
        return f"policy:{obj.tenant.account}:{obj.number}"


def marked(diff: str) -> list[tuple[str, str]]:
    """The lines of a diff, each with what it is: added, removed, hunk or same."""
    kinds = {"+": "added", "-": "removed", "@": "hunk"}
    return [(kinds.get(line[:1], "same"), line) for line in diff.splitlines()[2:]]
