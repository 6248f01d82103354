"""What the pages of credentials share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants import columns
from tenants.models import ApiToken, EnrolmentKey, Tenant


def tenant_field(model: type[Any], **options: Any) -> forms.ModelChoiceField[Tenant]:
    widget = AutocompleteSelect(model._meta.get_field("tenant"), admin.site)
    return forms.ModelChoiceField(Tenant.objects.all(), label=_("tenant"), widget=widget, **options)


class LinesField(forms.CharField):
    """Words, a line each."""

    widget = forms.Textarea(attrs={"rows": 3})

    def clean(self, value: Any) -> list[str]:
        return [line.strip() for line in str(super().clean(value) or "").splitlines() if line.strip()]

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value


def tags_field() -> LinesField:
    help_text = _("A line each, such as tag:web; the tenant's policy has to declare them. Its devices belong to these instead of a person.")
    return LinesField(label=_("tags"), required=False, help_text=help_text)


class CredentialForm(forms.Form):
    """What every credential may have that is no bearer key."""

    max_devices = forms.IntegerField(
        label=_("devices at most"),
        min_value=1,
        required=False,
        help_text=_("At once, through this credential. Empty: as many as the quota allows."),
    )
    lifetime_minutes = forms.IntegerField(
        label=_("lifetime of the keys handed out, in minutes"), min_value=2, max_value=24 * 60, initial=60
    )
    tags = tags_field()


def ephemeral_field(*, initial: bool = False) -> forms.BooleanField:
    help_text = _("A device is removed some time after it goes offline.")
    return forms.BooleanField(label=_("ephemeral devices"), required=False, initial=initial, help_text=help_text)


def settings_of(said: dict[str, Any]) -> dict[str, Any]:
    """A filled-in form as the verbs want it."""
    wish = {name: value for name, value in said.items() if name not in ("tenant", "name", "lifetime_minutes")}
    return {**wish, "key_lifetime": timedelta(minutes=said["lifetime_minutes"])}


@admin.display(description=_("state"))
def credential_state(credential: EnrolmentKey | ApiToken) -> str:
    """Why it does, or does not, let anybody in now."""
    if credential.revoked_at:
        return columns.badge("revoked", _("revoked"))
    if credential.expires_at and credential.expires_at <= timezone.now():
        return columns.badge("expired", _("expired"))
    if isinstance(credential, EnrolmentKey) and credential.max_uses is not None and credential.uses >= credential.max_uses:
        return columns.badge("used-up", _("used up"))
    return columns.badge("active", _("valid"))


@admin.display(description=_("first characters"), ordering="hint")
def hint(credential: EnrolmentKey | ApiToken) -> str:
    return columns.code(str(credential))


state_of_credential: columns.Column = credential_state
first_characters: columns.Column = hint
