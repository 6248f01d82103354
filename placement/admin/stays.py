"""The operators' page of where tenants lived, from when to when."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from placement.admin.base import ClusterFilter, PlacementAdmin, cluster, tenant
from placement.models import Stay
from tenants import columns
from tenants.columns import TenantFilter


@admin.register(Stay)
class StayAdmin(PlacementAdmin):
    list_display = (columns.at("since", _("since")), columns.at("until", _("until")), tenant, cluster)
    list_filter = (TenantFilter, ("cluster", ClusterFilter), columns.has("until", _("over")))
    search_fields = ("tenant__account", "cluster__cluster_id")
    list_select_related = ("tenant", "cluster")
    fields = (tenant, cluster, "since", "until", "changed_at")
