"""The operators' pages of enrolment groups."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from tenants import columns, credentials, groups
from tenants.admin.base import CredentialForm, LinesField, credential_state, ephemeral_field, settings_of, tenant_field
from tenants.columns import TenantFilter
from tenants.models import EnrolmentGroup, EnrolmentKey
from tenants.office import Act, OperatorAdmin, Text, Verb

ONCE = _(
    "This is the only time that it is shown. Whoever has it can make a key for every device of the group: it belongs in the factory and nowhere else."
)


class GroupForm(CredentialForm):
    field_order: tuple[str, ...] = ("description", "allowed", "denied")
    description = forms.CharField(label=_("description"), max_length=200, required=False)
    allowed = LinesField(
        label=_("allowed registration ids"), required=False, help_text=_("Patterns with * and ?, a line each. Empty: all.")
    )
    denied = LinesField(label=_("denied registration ids"), required=False, help_text=_("They win over the allowed ones."))
    ephemeral = ephemeral_field()
    approval = forms.BooleanField(label=_("approval needed"), required=False, help_text=_("A device waits until an admin accepts it."))
    re_enrolment = forms.ChoiceField(label=_("a device that asks again"), choices=EnrolmentKey.ReEnrolment.choices)
    want_region = forms.SlugField(label=_("region"), max_length=32, required=False, help_text=_("Guides the tenant's first placement."))
    want_cluster = forms.SlugField(
        label=_("cluster"), max_length=32, required=False, help_text=_("Guides the tenant's first placement, if it has room.")
    )


class NewGroupForm(GroupForm):
    tenant = tenant_field(EnrolmentGroup)
    name = forms.SlugField(label=_("name"), max_length=40)
    field_order = ("tenant", "name", *GroupForm.field_order)


def settings_now(group: EnrolmentGroup) -> dict[str, Any]:
    """A group as its form shows it."""
    key = group.key
    names = ("description", "max_devices", "ephemeral", "tags", "approval", "re_enrolment", "want_region", "want_cluster")
    minutes = max(1, round(key.key_lifetime.total_seconds() / 60))
    own: dict[str, Any] = {name: getattr(key, name) for name in names}
    return {**own, "allowed": group.allowed, "denied": group.denied, "lifetime_minutes": minutes}


def lives(group: EnrolmentGroup) -> bool:
    return group.key.revoked_at is None


def rotation(which: groups.Which, label: Text) -> Verb:
    return Verb(
        f"rotate-{which}",
        label,
        _("Device keys that were derived from the old secret are worth nothing from now on; those of the other one go on working."),
        lambda group, act: groups.rotate(group, which, **act.told),
        fits=lives,
        grave=True,
        once=ONCE,
    )


GROUP_VERBS = (
    Verb(
        "change",
        _("Change"),
        _("It holds for what is asked from now on. Devices that have joined stay."),
        lambda group, act: groups.change(group, **settings_of(act.said), **act.told),
        fits=lives,
        form=GroupForm,
        initial=settings_now,
    ),
    rotation("primary", _("Replace the first secret")),
    rotation("secondary", _("Replace the second secret")),
    Verb(
        "revoke",
        _("Revoke"),
        _(
            "No device gets in with it from now on, and keys that it obtained and nobody used are withdrawn. Devices that have joined stay. It cannot be undone."
        ),
        lambda group, act: credentials.revoke(group.key, **act.told),
        fits=lives,
        grave=True,
        bulk=True,
    ),
)


@admin.register(EnrolmentGroup)
class EnrolmentGroupAdmin(OperatorAdmin):
    list_display = ("name", columns.linked("tenant", _("tenant")), "state", "devices", "needs_approval", "admits", "last_used")
    list_filter = (TenantFilter, "key__approval", columns.has("key__revoked_at", _("revoked")))
    search_fields = ("name", "key__description", "tenant__account", "=key__id")
    list_select_related = ("tenant", "key__tenant")
    fieldsets = (
        (None, {"fields": ("name", columns.linked("tenant", _("tenant")), "identity", "about", "state", "devices", "admits", "refuses")}),
        (_("What its devices get"), {"fields": ("lifetime", "tagged", "needs_approval", "asked_again", "hints")}),
        (_("Times"), {"fields": ("primary_made_at", "secondary_made_at", "last_used")}),
    )
    add_form = NewGroupForm
    add_lead = _("Its devices sign with keys of their own, which are derived from one of its two secrets; clients/SIGNING.md says how.")
    once = ONCE
    verbs = GROUP_VERBS

    @admin.display(description=_("what devices sign as “group”"))
    def identity(self, group: EnrolmentGroup) -> str:
        return columns.code(str(group.pk))

    @admin.display(description=_("description"))
    def about(self, group: EnrolmentGroup) -> str:
        return group.key.description or columns.NOTHING

    @admin.display(description=_("state"))
    def state(self, group: EnrolmentGroup) -> str:
        return credential_state(group.key)

    @admin.display(description=_("devices"), ordering="key__devices")
    def devices(self, group: EnrolmentGroup) -> str:
        key = group.key
        return columns.meter(key.devices, key.max_devices) if key.max_devices is not None else str(key.devices)

    @admin.display(description=_("approval needed"), boolean=True, ordering="key__approval")
    def needs_approval(self, group: EnrolmentGroup) -> bool:
        return group.key.approval

    @admin.display(description=_("allowed registration ids"))
    def admits(self, group: EnrolmentGroup) -> str:
        return ", ".join(group.allowed) or str(_("all"))

    @admin.display(description=_("denied registration ids"))
    def refuses(self, group: EnrolmentGroup) -> str:
        return ", ".join(group.denied) or columns.NOTHING

    @admin.display(description=_("keys live"))
    def lifetime(self, group: EnrolmentGroup) -> str:
        return columns.duration(group.key.key_lifetime)

    @admin.display(description=_("tags"))
    def tagged(self, group: EnrolmentGroup) -> str:
        return columns.listed(group.key.tags)

    @admin.display(description=_("a device that asks again"))
    def asked_again(self, group: EnrolmentGroup) -> str:
        return str(group.key.get_re_enrolment_display())

    @admin.display(description=_("region or cluster"))
    def hints(self, group: EnrolmentGroup) -> str:
        return ", ".join(hint for hint in (group.key.want_region, group.key.want_cluster) if hint) or columns.NOTHING

    @admin.display(description=_("last used"), ordering="key__last_used_at")
    def last_used(self, group: EnrolmentGroup) -> str:
        return columns.at("last_used_at", "")(group.key)

    def create(self, act: Act, request: HttpRequest) -> tuple[EnrolmentGroup, str]:  # noqa: ARG002 - the base's signature
        group, made = groups.make(act.said["tenant"], act.said["name"], **settings_of(act.said), **act.told)
        return group, f"primary: {made.primary}\nsecondary: {made.secondary}"
