"""What the operators' API of prices and subscriptions reads and writes, as serializers. They translate; whatever decides is a verb elsewhere."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from acs.api.bodies import Fields
from acs.api.shapes import ModelShape, example
from billing.models import (
    BillingAccount,
    Coupon,
    CreditEntry,
    Override,
    PlanVersion,
    PriceComponent,
    Redemption,
    SubscriptionPhase,
    TaxRate,
)
from tenants.models import Plan

MAJOR = 'In major units of the currency, such as "29.00" or "0.002".'
MINOR = "In minor units: whole cents, or whole yen."


class Price(serializers.DecimalField):
    """A price in major units, written as a text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=20, decimal_places=8, **{"min_value": Decimal(0), "help_text": MAJOR, **options})


class VersionField(serializers.IntegerField):
    """A version by its id."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=1, max_value=2**63 - 1, **{"help_text": "Its id.", **options})

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Checked as a number, given on as the version."""
        found = PlanVersion.objects.select_related("plan").filter(pk=super().run_validation(data)).first()
        if found is None:
            raise serializers.ValidationError("there is no such version")
        return found


class TierShape(serializers.Serializer[Any]):
    up_to = serializers.IntegerField(allow_null=True, min_value=1, help_text="null: all further units; the last tier, and no other.")
    unit_price = Price()


class ComponentShape(ModelShape[PriceComponent]):
    tiers = TierShape(many=True)

    class Meta:
        model = PriceComponent
        fields = ["currency", "key", "kind", "charged", "unit_price", "included", "tiers"]
        read_only_fields = fields


class PlanVersionShape(ModelShape[PlanVersion]):
    plan = serializers.CharField(source="plan_id")
    components = ComponentShape(many=True)

    class Meta:
        model = PlanVersion
        fields = [
            *["id", "plan", "number", "interval", "valid_from", "published_at", "trial_days", "tax_behaviour"],
            *["max_devices", "max_members", "regions", "strategy", "enforcement", "warn_at", "components"],
        ]
        read_only_fields = fields


@example({"plan": "team", "valid_from": "2026-06-01T00:00:00Z", "interval": "month"})
class NewVersion(Fields):
    plan = serializers.PrimaryKeyRelatedField(queryset=Plan.objects.all())
    valid_from = serializers.DateTimeField(help_text="When it is sold from.")
    interval = serializers.ChoiceField(PlanVersion.Interval.choices, required=False)
    trial_days = serializers.IntegerField(required=False, min_value=0, max_value=366)
    tax_behaviour = serializers.ChoiceField(PlanVersion.TaxBehaviour.choices, required=False)
    max_devices = serializers.IntegerField(required=False, min_value=0, max_value=2**31 - 1, help_text="The plan's if left out.")
    max_members = serializers.IntegerField(required=False, min_value=0, max_value=2**31 - 1)
    enforcement = serializers.ChoiceField(PlanVersion.Enforcement.choices, required=False)
    warn_at = serializers.IntegerField(required=False, min_value=1, max_value=100, help_text="Percent of the devices.")


@example({"currency": "EUR", "key": "base", "kind": "flat", "charged": "advance", "unit_price": "29.00"})
class NewComponent(Fields):
    currency = serializers.CharField(max_length=3)
    key = serializers.CharField(max_length=40, help_text="The same in every currency; one that is there is replaced.")
    kind = serializers.ChoiceField(PriceComponent.Kind.choices)
    charged = serializers.ChoiceField(PriceComponent.Charged.choices, help_text="Usage is always charged in arrears.")
    unit_price = Price(required=False, default=Decimal(0))
    included = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**53, help_text="Devices or hours a month.")
    tiers = TierShape(many=True, required=False)


class PhaseShape(ModelShape[SubscriptionPhase]):
    plan = serializers.CharField(source="version.plan_id")
    number = serializers.IntegerField(source="version.number")
    start = serializers.DateTimeField(source="during.lower")
    end = serializers.DateTimeField(source="during.upper", allow_null=True)

    class Meta:
        model = SubscriptionPhase
        fields = ["version", "plan", "number", "currency", "start", "end", "trial_until"]
        read_only_fields = fields


class OverrideShape(ModelShape[Override]):
    start = serializers.DateTimeField(source="during.lower")
    end = serializers.DateTimeField(source="during.upper", allow_null=True)

    class Meta:
        model = Override
        fields = ["id", "start", "end", "component", "unit_price", "included", "max_devices", "max_members", "reason"]
        read_only_fields = fields


class RedemptionShape(ModelShape[Redemption]):
    start = serializers.DateTimeField(source="during.lower")
    end = serializers.DateTimeField(source="during.upper", allow_null=True)

    class Meta:
        model = Redemption
        fields = ["coupon", "start", "end"]
        read_only_fields = fields


class SubscriptionShape(serializers.Serializer[Any]):
    started_at = serializers.DateTimeField()
    settle_at = serializers.DateTimeField(allow_null=True, help_text="When something that was agreed comes into force.")
    phases = PhaseShape(many=True)
    overrides = OverrideShape(many=True)
    redemptions = RedemptionShape(many=True)


@example({"version": 7, "trial": True})
class NewSubscription(Fields):
    version = VersionField()
    trial = serializers.BooleanField(required=False, default=True)


@example({"version": 8, "when": "period_end"})
class ChangedSubscription(Fields):
    version = VersionField()
    when = serializers.ChoiceField(
        ["now", "period_end"],
        required=False,
        default=None,
        help_text="Without it: at once if it costs more, else when what is paid for ends.",
    )


@example({"max_devices": 150, "until": "2026-07-01T00:00:00Z", "reason": "a fair"})
class NewOverride(Fields):
    component = serializers.CharField(max_length=40, required=False, default="", help_text="Its key; without it: of the entitlement.")
    unit_price = Price(required=False)
    included = serializers.IntegerField(required=False, min_value=0, max_value=2**53)
    max_devices = serializers.IntegerField(required=False, min_value=0, max_value=2**31 - 1)
    max_members = serializers.IntegerField(required=False, min_value=0, max_value=2**31 - 1)
    until = serializers.DateTimeField(required=False, default=None, help_text="For good if left out.")
    reason = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)


@example({"code": "SPRING"})
class RedeemedCoupon(Fields):
    code = serializers.CharField(max_length=40)


class AccountShape(ModelShape[BillingAccount]):
    class Meta:
        model = BillingAccount
        fields = ["name", "address", "country", "email", "currency", "tax_id", "tax_treatment", "language", "notices"]
        read_only_fields = fields


@example({"name": "Acme Inc.", "email": "books@acme.example", "country": "DE", "currency": "EUR", "tax_id": "DE136695976"})
class ChangedAccount(Fields):
    name = serializers.CharField(max_length=200, required=False)
    address = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    country = serializers.CharField(max_length=2, required=False)
    email = serializers.CharField(max_length=254, required=False)
    currency = serializers.CharField(max_length=3, required=False, help_text="It stays while a subscription is in force.")
    tax_id = serializers.CharField(max_length=40, required=False, allow_blank=True)
    tax_treatment = serializers.ChoiceField(BillingAccount.Treatment.choices, required=False)
    language = serializers.ChoiceField(BillingAccount.Language.choices, required=False)
    notices = serializers.BooleanField(required=False, help_text="Whether invoices, overdue payments and quotas are told by e-mail.")


class CreditShape(ModelShape[CreditEntry]):
    class Meta:
        model = CreditEntry
        fields = ["id", "at", "amount", "currency", "reason", "reference", "actor"]
        read_only_fields = fields


@example({"amount": 2500, "reason": "outage of 3 June", "reference": "ticket 4711"})
class NewCredit(Fields):
    amount = serializers.IntegerField(min_value=-(2**53), max_value=2**53, help_text=f"{MINOR} Below nothing takes it back.")
    reason = serializers.CharField(max_length=200)
    reference = serializers.CharField(max_length=100, required=False, default="", help_text="The same reference is entered once.")


class CouponShape(ModelShape[Coupon]):
    class Meta:
        model = Coupon
        fields = ["code", "percent", "amount", "currency", "months", "redeem_by", "max_redemptions", "redeemed", "created_at"]
        read_only_fields = fields


@example({"code": "SPRING", "percent": "20.00", "months": 3})
class NewCoupon(Fields):
    code = serializers.CharField(max_length=40)
    percent = serializers.DecimalField(max_digits=5, decimal_places=2, required=False)
    amount = serializers.IntegerField(required=False, min_value=1, max_value=2**53, help_text=f"{MINOR} Off each month.")
    currency = serializers.CharField(max_length=3, required=False)
    months = serializers.IntegerField(required=False, min_value=1, max_value=1200)
    redeem_by = serializers.DateTimeField(required=False)
    max_redemptions = serializers.IntegerField(required=False, min_value=1, max_value=2**31 - 1)


class RateShape(ModelShape[TaxRate]):
    class Meta:
        model = TaxRate
        fields = ["country", "valid_from", "percent"]
        read_only_fields = fields


@example({"country": "DE", "valid_from": "2007-01-01", "percent": "19.00"})
class NewRate(Fields):
    country = serializers.CharField(max_length=2)
    valid_from = serializers.DateField()
    percent = serializers.DecimalField(max_digits=5, decimal_places=2)
