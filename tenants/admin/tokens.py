"""The operators' pages of API tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from tenants import columns, tokens
from tenants.admin.base import first_characters, state_of_credential, tenant_field
from tenants.columns import TenantFilter
from tenants.models import ApiToken
from tenants.office import Act, OperatorAdmin, Verb


class NewTokenForm(forms.Form):
    tenant = tenant_field(ApiToken, required=False, help_text=_("Empty: an operator's token, for every tenant."))
    description = forms.CharField(label=_("description"), max_length=200, required=False)
    scopes = forms.MultipleChoiceField(
        label=_("scopes"), choices=[(scope, scope) for scope in tokens.known_scopes(None)], widget=forms.CheckboxSelectMultiple
    )
    valid_days = forms.IntegerField(label=_("valid for, in days"), min_value=1, max_value=tokens.LONGEST.days, initial=90)


@admin.register(ApiToken)
class ApiTokenAdmin(OperatorAdmin):
    list_display = (
        first_characters,
        "whose",
        "description",
        state_of_credential,
        "scope_list",
        columns.at("expires_at", _("expires")),
        columns.at("last_used_at", _("last used")),
    )
    list_filter = (TenantFilter, columns.has("tenant", _("of a tenant")), columns.has("revoked_at", _("revoked")))
    search_fields = ("hint", "description", "tenant__account")
    list_select_related = ("tenant",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    first_characters,
                    "whose",
                    "description",
                    state_of_credential,
                    "scope_list",
                    columns.linked("created_by", _("created by")),
                )
            },
        ),
        (_("Times"), {"fields": ("created_at", "expires_at", "last_used_at", "revoked_at")}),
    )
    add_form = NewTokenForm
    add_lead = _("A program that presents it may do on /api/v1 what its scopes name.")
    once = _("This is the only time that it is shown: the database keeps a hash of it. Give it to the program that is to use it.")
    verbs = (
        Verb(
            "revoke",
            _("Revoke"),
            _("Programs that use it are refused from now on. It cannot be undone."),
            lambda token, act: tokens.revoke(token, **act.told),
            fits=lambda token: token.revoked_at is None,
            grave=True,
            bulk=True,
        ),
    )

    @admin.display(description=_("whose"), ordering="tenant__account")
    def whose(self, token: ApiToken) -> str:
        return columns.link_to(token.tenant) if token.tenant else str(_("operators"))

    @admin.display(description=_("scopes"))
    def scope_list(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    def create(self, act: Act, request: HttpRequest) -> tuple[ApiToken, str]:
        said = act.said
        return tokens.issue(
            said["tenant"],
            scopes=said["scopes"],
            lifetime=timedelta(days=said["valid_days"]),
            description=said["description"],
            created_by=cast(User, request.user),
            **act.told,
        )
