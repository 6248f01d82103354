"""Who is on which version since when, and what was promised besides: overrides that expire, coupons and their redemptions."""

from __future__ import annotations

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import BigIntegerRangeField, DateTimeRangeField, RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.utils.translation import gettext_lazy as _

from billing.models.catalogue import PlanVersion
from tenants.models import Tenant
from tenants.scoping import TenantManager


class Subscription(models.Model):
    """A tenant's one contract. The verbs of billing/subscriptions.py lock this row."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.OneToOneField(Tenant, models.PROTECT, related_name="subscription", verbose_name=_("tenant"))
    started_at = models.DateTimeField(_("started"))
    settle_at = models.DateTimeField(
        _("next change"), null=True, blank=True, help_text=_("When plan and quota have to follow what was agreed for then.")
    )

    objects = TenantManager()

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        ordering = ["id"]
        indexes = [models.Index(fields=["settle_at"], condition=Q(settle_at__isnull=False), name="subscriptions_to_settle")]

    def __str__(self) -> str:
        return str(self.tenant)


class SubscriptionPhase(models.Model):
    """A version over [lower, upper) in one currency. No two of a subscription overlap: the exclusion constraint says so to racing transactions too.

    Without contrib extensions no uuid or integer compares by itself in a GiST index; a range that holds the one number does.
    """

    id = models.BigAutoField(primary_key=True)
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="phases", verbose_name=_("subscription"))
    version = models.ForeignKey(PlanVersion, models.PROTECT, related_name="phases", verbose_name=_("version"))
    currency = models.CharField(_("currency"), max_length=3)
    during = DateTimeRangeField(_("during"))
    trial_until = models.DateTimeField(_("trial until"), null=True, blank=True)
    anchor = models.DateTimeField(_("years run from"))

    class Meta:
        verbose_name = _("phase of a subscription")
        verbose_name_plural = _("phases of subscriptions")
        ordering = ["during"]
        constraints = [
            ExclusionConstraint(
                name="phases_of_a_subscription_do_not_overlap",
                expressions=[
                    (
                        Func(F("subscription"), F("subscription"), Value("[]"), function="int8range", output_field=BigIntegerRangeField()),
                        RangeOperators.OVERLAPS,
                    ),
                    ("during", RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(
                condition=Q(during__isempty=False, during__lower_inf=False, during__lower_inc=True, during__upper_inc=False),
                name="phase_has_a_beginning",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version} since {self.during.lower:%Y-%m-%d}"


class KeptPhase(models.Model):
    """What was agreed for later when a tenant was closed: reopened, it has what of that is still to come. Nothing here is billed, and nobody is entitled by it."""

    id = models.BigAutoField(primary_key=True)
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="kept_phases", verbose_name=_("subscription"))
    version = models.ForeignKey(PlanVersion, models.PROTECT, related_name="+", verbose_name=_("version"))
    currency = models.CharField(_("currency"), max_length=3)
    during = DateTimeRangeField(_("during"))
    trial_until = models.DateTimeField(_("trial until"), null=True, blank=True)
    anchor = models.DateTimeField(_("years run from"))

    class Meta:
        verbose_name = _("phase kept for a reopening")
        verbose_name_plural = _("phases kept for a reopening")
        ordering = ["during"]
        constraints = [
            models.CheckConstraint(
                condition=Q(during__isempty=False, during__lower_inf=False, during__lower_inc=True, during__upper_inc=False),
                name="kept_phase_has_a_beginning",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version} {self.during}"


class Override(models.Model):
    """What one tenant gets instead of what its version says, for a while: of a component, or of its entitlement. Of several the latest wins."""

    id = models.BigAutoField(primary_key=True)
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="overrides", verbose_name=_("subscription"))
    during = DateTimeRangeField(_("during"))
    component = models.SlugField(_("component"), max_length=40, blank=True)
    unit_price = models.DecimalField(_("unit price"), max_digits=20, decimal_places=8, null=True, blank=True)
    included = models.PositiveBigIntegerField(_("included"), null=True, blank=True)
    max_devices = models.PositiveIntegerField(_("devices at most"), null=True, blank=True)
    max_members = models.PositiveIntegerField(_("members at most"), null=True, blank=True)
    reason = models.CharField(_("reason"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("override")
        verbose_name_plural = _("overrides")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(component="", unit_price=None, included=None) | ~Q(component="") & Q(max_devices=None, max_members=None),
                name="override_is_of_a_component_or_of_the_entitlement",
            ),
            models.CheckConstraint(
                condition=~Q(unit_price=None, included=None, max_devices=None, max_members=None), name="override_says_something"
            ),
            models.CheckConstraint(condition=Q(unit_price=None) | Q(unit_price__gte=0), name="overridden_price_is_not_negative"),
            models.CheckConstraint(condition=Q(during__isempty=False, during__lower_inf=False), name="override_has_a_beginning"),
        ]

    def __str__(self) -> str:
        return f"{self.component or 'entitlement'} #{self.pk}"


class Coupon(models.Model):
    """A discount that tenants may redeem: a percentage, or an amount in minor units of a currency off each month."""

    code = models.SlugField(_("code"), primary_key=True, max_length=40)
    percent = models.DecimalField(_("percent"), max_digits=5, decimal_places=2, null=True, blank=True)
    amount = models.PositiveBigIntegerField(_("amount in minor units"), null=True, blank=True)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    months = models.PositiveSmallIntegerField(
        _("months"), null=True, blank=True, help_text=_("From the month in which it is redeemed. Empty: for good.")
    )
    redeem_by = models.DateTimeField(_("to be redeemed by"), null=True, blank=True)
    max_redemptions = models.PositiveIntegerField(_("redemptions at most"), null=True, blank=True)
    redeemed = models.PositiveIntegerField(_("redeemed"), default=0)
    created_at = models.DateTimeField(_("made"))

    class Meta:
        verbose_name = _("coupon")
        verbose_name_plural = _("coupons")
        ordering = ["code"]
        constraints = [
            models.CheckConstraint(
                condition=Q(percent__gt=0, percent__lte=100, amount=None, currency="") | Q(percent=None, amount__gt=0) & ~Q(currency=""),
                name="coupon_is_a_percentage_or_an_amount",
            ),
            models.CheckConstraint(
                condition=Q(max_redemptions=None) | Q(redeemed__lte=F("max_redemptions")), name="coupon_is_not_redeemed_too_often"
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Redemption(models.Model):
    """A coupon that a subscription has, over whole months."""

    id = models.BigAutoField(primary_key=True)
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, related_name="redemptions", verbose_name=_("subscription"), db_index=False
    )
    coupon = models.ForeignKey(Coupon, models.PROTECT, related_name="redemptions", verbose_name=_("coupon"))
    during = DateTimeRangeField(_("during"))

    class Meta:
        verbose_name = _("redemption")
        verbose_name_plural = _("redemptions")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["subscription", "coupon"], name="subscription_redeems_a_coupon_once"),
            models.CheckConstraint(condition=Q(during__isempty=False, during__lower_inf=False), name="redemption_has_a_beginning"),
        ]

    def __str__(self) -> str:
        return f"{self.coupon_id} since {self.during.lower:%Y-%m-%d}"
