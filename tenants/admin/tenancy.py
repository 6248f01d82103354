"""The operators' pages of plans, tenants, members, credentials and the audit."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.forms import model_to_dict
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from tenants import columns, lifecycle, plans
from tenants.models import Plan, Tenant
from tenants.office import Act, OperatorAdmin, Verb

State = Tenant.State
OPEN = (State.ACTIVE, State.SUSPENDED)


class ReasonForm(forms.Form):
    reason = forms.CharField(label=_("reason"), max_length=200, required=False, help_text=_("Goes into the audit."))


class PlanChoiceForm(forms.Form):
    plan = forms.ModelChoiceField(Plan.objects.all(), label=_("plan"))


class PlanForm(forms.ModelForm):
    class Meta:
        model = Plan
        fields: tuple[str, ...] = ("title", "max_devices", "expected_devices", "regions", "default_region", "service_class", "strategy")


class NewPlanForm(PlanForm):
    class Meta(PlanForm.Meta):
        fields = ("name", *PlanForm.Meta.fields)


class NewTenantForm(forms.Form):
    account = forms.CharField(
        label=_("account"),
        max_length=40,
        help_text=_(
            "Its host name, its headscale user and the prefix of its tags: lower case letters, digits and single hyphens. It stays."
        ),
    )
    title = forms.CharField(label=_("title"), max_length=120, required=False)
    plan = forms.ModelChoiceField(Plan.objects.all(), label=_("plan"))
    residency = forms.SlugField(
        label=_("residency"), max_length=32, required=False, help_text=_("The jurisdiction its data must stay in. Empty: anywhere.")
    )


@admin.register(Plan)
class PlanAdmin(OperatorAdmin):
    list_display = ("name", "title", "max_devices", "expected_devices", "strategy", "service_class", "where", "tenants_on_it")
    list_filter = ("strategy", "service_class")
    search_fields = ("name", "title")
    fields = ("name", "title", "max_devices", "expected_devices", "where", "default_region", "strategy", "service_class", "tenants_on_it")
    add_form = NewPlanForm
    add_lead = _("What a tenant may use. Its limits can be changed later, its name stays.")
    verbs = (
        Verb(
            "change",
            _("Change"),
            _("New limits hold at once for every tenant on the plan. A tenant over its new limit keeps its devices and gets no new keys."),
            lambda plan, act: plans.change(plan, **act.said, **act.told),
            form=PlanForm,
            initial=lambda plan: model_to_dict(plan, PlanForm.Meta.fields),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        return super().get_queryset(request).annotate(tenant_count=Count("tenants"))

    @admin.display(description=_("regions"))
    def where(self, plan: Plan) -> str:
        return ", ".join(plan.regions) or str(_("every region"))

    @admin.display(description=_("tenants"), ordering="tenant_count")
    def tenants_on_it(self, plan: Any) -> int:
        return int(plan.tenant_count)

    def create(self, act: Act, request: HttpRequest) -> tuple[Plan, str]:  # noqa: ARG002 - the base's signature
        return plans.create(**act.said, **act.told), ""


TENANT_VERBS = (
    Verb(
        "suspend",
        _("Suspend"),
        _("No new keys from now on. Its devices stay connected for a grace period of seven days and expire then. Resuming undoes it."),
        lambda tenant, act: lifecycle.suspend(tenant, reason=act.said["reason"], **act.told),
        fits=lambda tenant: tenant.state == State.ACTIVE,
        form=ReasonForm,
        grave=True,
        bulk=True,
    ),
    Verb(
        "resume",
        _("Resume"),
        _("New keys again. Devices that expired meanwhile have to sign in anew."),
        lambda tenant, act: lifecycle.resume(tenant, reason=act.said["reason"], **act.told),
        fits=lambda tenant: tenant.state == State.SUSPENDED,
        form=ReasonForm,
        bulk=True,
    ),
    Verb(
        "change-plan",
        _("Change plan"),
        _("The new limits hold at once. A tenant over its new limit keeps its devices and gets no new keys."),
        lambda tenant, act: lifecycle.change_plan(tenant, act.said["plan"], **act.told),
        fits=lambda tenant: tenant.state in OPEN,
        form=PlanChoiceForm,
        initial=lambda tenant: {"plan": tenant.plan_id},
    ),
    Verb(
        "close",
        _("Close"),
        _(
            "No keys and no API. Its devices expire at once and are deleted when the retention period of thirty days is over. Reopening undoes it until then."
        ),
        lambda tenant, act: lifecycle.close(tenant, reason=act.said["reason"], **act.told),
        fits=lambda tenant: tenant.state in OPEN,
        form=ReasonForm,
        grave=True,
    ),
    Verb(
        "reopen",
        _("Reopen"),
        _("The tenant is active again. Its devices have expired and have to sign in anew."),
        lambda tenant, act: lifecycle.reopen(tenant, reason=act.said["reason"], **act.told),
        fits=lambda tenant: tenant.state == State.CLOSED,
        form=ReasonForm,
    ),
)


@admin.register(Tenant)
class TenantAdmin(OperatorAdmin):
    list_display: Any = (
        "account",
        "title",
        columns.stated(),
        columns.linked("plan", _("plan")),
        "devices_used",
        columns.at("created_at", _("created")),
    )
    list_filter: ClassVar[Any] = ("state", "plan")
    search_fields = ("account", "title")
    list_select_related: ClassVar[Any] = ("plan", "quota")
    fieldsets: ClassVar[Any] = (
        (
            None,
            {
                "fields": (
                    "account",
                    "title",
                    columns.stated(),
                    columns.linked("plan", _("plan")),
                    "residency",
                    "devices_used",
                    "members_at_most",
                    "created_at",
                )
            },
        ),
        (
            _("What has been set in motion"),
            {"fields": ("restricted_at", "suspended_at", "closed_at", "devices_expire_at", "devices_delete_at")},
        ),
    )
    verbs: ClassVar[tuple[Verb, ...]] = TENANT_VERBS
    add_form = NewTenantForm
    add_lead = _("It gets its cluster with its first device.")

    @admin.display(description=_("device slots"), ordering="quota__used")
    def devices_used(self, tenant: Tenant) -> str:
        return columns.meter(tenant.quota.used, tenant.quota.limit) if hasattr(tenant, "quota") else columns.NOTHING

    @admin.display(description=_("members at most"))
    def members_at_most(self, tenant: Tenant) -> Any:
        most = tenant.quota.max_members if hasattr(tenant, "quota") else None
        return columns.NOTHING if most is None else most

    def audit_query(self, obj: Tenant) -> str:
        return obj.account

    def links(self, obj: Tenant) -> list[tuple[Any, str]]:
        lists = [
            (label, reverse(f"admin:tenants_{name}_changelist", query={"account": obj.account}))
            for name, label in (
                ("enrolmentkey", _("Enrolment keys")),
                ("enrolmentgroup", _("Groups")),
                ("trustpolicy", _("Trust policies")),
                ("enrolment", _("Enrolments")),
                ("peering", _("Peerings")),
            )
        ]
        issue = reverse("admin:tenants_enrolmentkey_add", query={"tenant": str(obj.pk)})
        return [(_("Issue an enrolment key"), issue), *lists] if obj.state != State.CLOSED else lists

    def create(self, act: Act, request: HttpRequest) -> tuple[Tenant, str]:  # noqa: ARG002 - the base's signature
        return lifecycle.create(**act.said, **act.told), ""
