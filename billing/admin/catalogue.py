"""The operators' pages of versions of plans with their prices, and of tax rates."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from billing import accounts, catalogue
from billing.admin import wording
from billing.models import PlanVersion, PriceComponent, TaxRate
from tenants import columns
from tenants.admin.base import LinesField
from tenants.models import Plan
from tenants.office import Act, OperatorAdmin, Verb


class TiersField(LinesField):
    """A tier a line, `100: 1.50`, the last one `: 1.00`."""

    def clean(self, value: Any) -> Any:
        return [self._tier(line) for line in super().clean(value)]

    def _tier(self, line: str) -> tuple[int | None, Decimal]:
        bound, _colon, price = (part.strip() for part in line.partition(":"))
        wanted = forms.DecimalField(min_value=0)
        return (forms.IntegerField(min_value=1).clean(bound) if bound else None), Decimal(wanted.clean(price))


class NewVersionForm(forms.Form):
    plan = forms.ModelChoiceField(Plan.objects.all(), label=_("plan"))
    valid_from = forms.DateTimeField(label=_("sold from"), help_text=_("In UTC."))
    interval = forms.ChoiceField(label=_("interval"), choices=PlanVersion.Interval.choices)
    trial_days = forms.IntegerField(label=_("days of trial"), min_value=0, initial=0)
    tax_behaviour = forms.ChoiceField(label=_("prices and tax"), choices=PlanVersion.TaxBehaviour.choices)
    max_devices = forms.IntegerField(label=_("devices at most"), min_value=0, required=False, help_text=_("Empty: the plan's."))
    max_members = forms.IntegerField(label=_("members at most"), min_value=0, required=False)
    enforcement = forms.ChoiceField(label=_("at the limit"), choices=PlanVersion.Enforcement.choices)
    warn_at = forms.IntegerField(label=_("warn at percent"), min_value=1, max_value=100, initial=80)


class PriceForm(forms.Form):
    currency = forms.CharField(label=_("currency"), max_length=3, help_text=_("Three letters, such as EUR."))
    key = forms.SlugField(label=_("key"), max_length=40, help_text=_("The same in every currency; what overrides name."))
    kind = forms.ChoiceField(label=_("kind"), choices=PriceComponent.Kind.choices)
    charged = forms.ChoiceField(
        label=_("charged"), choices=PriceComponent.Charged.choices, help_text=_("Usage is always charged in arrears.")
    )
    unit_price = forms.DecimalField(label=_("unit price"), min_value=0, initial=0, help_text=_("In major units, such as 29.00 or 0.002."))
    included = forms.IntegerField(label=_("included"), min_value=0, initial=0, help_text=_("Devices or hours a month."))
    tiers = TiersField(
        label=_("tiers"), required=False, help_text=_("A line each, such as 100: 1.50 up to 100 units; the last one : 1.00.")
    )


class ComponentForm(forms.Form):
    currency = forms.CharField(label=_("currency"), max_length=3)
    key = forms.SlugField(label=_("key"), max_length=40)


def _is_draft(version: PlanVersion) -> bool:
    return version.published_at is None


@admin.register(PlanVersion)
class PlanVersionAdmin(OperatorAdmin):
    list_display = (
        "__str__",
        columns.linked("plan", _("plan")),
        "interval",
        columns.at("valid_from", _("sold from")),
        columns.at("published_at", _("published")),
    )
    list_filter = ("interval", columns.has("published_at", _("published")))
    search_fields = ("plan__name", "plan__title")
    list_select_related = ("plan",)
    fields = (
        columns.linked("plan", _("plan")),
        "number",
        "interval",
        "valid_from",
        "published_at",
        "trial_days",
        "tax_behaviour",
        "prices",
        "max_devices",
        "max_members",
        "enforcement",
        "warn_at",
    )
    add_form = NewVersionForm
    add_lead = _("A draft: give it prices, then publish it. What is published never changes.")
    verbs: ClassVar[tuple[Verb, ...]] = (
        Verb(
            "price",
            _("Set a price"),
            _("A component of the price in one currency, or another one in its place."),
            lambda version, act: catalogue.price(version, **act.said, **act.told),
            fits=_is_draft,
            form=PriceForm,
        ),
        Verb(
            "unprice",
            _("Take a price out"),
            _("The draft has this component no more."),
            lambda version, act: catalogue.unprice(version, **act.said, **act.told),
            fits=_is_draft,
            form=ComponentForm,
        ),
        Verb(
            "publish",
            _("Publish"),
            _("It is sold from its date on, and never changes again."),
            lambda version, act: catalogue.publish(version, **act.told),
            fits=_is_draft,
        ),
        Verb(
            "discard",
            _("Discard"),
            _("The draft and its prices are gone."),
            lambda version, act: catalogue.discard(version, **act.told),
            fits=_is_draft,
            grave=True,
            ends=True,
        ),
    )

    @admin.display(description=_("prices"))
    def prices(self, version: PlanVersion) -> str:
        told = ((wording.price(catalogue.component_of(each), each.currency),) for each in version.components.all())
        return format_html_join("", "<p>{}</p>", told) or columns.NOTHING

    def audit_query(self, obj: PlanVersion) -> str:
        return str(obj)

    def create(self, act: Act, request: HttpRequest) -> tuple[PlanVersion, str]:  # noqa: ARG002 - the base's signature
        return catalogue.draft(**act.said, **act.told), ""


class RateForm(forms.Form):
    country = forms.CharField(label=_("country"), max_length=2, help_text=_("Two letters, such as DE."))
    percent = forms.DecimalField(label=_("percent"), min_value=0, max_value=100)
    valid_from = forms.DateField(label=_("from"))


@admin.register(TaxRate)
class TaxRateAdmin(OperatorAdmin):
    list_display = ("country", "percent", "valid_from")
    search_fields = ("country",)
    fields = ("country", "percent", "valid_from")
    add_form = RateForm
    add_lead = _("The standard rate of a country from a day on. What was invoiced stays as it is.")

    def audit_query(self, obj: TaxRate) -> str:
        return obj.country

    def create(self, act: Act, request: HttpRequest) -> tuple[TaxRate, str]:  # noqa: ARG002 - the base's signature
        return accounts.put_rate(**act.said, **act.told), ""
