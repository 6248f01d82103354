"""The operators' pages of plans, tenants, credentials and the audit; those of members are in tenants/member_admin.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.forms import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants import audit, columns, credentials, lifecycle, plans, tokens
from tenants.columns import TenantFilter
from tenants.models import ApiToken, AuditEvent, EnrolmentKey, Plan, Tenant
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


def tenant_field(model: type[Any], **options: Any) -> forms.ModelChoiceField[Tenant]:
    widget = AutocompleteSelect(model._meta.get_field("tenant"), admin.site)
    return forms.ModelChoiceField(Tenant.objects.all(), label=_("tenant"), widget=widget, **options)


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


class NewTokenForm(forms.Form):
    tenant = tenant_field(ApiToken, required=False, help_text=_("Empty: an operator's token, for every tenant."))
    description = forms.CharField(label=_("description"), max_length=200, required=False)
    scopes = forms.MultipleChoiceField(
        label=_("scopes"), choices=[(scope, scope) for scope in tokens.known_scopes(None)], widget=forms.CheckboxSelectMultiple
    )
    valid_days = forms.IntegerField(label=_("valid for, in days"), min_value=1, max_value=tokens.LONGEST.days, initial=90)


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
                    "created_at",
                )
            },
        ),
        (_("What has been set in motion"), {"fields": ("suspended_at", "closed_at", "devices_expire_at", "devices_delete_at")}),
    )
    verbs: ClassVar[tuple[Verb, ...]] = TENANT_VERBS
    add_form = NewTenantForm
    add_lead = _("It gets its cluster with its first device.")

    @admin.display(description=_("device slots"), ordering="quota__used")
    def devices_used(self, tenant: Tenant) -> str:
        return columns.meter(tenant.quota.used, tenant.quota.limit) if hasattr(tenant, "quota") else columns.NOTHING

    def audit_query(self, obj: Tenant) -> str:
        return obj.account

    def links(self, obj: Tenant) -> list[tuple[Any, str]]:
        keys = reverse("admin:tenants_enrolmentkey_changelist", query={"account": obj.account})
        issue = reverse("admin:tenants_enrolmentkey_add", query={"tenant": str(obj.pk)})
        return (
            [(_("Issue an enrolment key"), issue), (_("Enrolment keys"), keys)]
            if obj.state != State.CLOSED
            else [(_("Enrolment keys"), keys)]
        )

    def create(self, act: Act, request: HttpRequest) -> tuple[Tenant, str]:  # noqa: ARG002 - the base's signature
        return lifecycle.create(**act.said, **act.told), ""


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


@admin.register(EnrolmentKey)
class EnrolmentKeyAdmin(OperatorAdmin):
    list_display = (
        hint,
        columns.linked("tenant", _("tenant")),
        "description",
        state_of_credential,
        "used",
        "lifetime",
        columns.at("expires_at", _("expires")),
        columns.at("last_used_at", _("last used")),
    )
    list_filter = (TenantFilter, "ephemeral", columns.has("revoked_at", _("revoked")))
    search_fields = ("hint", "description", "tenant__account")
    list_select_related = ("tenant",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    first_characters,
                    columns.linked("tenant", _("tenant")),
                    "description",
                    state_of_credential,
                    "used",
                    "ephemeral",
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

    def create(self, act: Act, request: HttpRequest) -> tuple[EnrolmentKey, str]:  # noqa: ARG002 - the base's signature
        said = act.said
        return credentials.issue(
            said["tenant"],
            description=said["description"],
            max_uses=said["max_uses"],
            expires_at=act.now + timedelta(days=said["valid_days"]) if said["valid_days"] else None,
            ephemeral=said["ephemeral"],
            key_lifetime=timedelta(minutes=said["lifetime_minutes"]),
            **act.told,
        )


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


@admin.register(AuditEvent)
class AuditEventAdmin(OperatorAdmin):
    list_display = (columns.at("at", _("at")), "verb", "target", columns.linked("tenant", _("tenant")), "actor", "sealed")
    list_filter = (TenantFilter,)  # acts are searched: listing the distinct ones would read the whole audit
    search_fields = ("verb", "target", "actor", "request_id", "tenant__account")
    list_select_related = ("tenant", "seal")
    fields = ("at", "verb", "target", columns.linked("tenant", _("tenant")), "actor", "detail", "request_id", "sealed")

    @admin.display(description=_("sealed"), boolean=True)
    def sealed(self, event: AuditEvent) -> bool:
        return hasattr(event, "seal")

    def audit_query(self, obj: AuditEvent) -> str:
        return obj.target

    def list_links(self) -> list[tuple[Any, str]]:
        return [(_("Verify the chains"), reverse("admin:tenants_auditevent_verify"))]

    def get_urls(self) -> list[URLPattern]:
        return [path("verify/", self.admin_site.admin_view(self.verify_view), name="tenants_auditevent_verify"), *super().get_urls()]

    def verify_view(self, request: HttpRequest) -> HttpResponse:
        """Recompute every chain. A POST, for it reads the whole audit."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        verdicts = list(audit.verify()) if request.method == "POST" else None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Verify the chains"),
            "verdicts": verdicts,
            "whole": verdicts is not None and all(verdict.whole for verdict in verdicts),
            "back": reverse("admin:tenants_auditevent_changelist"),
        }
        return TemplateResponse(request, "admin/verify.html", context)


from tenants import member_admin  # noqa: E402, F401 - registers its page, and needs what stands above
