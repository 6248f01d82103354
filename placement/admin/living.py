"""The operators' pages of who lives where, of promised keys and of devices."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from placement import device_verbs, residency
from placement.admin.base import ClusterFilter, PlacementAdmin, cluster, tenant
from placement.admin.diagnosis import why_of, why_of_device
from placement.models import Binding, Device, Grant, Slot
from placement.policies.facts import tenant_tag
from tenants import columns
from tenants.admin.base import tags_field
from tenants.admin.tenancy import TenantAdmin
from tenants.columns import TenantFilter
from tenants.models import Tenant
from tenants.office import Verb

slot, grant = columns.linked("slot", _("slot")), columns.linked("grant", _("grant"))


class DeviceNameForm(forms.Form):
    name = forms.CharField(label=_("name"), max_length=63, help_text=_("One DNS label: lower case letters, digits and hyphens."))


class DeviceTagsForm(forms.Form):
    tags = tags_field()


class ResidencyForm(forms.Form):
    residency = forms.SlugField(label=_("residency"), max_length=32, required=False, help_text=_("Empty: anywhere."))


RESIDENCY = Verb(
    "residency",
    _("Change residency"),
    _("The tenant's data must stay there from now on. Where its cluster does not keep that residency, the tenant has to move first."),
    lambda row, act: residency.change(row, act.said["residency"], **act.told),
    fits=lambda row: row.state != Tenant.State.CLOSED,
    form=ResidencyForm,
    initial=lambda row: {"residency": row.residency},
)


class PlacedTenantAdmin(TenantAdmin):
    """The tenant's page, with what only placement knows."""

    list_display = (*TenantAdmin.list_display[:-1], "lives_on", columns.at("created_at", _("created")))
    list_filter = (*TenantAdmin.list_filter, ("binding__cluster", ClusterFilter))
    list_select_related = (*TenantAdmin.list_select_related, "binding__cluster")
    verbs = (*TenantAdmin.verbs[:-2], RESIDENCY, *TenantAdmin.verbs[-2:])
    fieldsets = (
        (None, {"fields": (*TenantAdmin.fieldsets[0][1]["fields"], "lives_on")}),
        *TenantAdmin.fieldsets[1:],
    )

    @admin.display(description=_("cluster"), ordering="binding__cluster")
    def lives_on(self, row: Any) -> str:
        binding = getattr(row, "binding", None)
        return columns.link_to(binding.cluster if binding else None)

    def links(self, obj: Tenant) -> list[tuple[Any, str]]:
        pages = (
            (_("Devices"), "placement_device"),
            (_("Grants"), "placement_grant"),
            (_("Routes"), "placement_route"),
            (_("Slots"), "placement_slot"),
            (_("Decisions"), "placement_decision"),
            (_("Members"), "tenants_membership"),
        )
        lists = [(label, reverse(f"admin:{model}_changelist", query={"account": obj.account})) for label, model in pages]
        return [*super().links(obj), *lists, (_("Network policy"), reverse("admin:placement_policy_reach", args=[obj.account]))]


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
    list_select_related = ("tenant", "enrolment_key")
    ordering = ("-taken_at", "id")
    fields = ("id", tenant, "registration_id", "proven", columns.linked("enrolment_key", _("taken with")), "taken_at", "released_at")

    def links(self, obj: Slot) -> list[tuple[Any, str]]:
        return why_of(obj.registration_id, obj.tenant.account)


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
        (_("What was asked"), {"fields": ("hostname", "os", "idempotency_key", "tags")}),
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
        "set-tags",
        _("Set tags"),
        _("It belongs to these tags from now on, and to no person any more. A device that has tags never becomes untagged again."),
        lambda row, act: device_verbs.set_tags(row, act.said["tags"], **act.told),
        fits=lambda row: row.gone_at is None,
        form=DeviceTagsForm,
        initial=lambda row: {"tags": [tenant_tag(tag) for tag in row.tags]},
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
        columns.linked("brought_by", _("brought by")),
        "flagged",
    )
    list_filter = ("online", TenantFilter, ("cluster", ClusterFilter), "unexpected", "ephemeral", columns.has("gone_at", _("gone")))
    search_fields = ("name", "hostname", "ipv4", "ipv6", "tenant__account", "slot__registration_id", "brought_by__email")
    list_select_related = ("tenant", "cluster", "brought_by")
    fieldsets = (
        (None, {"fields": ("name", "standing", "flagged", tenant, cluster, slot, grant, columns.linked("brought_by", _("brought by")))}),
        (_("The node on the server"), {"fields": ("node_id", "hostname", "ipv4", "ipv6", "tags", "ephemeral", "machine_key", "node_key")}),
        (_("Times"), {"fields": ("joined_at", "first_online_at", "last_seen", "seen_at", "key_expires_at", "gone_at")}),
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

    def links(self, obj: Device) -> list[tuple[Any, str]]:
        return [*why_of_device(obj), (_("Routes"), reverse("admin:placement_route_changelist", query={"device": obj.pk}))]
