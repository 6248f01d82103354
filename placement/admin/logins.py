"""The operators' page of device logins: who let which device in, and what became of it."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from placement.admin.base import ClusterFilter, PlacementAdmin, cluster, tenant
from placement.models import DeviceLogin
from tenants import columns
from tenants.columns import TenantFilter

person, device = columns.linked("user", _("person")), columns.linked("device", _("device"))


@admin.register(DeviceLogin)
class DeviceLoginAdmin(PlacementAdmin):
    list_display = (columns.at("claimed_at", _("confirmed")), columns.stated(), person, tenant, cluster, device, "reason")
    list_filter = ("state", TenantFilter, ("cluster", ClusterFilter))
    search_fields = ("=id", "tenant__account", "user__email", "user__username", "device__name")
    list_select_related = ("tenant", "cluster", "user", "device")
    fields = (
        "id",
        columns.stated(),
        person,
        tenant,
        cluster,
        columns.linked("slot", _("slot")),
        device,
        "node_id",
        "reason",
        "claimed_at",
        "settled_at",
    )

    def audit_query(self, obj: DeviceLogin) -> str:
        return f"device-login:{obj.pk}"
