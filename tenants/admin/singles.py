"""The operators' pages of single devices: those that wait for approval, and those about which an admin has decided."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from tenants import columns, enrolments
from tenants.columns import TenantFilter
from tenants.models import Enrolment
from tenants.office import OperatorAdmin, Verb

State = Enrolment.State


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_("reason"), max_length=300, required=False, help_text=_("For operators and admins; the device is never told.")
    )


ENROLMENT_VERBS = (
    Verb(
        "accept",
        _("Accept"),
        _("The device gets its key when it asks next."),
        lambda enrolment, act: enrolments.accept(enrolment, **act.told),
        fits=lambda enrolment: enrolment.state != State.ENABLED,
        bulk=True,
    ),
    Verb(
        "disable",
        _("Refuse"),
        _("The device gets no keys from now on. Its network access, if it has one, is not touched: delete the device for that."),
        lambda enrolment, act: enrolments.disable(enrolment, reason=act.said["reason"], **act.told),
        fits=lambda enrolment: enrolment.state != State.DISABLED,
        form=ReasonForm,
        grave=True,
        bulk=True,
    ),
    Verb(
        "forget",
        _("Forget"),
        _("What its credential says counts again; under one that needs approval the device waits anew."),
        lambda enrolment, act: enrolments.forget(enrolment, **act.told),
        grave=True,
        ends=True,
    ),
)


@admin.register(Enrolment)
class EnrolmentAdmin(OperatorAdmin):
    list_display = (
        "registration_id",
        columns.linked("tenant", _("tenant")),
        columns.stated(),
        "hostname",
        "os",
        "asked",
        columns.at("asked_at", _("last asked")),
        "reason",
    )
    list_filter = (TenantFilter, "state")
    search_fields = ("registration_id", "hostname", "tenant__account")
    list_select_related = ("tenant", "key")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "registration_id",
                    columns.linked("tenant", _("tenant")),
                    columns.stated(),
                    "reason",
                    columns.linked("key", _("asked with")),
                    "hostname",
                    "os",
                    "asked",
                )
            },
        ),
        (_("Settings of its own"), {"fields": ("ephemeral", "key_lifetime", "re_enrolment", "tags")}),
        (_("Times"), {"fields": ("created_at", "asked_at", "decided_at", "decided_by")}),
    )
    verbs = ENROLMENT_VERBS

    def audit_query(self, obj: Enrolment) -> str:
        return f"enrolment:{obj.registration_id}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Enrolment]:
        return super().get_queryset(request).order_by("-asked_at", "registration_id")
