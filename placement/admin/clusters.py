"""The operators' pages of fleets and clusters."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from placement import clusters
from placement.admin.base import PlacementAdmin, measured
from placement.models import Cluster, Fleet
from tenants import columns
from tenants.office import Verb

State = Cluster.State


@admin.register(Fleet)
class FleetAdmin(PlacementAdmin):
    list_display = ("name", "base_domain", "headscale_version", "own", columns.at("created_at", _("since")))
    search_fields = ("name",)
    fields = ("name", "base_domain", "headscale_version", "own", "created_at")

    @admin.display(description=_("in our own database"), boolean=True)
    def own(self, fleet: Fleet) -> bool:
        return fleet.is_own


CLUSTER_VERBS = (
    Verb(
        "cordon",
        _("Cordon"),
        _("It takes no new tenants. Those that live on it stay, and go on enrolling devices."),
        lambda row, act: clusters.cordon(row, **act.told),
        fits=lambda row: row.state in (State.ACTIVE, State.DRAINING),
        bulk=True,
    ),
    Verb(
        "uncordon",
        _("Uncordon"),
        _("It takes new tenants again."),
        lambda row, act: clusters.uncordon(row, **act.told),
        fits=lambda row: row.state in (State.CORDONED, State.DRAINING),
        bulk=True,
    ),
    Verb(
        "drain",
        _("Drain"),
        _("It takes no new tenants, and those that live on it are to move away."),
        lambda row, act: clusters.drain(row, **act.told),
        fits=lambda row: row.state in (State.ACTIVE, State.CORDONED),
        bulk=True,
    ),
    Verb(
        "offline",
        _("Take offline"),
        _("It is neither polled nor asked, and its tenants enrol no devices. `manage.py cluster register` brings it back."),
        lambda row, act: clusters.offline(row, **act.told),
        fits=lambda row: row.state != State.OFFLINE,
        grave=True,
    ),
)


@admin.register(Cluster)
class ClusterAdmin(PlacementAdmin):
    list_display = ("cluster_id", columns.stated(), "region", "service_class", "kind", "made_of", "promised", "load", "polled", "version")
    list_filter = ("state", "region", "service_class", "residency", "kind", "fleet")
    search_fields = ("cluster_id", "region", "client_url")
    list_select_related = ("fleet", "watch", "heat", "reserved_for")
    fieldsets = (
        (None, {"fields": ("cluster_id", columns.stated(), "made_of", "promised", "load", "polled", "version", "registered_at")}),
        (_("Whom it serves"), {"fields": ("region", "service_class", "residency", "kind", "kept_for")}),
        (
            _("What it may hold"),
            {"fields": ("capacity", "max_tenants", "max_sessions", "cores", "max_queue", "max_peer_seconds", "max_memory")},
        ),
        (
            _("Where it is"),
            {"fields": ("client_url", "admin_url", "metrics_url", "prefix_v4", "prefix_v6", "noise_public_key", "derp_map")},
        ),
    )
    verbs = CLUSTER_VERBS

    @admin.display(description=_("fleet"), ordering="fleet")
    def made_of(self, row: Cluster) -> str:
        return str(_("external")) if row.fleet is None else str(row.fleet)

    @admin.display(description=_("devices promised"), ordering="committed")
    def promised(self, row: Cluster) -> str:
        return columns.meter(row.committed, row.capacity)

    @admin.display(description=_("measured load"), ordering="heat__measured")
    def load(self, row: Cluster) -> str:
        return measured(getattr(row, "heat", None))

    @admin.display(description=_("reserved for"))
    def kept_for(self, row: Cluster) -> str:
        return columns.link_to(row.reserved_for)

    @admin.display(description=_("last complete poll"), ordering="watch__complete_at")
    def polled(self, row: Cluster) -> str:
        watch = getattr(row, "watch", None)
        return columns.ago(timezone.now() - watch.complete_at if watch and watch.complete_at else None)

    def links(self, obj: Cluster) -> list[tuple[Any, str]]:
        of = {"cluster__cluster_id__exact": obj.pk}
        pages = (
            (_("Tenants here"), "binding"),
            (_("Devices"), "device"),
            (_("Grants"), "grant"),
            (_("Poll runs"), "pollrun"),
            (_("Policy pushes"), "policypush"),
        )
        return [(label, reverse(f"admin:placement_{model}_changelist", query=of)) for label, model in pages]
