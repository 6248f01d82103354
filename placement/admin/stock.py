"""The operators' pages of keys minted ahead and of how fast external clusters mint. Nothing here can be changed by hand."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from placement.admin.base import ClusterFilter, PlacementAdmin, cluster, tenant
from placement.models import Minting, StockedKey
from tenants import columns
from tenants.columns import TenantFilter


@admin.register(StockedKey)
class StockedKeyAdmin(PlacementAdmin):
    list_display = (
        columns.at("created_at", _("asked of the server")),
        columns.stated(),
        tenant,
        cluster,
        "key_id",
        "ephemeral",
        columns.at("expires_at", _("key expires")),
    )
    list_filter = ("state", TenantFilter, ("cluster", ClusterFilter), "ephemeral")
    search_fields = ("tenant__account", "cluster__cluster_id")
    list_select_related = ("tenant", "cluster")
    fields = (
        *("id", columns.stated(), tenant, cluster, columns.linked("grant", _("grant")), "key_id", "ephemeral"),
        *("created_at", "ready_at", "taken_at", "retired_at", "over_at", "expires_at"),
    )


@admin.register(Minting)
class MintingAdmin(PlacementAdmin):
    list_display = (
        cluster,
        "took",
        "minted",
        columns.at("ran_at", _("last refill")),
        columns.at("free_at", _("next key not before")),
    )
    list_display_links = ("took",)
    list_select_related = ("cluster",)
    ordering = ("cluster",)
    fields = (cluster, "took", "minted", "ran_at", "free_at", "serving_since")

    @admin.display(description=_("seconds per key"), ordering="seconds")
    def took(self, row: Minting) -> str:
        return f"{row.seconds:.3f}"
