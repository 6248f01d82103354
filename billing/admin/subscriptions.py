"""The operators' pages of subscriptions and their phases."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from billing import concessions, subscriptions
from billing.models import CreditEntry, PlanVersion, Subscription
from billing.rating import money
from tenants import columns
from tenants.admin.base import tenant_field
from tenants.columns import TenantFilter
from tenants.office import Act, OperatorAdmin, Verb


def version_field() -> forms.ModelChoiceField[PlanVersion]:
    return forms.ModelChoiceField(PlanVersion.objects.filter(published_at__isnull=False).select_related("plan"), label=_("version"))


class StartForm(forms.Form):
    tenant = tenant_field(Subscription)
    version = version_field()
    trial = forms.BooleanField(label=_("with the version's trial"), required=False, initial=True)


class ChangeForm(forms.Form):
    version = version_field()
    when = forms.ChoiceField(
        label=_("when"),
        required=False,
        choices=[
            ("", _("at once if it costs more, else at the end of what is paid for")),
            ("now", _("at once")),
            ("period_end", _("at the end")),
        ],
    )


class EndForm(forms.Form):
    reason = forms.CharField(label=_("reason"), max_length=200, required=False, help_text=_("Goes into the audit."))


class OverrideForm(forms.Form):
    component = forms.SlugField(label=_("component"), required=False, help_text=_("Its key. Empty: of the entitlement."))
    unit_price = forms.DecimalField(label=_("unit price"), required=False, min_value=0)
    included = forms.IntegerField(label=_("included"), required=False, min_value=0)
    max_devices = forms.IntegerField(label=_("devices at most"), required=False, min_value=0)
    max_members = forms.IntegerField(label=_("members at most"), required=False, min_value=0)
    until = forms.DateTimeField(label=_("until"), required=False, help_text=_("Empty: for good."))
    reason = forms.CharField(label=_("reason"), max_length=200, required=False)


class RedeemForm(forms.Form):
    code = forms.SlugField(label=_("code"))


LINKS = ((_("Invoices"), "invoice"), (_("Payments"), "payment"), (_("Credit"), "creditentry"))


def period(during: Any) -> str:
    """From when to when, in UTC."""
    end = f"{during.upper:%Y-%m-%d %H:%M}" if during.upper else _("further notice")
    return f"{during.lower:%Y-%m-%d %H:%M} – {end}"


def _change(subscription: Subscription, act: Act) -> object:
    return subscriptions.change_plan(subscription.tenant, act.said["version"], when=act.said["when"] or None, **act.told)


@admin.register(Subscription)
class SubscriptionAdmin(OperatorAdmin):
    list_display: Any = (
        columns.linked("tenant", _("tenant")),
        "agreed",
        columns.at("started_at", _("started")),
        columns.at("settle_at", _("next change")),
    )
    list_filter = (TenantFilter,)
    search_fields = ("tenant__account", "tenant__title")
    list_select_related = ("tenant",)
    fields: ClassVar[Any] = (
        columns.linked("tenant", _("tenant")),
        columns.at("started_at", _("started")),
        columns.at("settle_at", _("next change")),
        *("phases", "overrides", "coupons", "balance"),
    )
    add_form = StartForm
    add_lead = _("The tenant is on the version from now on, in the currency of its billing account.")
    verbs: ClassVar[tuple[Verb, ...]] = (
        Verb("change", _("Change plan"), _("What is paid for and does not come is credited to the second."), _change, form=ChangeForm),
        Verb(
            "cancel",
            _("Cancel"),
            _("It ends when what is paid for does. The tenant keeps its devices and gets no new keys from then on."),
            lambda row, act: subscriptions.cancel(row.tenant, **act.told),
        ),
        Verb(
            "undo",
            _("Undo what is scheduled"),
            _("The version in force goes on."),
            lambda row, act: subscriptions.undo(row.tenant, **act.told),
        ),
        Verb(
            "end",
            _("End at once"),
            _("What is paid for and does not come is credited. The tenant gets no new keys."),
            lambda row, act: subscriptions.end(row.tenant, **act.said, **act.told),
            form=EndForm,
            grave=True,
        ),
        Verb(
            "override",
            _("Override"),
            _("From now on the tenant gets this instead of what its version says."),
            lambda row, act: concessions.override(row.tenant, **act.said, **act.told),
            form=OverrideForm,
        ),
        Verb(
            "redeem",
            _("Redeem a coupon"),
            _("It counts from the first of this month."),
            lambda row, act: concessions.redeem(row.tenant, **act.said, **act.told),
            form=RedeemForm,
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        return super().get_queryset(request).prefetch_related("phases__version")

    @admin.display(description=_("agreed"))
    def agreed(self, row: Subscription) -> str:
        """The version in force and until when; what begins later; or that it has ended."""
        now = timezone.now()
        later = [each for each in row.phases.all() if each.during.upper is None or each.during.upper > now]
        if not later:
            return columns.badge("closed", _("ended"))
        first = min(later, key=lambda each: each.during.lower)
        until = _("until %(day)s") % {"day": f"{first.during.upper:%Y-%m-%d}"} if first.during.upper else ""
        return format_html("{} {}", first.version, until)

    @admin.display(description=_("phases"))
    def phases(self, row: Subscription) -> str:
        now = timezone.now()
        told = (
            (
                each.version,
                each.currency,
                period(each.during),
                format_html("{}", _("trial until %(day)s") % {"day": f"{each.trial_until:%Y-%m-%d %H:%M}"}) if each.trial_until else "",
                columns.badge("active", _("in force")) if now in each.during else "",
            )
            for each in sorted(row.phases.all(), key=lambda each: each.during.lower)
        )
        return format_html_join("", "<p>{} {}: {} {} {}</p>", told) or columns.NOTHING

    @admin.display(description=_("overrides"))
    def overrides(self, row: Subscription) -> str:
        told = ((columns.link_to(each), period(each.during)) for each in row.overrides.order_by("during"))
        return format_html_join("", "<p>{}: {}</p>", told) or columns.NOTHING

    @admin.display(description=_("coupons"))
    def coupons(self, row: Subscription) -> str:
        told = ((columns.link_to(each.coupon), period(each.during)) for each in row.redemptions.select_related("coupon").order_by("during"))
        return format_html_join("", "<p>{}: {}</p>", told) or columns.NOTHING

    @admin.display(description=_("balance"))
    def balance(self, row: Subscription) -> str:
        """What the tenant has to its credit, in each currency that it ever had some in."""
        known = CreditEntry.objects.of(row.tenant_id).order_by("currency").values_list("currency", flat=True).distinct()
        told = ((f"{money.in_major(concessions.balance_of(row.tenant, each), each)} {each}",) for each in known)
        return format_html_join("", "<p>{}</p>", told) or columns.NOTHING

    def links(self, obj: Subscription) -> list[tuple[Any, str]]:
        return [(label, f"{reverse(f'admin:billing_{name}_changelist')}?account={obj.tenant.account}") for label, name in LINKS]

    def audit_query(self, obj: Subscription) -> str:
        return obj.tenant.account

    def create(self, act: Act, request: HttpRequest) -> tuple[Subscription, str]:  # noqa: ARG002 - the base's signature
        return subscriptions.start(**act.said, **act.told), ""
