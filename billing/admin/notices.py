"""The operators' pages of what customers are told by e-mail, and of tenants that are not dunned for a while."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from billing import holds
from billing.models import DunningHold, Notice
from billing.notices import sending
from tenants import columns
from tenants.admin.base import tenant_field
from tenants.columns import TenantFilter
from tenants.office import Act, OperatorAdmin, Verb

tenant = columns.linked("tenant", _("tenant"))


class HoldForm(forms.Form):
    until = forms.DateTimeField(label=_("until"), help_text=_("A day, such as 2026-08-15, and a time if it matters; in UTC."))
    reason = forms.CharField(label=_("reason"), max_length=300)


class NewHoldForm(HoldForm):
    tenant = tenant_field(DunningHold)
    field_order = ("tenant", "until", "reason")


@admin.register(DunningHold)
class DunningHoldAdmin(OperatorAdmin):
    list_display: Any = (tenant, columns.at("until", _("until")), "reason", columns.at("held_at", _("since")), "held_by")
    search_fields = ("tenant__account", "reason")
    list_select_related = ("tenant",)
    fields: ClassVar[Any] = (tenant, "until", "reason", "held_at", "held_by")
    add_form = NewHoldForm
    add_lead = _("The tenant is not dunned further until then, whatever it owes. It ends by itself.")
    verbs = (
        Verb(
            "end",
            _("End"),
            _("It is dunned again, one stage at a time, by the days since its last stage."),
            lambda held, act: holds.release(held.tenant, **act.told),
            ends=True,
        ),
    )

    def audit_query(self, obj: DunningHold) -> str:
        return obj.tenant.account

    def create(self, act: Act, request: HttpRequest) -> tuple[DunningHold, str]:  # noqa: ARG002 - the base's signature
        return holds.hold(**act.said, **act.told), ""


@admin.register(Notice)
class NoticeAdmin(OperatorAdmin):
    list_display: Any = (
        columns.at("made_at", _("made")),
        tenant,
        "kind",
        columns.linked("invoice", _("invoice")),
        columns.stated(),
        "tries",
        "problem",
        "recipient",
        columns.at("settled_at", _("settled")),
    )
    list_filter = ("state", "kind", TenantFilter)
    search_fields = ("tenant__account", "invoice__name", "recipient", "problem")
    list_select_related = ("tenant", "invoice")
    fields: ClassVar[Any] = (
        *(tenant, "kind", columns.linked("invoice", _("invoice")), columns.stated(), "event", "facts", "recipient", "tries", "problem"),
        *("made_at", "next_at", "claimed_until", "settled_at"),
    )
    verbs = (
        Verb(
            "again",
            _("Send again"),
            _("It is tried for days once more, if it is still so and the tenant wants notices."),
            lambda notice, act: sending.again(notice, **act.told),
            fits=lambda notice: notice.state in (Notice.State.GIVEN_UP, Notice.State.DROPPED),
            bulk=True,
        ),
    )

    def audit_query(self, obj: Notice) -> str:
        return obj.event
