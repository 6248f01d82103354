"""What the pages of placement share."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from placement.errors import PlacementError
from placement.explaining import percent
from placement.models import Heat
from tenants import columns
from tenants.errors import TenantError
from tenants.keyring import Unsealable
from tenants.office import OperatorAdmin

tenant, cluster = columns.linked("tenant", _("tenant")), columns.linked("cluster", _("cluster"))


class PlacementAdmin(OperatorAdmin):
    refusals: ClassVar[tuple[type[Exception], ...]] = (TenantError, PlacementError, Unsealable)


class ClusterFilter(admin.RelatedFieldListFilter):
    """By cluster, under a title that is translated."""

    def __init__(self, *facts: Any, **more: Any) -> None:
        super().__init__(*facts, **more)
        self.title = _("cluster")


def measured(heat: Heat | None) -> str:
    """What was measured of a cluster, with a word when its breaker is open."""
    if heat is None or heat.measured is None:
        return columns.NOTHING
    if heat.breaker_open:
        return format_html("{} {}", percent(heat.measured), columns.badge("breaker", _("breaker open")))
    return percent(heat.measured)
