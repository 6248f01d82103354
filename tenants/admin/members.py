"""The operators' pages of members: who belongs to a tenant, in which role."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from tenants import columns, members, people
from tenants.admin.base import tenant_field
from tenants.columns import TenantFilter
from tenants.errors import MalformedRequest
from tenants.models import Membership
from tenants.office import Act, OperatorAdmin, Verb

person = columns.linked("user", _("person"))


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=_("role"), choices=Membership.Role.choices)


class NewMemberForm(RoleForm):
    tenant = tenant_field(Membership)
    email = forms.EmailField(label=_("e-mail address"))
    new = forms.BooleanField(
        label=_("make the person"), required=False, help_text=_("Nobody has this address yet. You vouch that it is the person's own.")
    )
    field_order = ("tenant", "email", "role", "new")


@admin.register(Membership)
class MembershipAdmin(OperatorAdmin):
    list_display = (columns.at("created_at", _("since")), person, columns.linked("tenant", _("tenant")), columns.stated("role", _("role")))
    list_filter = (TenantFilter, "role")
    search_fields = ("user__username", "user__email", "tenant__account")
    list_select_related = ("user", "tenant")
    fields = (person, columns.linked("tenant", _("tenant")), "role", "created_at")
    add_form = NewMemberForm
    add_lead = _("Owners, admins and members may add devices by signing in.")
    once = _("Give this link to the person: whoever opens it chooses the password. It works once, for three days.")
    verbs = (
        Verb(
            "role",
            _("Change role"),
            _("What the person may do in the tenant changes at once. Its last owner stays one."),
            lambda held, act: members.change_role(held, act.said["role"], **act.told),
            form=RoleForm,
            initial=lambda held: {"role": held.role},
        ),
        Verb(
            "remove",
            _("Remove"),
            _("The person may do nothing in the tenant any more. Devices that they brought stay."),
            lambda held, act: members.remove(held, **act.told),
            grave=True,
            ends=True,
        ),
    )

    def audit_query(self, obj: Membership) -> str:
        return f"person:{obj.user_id}"

    @transaction.atomic
    def create(self, act: Act, request: HttpRequest) -> tuple[Membership, str]:  # noqa: ARG002 - the base's signature
        said = act.said
        made = people.make(said["email"], **act.told) if said["new"] else None
        who = made or people.find(said["email"])
        if who is None:
            raise MalformedRequest({"email": _now("nobody has verified this address")})
        held = members.add(said["tenant"], who, said["role"], **act.told)
        return held, settings.PUBLIC_URL + people.password_path(made) if made else ""
