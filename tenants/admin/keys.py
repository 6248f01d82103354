"""The operators' pages of enrolment keys."""

from __future__ import annotations

from datetime import timedelta

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from tenants import columns, credentials
from tenants.admin.base import first_characters, hint, state_of_credential, tags_field, tenant_field
from tenants.columns import TenantFilter
from tenants.models import EnrolmentKey
from tenants.office import Act, OperatorAdmin, Verb


class NewKeyForm(forms.Form):
    tenant = tenant_field(EnrolmentKey)
    description = forms.CharField(label=_("description"), max_length=200, required=False)
    max_uses = forms.IntegerField(
        label=_("uses at most"), min_value=1, required=False, help_text=_("1 makes it single-use. Empty: no limit but the quota.")
    )
    valid_days = forms.IntegerField(
        label=_("valid for, in days"), min_value=1, max_value=3650, required=False, help_text=_("Empty: until it is revoked.")
    )
    lifetime_minutes = forms.IntegerField(
        label=_("lifetime of the keys handed out, in minutes"), min_value=2, max_value=24 * 60, initial=60
    )
    ephemeral = forms.BooleanField(
        label=_("ephemeral devices"), required=False, help_text=_("A device is removed some time after it goes offline.")
    )
    tags = tags_field()


@admin.register(EnrolmentKey)
class EnrolmentKeyAdmin(OperatorAdmin):
    list_display = (
        hint,
        "kind",
        columns.linked("tenant", _("tenant")),
        "description",
        state_of_credential,
        "used",
        "lifetime",
        columns.at("expires_at", _("expires")),
        columns.at("last_used_at", _("last used")),
    )
    list_filter = (TenantFilter, "kind", "ephemeral", columns.has("revoked_at", _("revoked")))
    search_fields = ("hint", "description", "tenant__account")
    list_select_related = ("tenant",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    first_characters,
                    "kind",
                    columns.linked("tenant", _("tenant")),
                    "description",
                    state_of_credential,
                    "used",
                    "ephemeral",
                    "tagged",
                    "lifetime",
                )
            },
        ),
        (_("Times"), {"fields": ("created_at", "expires_at", "last_used_at", "revoked_at")}),
    )
    add_form = NewKeyForm
    add_lead = _("Devices that present it get a key of the tenant's network, as long as the quota lasts.")
    once = _(
        "This is the only time that it is shown: the database keeps a hash of it. Give it to the device, or to whoever sets devices up."
    )
    verbs = (
        Verb(
            "revoke",
            _("Revoke"),
            _(
                "No device gets in with it from now on, and keys that it obtained and nobody used are withdrawn. Devices that have joined stay. It cannot be undone."
            ),
            lambda key, act: credentials.revoke(key, **act.told),
            fits=lambda key: key.revoked_at is None,
            grave=True,
            bulk=True,
        ),
    )

    @admin.display(description=_("uses"), ordering="uses")
    def used(self, key: EnrolmentKey) -> str:
        return columns.meter(key.uses, key.max_uses) if key.max_uses is not None else str(key.uses)

    @admin.display(description=_("keys live"), ordering="key_lifetime")
    def lifetime(self, key: EnrolmentKey) -> str:
        return columns.duration(key.key_lifetime)

    @admin.display(description=_("tags"))
    def tagged(self, key: EnrolmentKey) -> str:
        return columns.listed(key.tags)

    def create(self, act: Act, request: HttpRequest) -> tuple[EnrolmentKey, str]:  # noqa: ARG002 - the base's signature
        said = act.said
        return credentials.issue(
            said["tenant"],
            description=said["description"],
            max_uses=said["max_uses"],
            expires_at=act.now + timedelta(days=said["valid_days"]) if said["valid_days"] else None,
            ephemeral=said["ephemeral"],
            tags=said["tags"],
            key_lifetime=timedelta(minutes=said["lifetime_minutes"]),
            **act.told,
        )
