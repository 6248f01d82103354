"""The operators' pages of clusters, of who lives where, of promised keys and devices, and of what servers reported."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from placement import clusters, device_verbs
from placement.errors import PlacementError
from placement.models import Binding, Cluster, Device, Fleet, Grant, LoadSample, OutboxEvent, PollRun, Slot, Watch
from tenants import columns
from tenants.admin import TenantAdmin
from tenants.columns import TenantFilter
from tenants.errors import TenantError
from tenants.keyring import Unsealable
from tenants.models import Tenant
from tenants.office import OperatorAdmin, Verb

State = Cluster.State
tenant, cluster, slot, grant = (
    columns.linked("tenant", _("tenant")),
    columns.linked("cluster", _("cluster")),
    columns.linked("slot", _("slot")),
    columns.linked("grant", _("grant")),
)


class PlacementAdmin(OperatorAdmin):
    refusals: ClassVar[tuple[type[Exception], ...]] = (TenantError, PlacementError, Unsealable)


class ClusterFilter(admin.RelatedFieldListFilter):
    """By cluster, under a title that is translated."""

    def __init__(self, *facts: Any, **more: Any) -> None:
        super().__init__(*facts, **more)
        self.title = _("cluster")


class DeviceNameForm(forms.Form):
    name = forms.CharField(label=_("name"), max_length=63, help_text=_("One DNS label: lower case letters, digits and hyphens."))


# ---- clusters --------------------------------------------------------------------------------------------------------


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
    list_display = ("cluster_id", columns.stated(), "region", "kind", "made_of", "promised", "polled", "version")
    list_filter = ("state", "region", "kind", "fleet")
    search_fields = ("cluster_id", "region", "client_url")
    list_select_related = ("fleet", "watch")
    fieldsets = (
        (None, {"fields": ("cluster_id", columns.stated(), "region", "kind", "made_of", "promised", "polled", "version", "registered_at")}),
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

    @admin.display(description=_("last complete poll"), ordering="watch__complete_at")
    def polled(self, row: Cluster) -> str:
        watch = getattr(row, "watch", None)
        return columns.ago(timezone.now() - watch.complete_at if watch and watch.complete_at else None)

    def links(self, obj: Cluster) -> list[tuple[Any, str]]:
        of = {"cluster__cluster_id__exact": obj.pk}
        pages = ((_("Tenants here"), "binding"), (_("Devices"), "device"), (_("Grants"), "grant"), (_("Poll runs"), "pollrun"))
        return [(label, reverse(f"admin:placement_{model}_changelist", query=of)) for label, model in pages]


# ---- who lives where -------------------------------------------------------------------------------------------------


class PlacedTenantAdmin(TenantAdmin):
    """The tenant's page, with what only placement knows."""

    list_display = (*TenantAdmin.list_display[:-1], "lives_on", columns.at("created_at", _("created")))
    list_filter = (*TenantAdmin.list_filter, ("binding__cluster", ClusterFilter))
    list_select_related = (*TenantAdmin.list_select_related, "binding__cluster")
    fieldsets = (
        (None, {"fields": (*TenantAdmin.fieldsets[0][1]["fields"], "lives_on")}),
        *TenantAdmin.fieldsets[1:],
    )

    @admin.display(description=_("cluster"), ordering="binding__cluster")
    def lives_on(self, row: Any) -> str:
        binding = getattr(row, "binding", None)
        return columns.link_to(binding.cluster if binding else None)

    def links(self, obj: Tenant) -> list[tuple[Any, str]]:
        pages = ((_("Devices"), "device"), (_("Grants"), "grant"), (_("Slots"), "slot"))
        return super().links(obj) + [
            (label, reverse(f"admin:placement_{model}_changelist", query={"account": obj.account})) for label, model in pages
        ]


admin.site.unregister(Tenant)
admin.site.register(Tenant, PlacedTenantAdmin)


@admin.register(Binding)
class BindingAdmin(PlacementAdmin):
    list_display = (tenant, cluster, "expected_load", "reason", "headscale_user_id", columns.at("created_at", _("since")))
    list_display_links = ("reason",)
    list_filter = (TenantFilter, ("cluster", ClusterFilter))
    search_fields = ("tenant__account", "cluster__cluster_id", "reason")
    list_select_related = ("tenant", "cluster")
    fields = (tenant, cluster, "expected_load", "reason", "headscale_user_id", "created_at")


@admin.register(Slot)
class SlotAdmin(PlacementAdmin):
    list_display = (columns.at("taken_at", _("taken")), tenant, "registration_id", columns.at("released_at", _("released")))
    list_filter = (TenantFilter, columns.has("released_at", _("released")))
    search_fields = ("registration_id", "tenant__account")
    list_select_related = ("tenant",)
    ordering = ("-taken_at", "id")
    fields = ("id", tenant, "registration_id", "taken_at", "released_at")


@admin.register(Grant)
class GrantAdmin(PlacementAdmin):
    list_display = (
        columns.at("created_at", _("promised")),
        columns.stated(),
        tenant,
        cluster,
        "hostname",
        "joined_as",
        columns.linked("enrolment_key", _("enrolment key")),
        columns.at("expires_at", _("key expires")),
    )
    list_filter = ("state", TenantFilter, ("cluster", ClusterFilter), columns.has("settled_at", _("settled")))
    search_fields = ("=id", "tenant__account", "hostname", "key_prefix", "slot__registration_id")
    list_select_related = ("tenant", "cluster", "enrolment_key")
    fieldsets = (
        (
            None,
            {"fields": ("id", columns.stated(), tenant, cluster, slot, columns.linked("enrolment_key", _("enrolment key")), "joined_as")},
        ),
        (_("What was asked"), {"fields": ("hostname", "os", "idempotency_key")}),
        (_("The key on the server"), {"fields": ("key_id", "key_prefix", "keyring_id")}),
        (_("Times"), {"fields": ("created_at", "issued_at", "expires_at", "redeemed_at", "settled_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Grant]:
        return super().get_queryset(request).prefetch_related(Prefetch("devices", Device.objects.across_tenants()))

    @admin.display(description=_("device"))
    def joined_as(self, row: Grant) -> str:
        return format_html_join(", ", "{}", ((columns.link_to(device),) for device in row.devices.all())) or columns.NOTHING


DEVICE_VERBS = (
    Verb(
        "rename",
        _("Rename"),
        _("Its name in the tenant's network changes at once; the others reach it under the new one."),
        lambda row, act: device_verbs.rename(row, act.said["name"], **act.told),
        fits=lambda row: row.gone_at is None,
        form=DeviceNameForm,
        initial=lambda row: {"name": row.name},
    ),
    Verb(
        "expire",
        _("Expire"),
        _("Its login ends now: it is offline until it signs in again."),
        lambda row, act: device_verbs.expire(row, **act.told),
        fits=lambda row: row.gone_at is None,
        grave=True,
    ),
    Verb(
        "delete",
        _("Delete"),
        _("It leaves the tenant's network, and its slot is free again. It cannot be undone: to come back it has to enrol anew."),
        lambda row, act: device_verbs.delete(row, **act.told),
        fits=lambda row: row.gone_at is None,
        grave=True,
    ),
)


@admin.register(Device)
class DeviceAdmin(PlacementAdmin):
    list_display = (
        "name",
        "standing",
        tenant,
        cluster,
        "ipv4",
        columns.at("last_seen", _("last seen")),
        columns.at("joined_at", _("joined")),
        "flagged",
    )
    list_filter = ("online", TenantFilter, ("cluster", ClusterFilter), "unexpected", "ephemeral", columns.has("gone_at", _("gone")))
    search_fields = ("name", "hostname", "ipv4", "ipv6", "tenant__account", "slot__registration_id")
    list_select_related = ("tenant", "cluster")
    fieldsets = (
        (None, {"fields": ("name", "standing", "flagged", tenant, cluster, slot, grant)}),
        (_("The node on the server"), {"fields": ("node_id", "hostname", "ipv4", "ipv6", "tags", "ephemeral", "machine_key", "node_key")}),
        (_("Times"), {"fields": ("joined_at", "last_seen", "seen_at", "key_expires_at", "gone_at")}),
    )
    verbs = DEVICE_VERBS

    @admin.display(description=_("state"), ordering="online")
    def standing(self, row: Device) -> str:
        if row.gone_at:
            return columns.badge("gone", _("gone"))
        return columns.badge("online", _("online")) if row.online else columns.badge("offline", _("offline"))

    @admin.display(description=_("unexpected"), ordering="unexpected")
    def flagged(self, row: Device) -> str:
        words = {"no-grant": _("came without a grant"), "second-machine": _("second machine on one registration id")}
        return columns.badge("unexpected", words.get(row.unexpected, row.unexpected)) if row.unexpected else columns.NOTHING

    def audit_query(self, obj: Device) -> str:
        return f"device:{obj.pk}"


# ---- what servers reported -------------------------------------------------------------------------------------------


@admin.register(Watch)
class WatchAdmin(PlacementAdmin):
    list_display = (
        cluster,
        columns.at("complete_at", _("last complete poll started")),
        columns.at("attempted_at", _("last poll started")),
        "nodes",
        "failures",
    )
    list_display_links = ("nodes",)
    list_select_related = ("cluster",)
    fields = (cluster, "complete_at", "attempted_at", "nodes", "failures")
    ordering = ("cluster",)


@admin.register(PollRun)
class PollRunAdmin(PlacementAdmin):
    list_display = (
        columns.at("started_at", _("started")),
        cluster,
        columns.stated("outcome", _("outcome")),
        "online",
        "nodes",
        "took",
        "reason",
    )
    list_filter = ("outcome", ("cluster", ClusterFilter))
    search_fields = ("cluster__cluster_id", "reason")
    list_select_related = ("cluster",)
    fields = ("started_at", cluster, columns.stated("outcome", _("outcome")), "online", "nodes", "took", "reason")

    @admin.display(description=_("seconds taken"), ordering="seconds")
    def took(self, run: PollRun) -> str:
        return f"{run.seconds:.2f}"


@admin.register(LoadSample)
class LoadSampleAdmin(PlacementAdmin):
    list_display = (columns.at("at", _("at")), cluster, "sessions", "memory", "queue_depth", "cpu", "p95")
    list_filter = (("cluster", ClusterFilter),)
    list_select_related = ("cluster",)
    fields = ("at", cluster, "sessions", "memory", "queue_depth", "cpu", "peer_calculations", "p95")

    @admin.display(description=_("resident memory"), ordering="memory_bytes")
    def memory(self, sample: LoadSample) -> str:
        return f"{sample.memory_bytes / 2**20:.1f} MiB"

    @admin.display(description=_("CPU seconds since the server's start"), ordering="cpu_seconds")
    def cpu(self, sample: LoadSample) -> str:
        return f"{sample.cpu_seconds:.1f}"

    @admin.display(description=_("peer calculation p95"), ordering="peer_calculation_p95")
    def p95(self, sample: LoadSample) -> str:
        return columns.NOTHING if sample.peer_calculation_p95 is None else f"{sample.peer_calculation_p95 * 1000:.1f} ms"


@admin.register(OutboxEvent)
class OutboxEventAdmin(PlacementAdmin):
    list_display = ("id", columns.at("at", _("at")), "kind", "cluster_id", "node_id", "key_id", "user_id")
    list_filter = ("kind",)
    search_fields = ("cluster_id", "kind")
    fields = ("id", "at", "kind", "cluster_id", "node_id", "key_id", "user_id")

    def heading(self) -> str:
        return str(_("Outbox: what servers wrote and nobody has handled yet"))
