"""The tenant's page, with what only billing knows."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from placement.admin.living import PlacedTenantAdmin
from tenants.models import Tenant


class MeteredTenantAdmin(PlacedTenantAdmin):
    def links(self, obj: Tenant) -> list[tuple[Any, str]]:
        return [*super().links(obj), (_("Use"), reverse("admin:billing_usage", args=[obj.account]))]


admin.site.unregister(Tenant)
admin.site.register(Tenant, MeteredTenantAdmin)
