"""The operators' pages of overrides, and of coupons and who redeemed them."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from billing import concessions
from billing.models import Coupon, Override, Redemption
from billing.rating import money
from tenants import columns
from tenants.office import Act, OperatorAdmin, Verb

subscription = columns.linked("subscription", _("subscription"))


class OfSubscription(OperatorAdmin):
    """Rows that belong to one subscription."""

    search_fields: ClassVar[Any] = ("subscription__tenant__account",)
    list_select_related: ClassVar[Any] = ("subscription__tenant",)

    def audit_query(self, obj: Any) -> str:
        return str(obj.subscription)

    @admin.display(description=_("from"))
    def since(self, obj: Any) -> str:
        return f"{obj.during.lower:%Y-%m-%d %H:%M}"

    @admin.display(description=_("until"))
    def until(self, obj: Any) -> str:
        return f"{obj.during.upper:%Y-%m-%d %H:%M}" if obj.during.upper else str(_("further notice"))


@admin.register(Override)
class OverrideAdmin(OfSubscription):
    list_display: Any = ("__str__", subscription, "since", "until", "unit_price", "included", "max_devices", "max_members")
    fields: ClassVar[Any] = (subscription, "since", "until", "component", "unit_price", "included", "max_devices", "max_members", "reason")
    verbs = (
        Verb(
            "end",
            _("End"),
            _("From now on the version counts again; what it was until now stays rated so."),
            lambda override, act: concessions.end_override(override, **act.told),
            fits=lambda override: override.during.upper is None,
            ends=True,
        ),
    )


@admin.register(Redemption)
class RedemptionAdmin(OfSubscription):
    list_display: Any = (columns.linked("coupon", _("coupon")), subscription, "since", "until")
    list_select_related: ClassVar[Any] = ("subscription__tenant", "coupon")
    fields: ClassVar[Any] = (columns.linked("coupon", _("coupon")), subscription, "since", "until")


class CouponForm(forms.Form):
    code = forms.SlugField(label=_("code"), max_length=40)
    percent = forms.DecimalField(label=_("percent"), required=False, min_value=0, max_value=100)
    amount = forms.DecimalField(label=_("amount"), required=False, min_value=0, help_text=_("In major units, off each month."))
    currency = forms.CharField(label=_("currency"), max_length=3, required=False, help_text=_("Of the amount."))
    months = forms.IntegerField(
        label=_("months"), required=False, min_value=1, help_text=_("From the month in which it is redeemed. Empty: for good.")
    )
    redeem_by = forms.DateTimeField(label=_("to be redeemed by"), required=False)
    max_redemptions = forms.IntegerField(label=_("redemptions at most"), required=False, min_value=1)


@admin.register(Coupon)
class CouponAdmin(OperatorAdmin):
    list_display = ("code", "off", "months", "redeemed", "max_redemptions", columns.at("redeem_by", _("to be redeemed by")))
    search_fields = ("code",)
    fields = ("code", "off", "months", "redeemed", "max_redemptions", "redeem_by", "created_at")
    add_form = CouponForm
    add_lead = _("A percentage, or an amount with its currency. A coupon stays as it is.")

    @admin.display(description=_("discount"))
    def off(self, coupon: Coupon) -> str:
        return f"{money.in_major(coupon.amount, coupon.currency)} {coupon.currency}" if coupon.amount else f"{coupon.percent} %"

    def create(self, act: Act, request: HttpRequest) -> tuple[Coupon, str]:  # noqa: ARG002 - the base's signature
        said = dict(act.said)
        if said["amount"] is not None:
            said["amount"] = concessions.in_minor(said["amount"], said["currency"])
        return concessions.make_coupon(**said, **act.told), ""
