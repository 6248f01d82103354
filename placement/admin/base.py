"""What the pages of placement share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
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


class CountedSoFar(Paginator):
    """Pages of a list that nobody counts to its end: of more than MOST rows it knows that there are so many."""

    MOST = 10_000

    @cached_property
    def count(self) -> int:
        return int(self.object_list.order_by()[: self.MOST].count())  # type: ignore[attr-defined]


class Lately(admin.SimpleListFilter):
    """Rows that came by the month: those of the last days, unless somebody asks for all or names a range of time."""

    title = _("when")
    parameter_name = "when"
    field = "started_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002 - Django's signature
        return [("7", _("last 7 days")), ("any", _("any time"))]

    def choices(self, changelist: Any) -> Iterator[Any]:
        choices = list(super().choices(changelist))
        choices[0]["display"] = _("last 31 days")
        yield from choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "any" or any(name.startswith(self.field) for name in request.GET):
            return queryset
        return queryset.filter(**{f"{self.field}__gte": timezone.now() - timedelta(days=int(self.value() or 31))})


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
