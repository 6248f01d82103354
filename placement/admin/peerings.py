"""The operators' page of peerings: what tenants share with each other."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from placement.admin.base import PlacementAdmin
from placement.policies import peerings
from tenants import columns
from tenants.models import Peering, Tenant
from tenants.office import Act, Verb

host, guest = columns.linked("host", _("host")), columns.linked("guest", _("guest"))


class WordsField(forms.CharField):
    """Words with spaces or on lines of their own."""

    widget = forms.Textarea(attrs={"rows": 3})

    def clean(self, value: Any) -> list[str]:
        return str(super().clean(value)).split()


def words(label: Any) -> WordsField:
    help_text = _("*, autogroup:member, autogroup:tagged, tags, groups, and registration ids, names or addresses of devices.")
    return WordsField(label=label, help_text=help_text)


def side(name: str, label: Any) -> forms.ModelChoiceField[Tenant]:
    return forms.ModelChoiceField(Tenant.objects.all(), label=label, widget=AutocompleteSelect(Peering._meta.get_field(name), admin.site))


class OfferForm(forms.Form):
    host = side("host", _("host"))
    guest = side("guest", _("guest"))
    dst = words(_("shared, in the host's words"))
    services = WordsField(label=_("services"), initial="*", help_text=_("As in grants: *, 443, tcp:80-90."))
    description = forms.CharField(label=_("description"), max_length=200, required=False)


class AcceptForm(forms.Form):
    src = words(_("used by, in the guest's words"))


class SideFilter(columns.TenantFilter):
    """Peerings of one tenant, on whichever side."""

    def queryset(self, request: Any, queryset: Any) -> Any:  # noqa: ARG002 - Django's signature
        account = self.value()
        return queryset.filter(Q(host__account=account) | Q(guest__account=account)) if account else queryset


@admin.register(Peering)
class PeeringAdmin(PlacementAdmin):
    list_display = (columns.at("offered_at", _("offered")), host, guest, columns.stated(), "shared", "used_by", "description")
    list_filter = (SideFilter, "state")
    search_fields = ("host__account", "guest__account", "description")
    fieldsets = (
        (None, {"fields": (host, guest, columns.stated(), "note", "description")}),
        (_("What is shared"), {"fields": ("dst", "services", "src")}),
        (
            _("Its life"),
            {
                "fields": (
                    *(columns.at("offered_at", _("offered")), "offered_by", columns.at("accepted_at", _("accepted")), "accepted_by"),
                    *(columns.at("ended_at", _("ended")), "ended_by"),
                )
            },
        ),
    )
    add_form = OfferForm
    add_lead = _("Nothing is shared until it is accepted for the guest. Both tenants have to live on one cluster by then.")
    verbs = (
        Verb(
            "accept",
            _("Accept for the guest"),
            _("Devices of the guest reach what the host shares, about a second later."),
            lambda row, act: peerings.accept(row, act.said["src"], **act.told),
            fits=lambda row: row.state == Peering.State.OFFERED,
            form=AcceptForm,
        ),
        Verb(
            "end",
            _("End"),
            _("Nothing is shared from now on. It cannot be undone, but offered anew."),
            lambda row, act: peerings.end(row, by=None, **act.told),
            fits=lambda row: row.state != Peering.State.ENDED,
            grave=True,
            bulk=True,
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Peering]:  # noqa: ARG002 - Django's signature
        return peerings.of(None)

    @admin.display(description=_("shared"))
    def shared(self, row: Peering) -> str:
        return f"{' '.join(row.dst)} : {' '.join(row.services)}"

    @admin.display(description=_("used by"))
    def used_by(self, row: Peering) -> str:
        return " ".join(row.src) or columns.NOTHING

    @admin.display(description=_("note"))
    def note(self, row: Peering) -> str:
        return peerings.note(row) or columns.NOTHING

    def audit_query(self, obj: Peering) -> str:
        return f"peering:{obj.pk}"

    def create(self, act: Act, request: HttpRequest) -> tuple[Peering, str]:  # noqa: ARG002 - the base's signature
        wish = {name: act.said[name] for name in ("dst", "services", "description")}
        made = peerings.offer(act.said["host"], act.said["guest"].account, **wish, **act.told)
        return peerings.of(None).get(pk=made.pk), ""
