"""The operators' pages of regions: which are neighbours, and which networks and countries are near which."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.contrib.postgres.forms import SimpleArrayField
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from placement import nearness
from placement.admin.base import PlacementAdmin
from placement.models import Nearness, Region
from tenants import columns
from tenants.office import Act, Verb


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
