"""The operators' pages of trust policies: whose tokens let a tenant's workloads in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from tenants import columns, credentials, trust
from tenants.admin.base import CredentialForm, credential_state, ephemeral_field, settings_of, tenant_field
from tenants.columns import TenantFilter
from tenants.models import EnrolmentKey, TrustPolicy
from tenants.office import Act, OperatorAdmin, Verb


class PolicyForm(CredentialForm):
    field_order: tuple[str, ...] = ("issuer", "audience", "subject", "claims", "registration_claim", "jwks_uri", "jwks")
    issuer = forms.CharField(label=_("issuer"), max_length=300, help_text=_("Exactly as the tokens' iss claim has it."))
    audience = forms.CharField(label=_("audience"), max_length=300, help_text=_("Exactly what the tokens' aud claim is or holds."))
    subject = forms.CharField(label=_("subject"), max_length=512, help_text=_("A pattern with * and ? for the whole sub claim."))
    claims = forms.JSONField(
        label=_("claims"), required=False, help_text=_("Further claims by name, each with a pattern or a list of patterns.")
    )
    registration_claim = forms.CharField(
        label=_("claim that names the device"),
        max_length=120,
        initial="sub",
        help_text=_("Becomes its registration id: one slot for each value."),
    )
    jwks_uri = forms.CharField(
        label=_("address of its keys"), max_length=500, required=False, help_text=_("Empty: as the issuer's discovery document says.")
    )
    jwks = forms.JSONField(
        label=_("its keys"), required=False, help_text=_("A JSON Web Key Set, for an issuer that cannot be reached from here.")
    )
    ephemeral = ephemeral_field(initial=True)


class NewPolicyForm(PolicyForm):
    tenant = tenant_field(TrustPolicy)
    name = forms.SlugField(label=_("name"), max_length=40)
    field_order = ("tenant", "name", *PolicyForm.field_order)


def policy_of(said: dict[str, Any]) -> dict[str, Any]:
    """A filled-in form as the verbs want it."""
    return {**settings_of(said), "claims": said["claims"] or {}}


def settings_now(policy: TrustPolicy) -> dict[str, Any]:
    """A policy as its form shows it."""
    own = {name: getattr(policy, name) for name in trust.OWN}
    minutes = max(1, round(policy.key.key_lifetime.total_seconds() / 60))
    key = {name: getattr(policy.key, name) for name in ("max_devices", "ephemeral", "tags")}
    return {**own, **key, "lifetime_minutes": minutes}


def lives(policy: TrustPolicy) -> bool:
    return policy.key.revoked_at is None


@admin.register(TrustPolicy)
class TrustPolicyAdmin(OperatorAdmin):
    list_display = ("name", columns.linked("tenant", _("tenant")), "state", "issuer", "subject", "devices", "last_used")
    list_filter = (TenantFilter, columns.has("key__revoked_at", _("revoked")))
    search_fields = ("name", "issuer", "subject", "tenant__account")
    list_select_related = ("tenant", "key__tenant")
    fieldsets = (
        (None, {"fields": ("name", columns.linked("tenant", _("tenant")), "state", "devices", "tagged", "last_used")}),
        (_("Whose tokens"), {"fields": ("issuer", "audience", "subject", "claims", "registration_claim", "jwks_uri", "jwks")}),
    )
    add_form = NewPolicyForm
    add_lead = _("Workloads that present a token of this issuer get a key of the tenant's network; clients/WORKLOADS.md has examples.")
    verbs = (
        Verb(
            "change",
            _("Change"),
            _("It holds for what is asked from now on. Devices that have joined stay."),
            lambda policy, act: trust.change(policy, **policy_of(act.said), **act.told),
            fits=lives,
            form=PolicyForm,
            initial=settings_now,
        ),
        Verb(
            "revoke",
            _("Revoke"),
            _(
                "No device gets in with it from now on, and keys that it obtained and nobody used are withdrawn. Devices that have joined stay. It cannot be undone."
            ),
            lambda policy, act: credentials.revoke(policy.key, **act.told),
            fits=lives,
            grave=True,
            bulk=True,
        ),
    )

    @admin.display(description=_("state"))
    def state(self, policy: TrustPolicy) -> str:
        return credential_state(policy.key)

    @admin.display(description=_("devices"), ordering="key__devices")
    def devices(self, policy: TrustPolicy) -> str:
        key: EnrolmentKey = policy.key
        return columns.meter(key.devices, key.max_devices) if key.max_devices is not None else str(key.devices)

    @admin.display(description=_("tags"))
    def tagged(self, policy: TrustPolicy) -> str:
        return columns.listed(policy.key.tags)

    @admin.display(description=_("last used"), ordering="key__last_used_at")
    def last_used(self, policy: TrustPolicy) -> str:
        return columns.at("last_used_at", "")(policy.key)

    def create(self, act: Act, request: HttpRequest) -> tuple[TrustPolicy, str]:  # noqa: ARG002 - the base's signature
        return trust.make(act.said["tenant"], act.said["name"], **policy_of(act.said), **act.told), ""
