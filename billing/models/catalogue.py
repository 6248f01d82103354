"""What a plan costs: versions with their prices and entitlements. The database keeps what was published from ever changing."""

from __future__ import annotations

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from tenants.models import Plan

OF_A_DRAFT = """
PERFORM 1 FROM billing_planversion WHERE id IN (OLD.version_id, NEW.version_id) FOR SHARE;
IF EXISTS (SELECT 1 FROM billing_planversion WHERE id IN (OLD.version_id, NEW.version_id) AND published_at IS NOT NULL) THEN
    RAISE EXCEPTION 'the prices of a published version never change';
END IF;
IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
RETURN NEW;
"""


class PlanVersion(models.Model):
    """A plan as it is sold from `valid_from` on, until a later version of the same interval is. A draft until it is published, and for good then."""

    class Interval(models.TextChoices):
        MONTH = "month", _("a month")
        YEAR = "year", _("a year")

    class TaxBehaviour(models.TextChoices):
        EXCLUSIVE = "exclusive", _("tax is added")
        INCLUSIVE = "inclusive", _("tax is included")

    class Enforcement(models.TextChoices):
        HARD = "hard", _("no further device is admitted")
        SOFT = "soft", _("further devices are admitted and told of")

    id = models.BigAutoField(primary_key=True)
    plan = models.ForeignKey(Plan, models.PROTECT, related_name="versions", verbose_name=_("plan"), db_index=False)
    number = models.PositiveIntegerField(_("number"))
    interval = models.CharField(_("interval"), max_length=5, choices=Interval.choices, default=Interval.MONTH)
    valid_from = models.DateTimeField(_("sold from"))
    trial_days = models.PositiveSmallIntegerField(_("days of trial"), default=0)
    tax_behaviour = models.CharField(_("prices and tax"), max_length=9, choices=TaxBehaviour.choices, default=TaxBehaviour.EXCLUSIVE)
    max_devices = models.PositiveIntegerField(_("devices at most"))
    max_members = models.PositiveIntegerField(_("members at most"), null=True, blank=True, help_text=_("Empty: as many as there are."))
    regions = ArrayField(models.SlugField(max_length=32), verbose_name=_("regions"), default=list, blank=True)
    strategy = models.CharField(_("clusters"), max_length=12, choices=Plan.Strategy.choices)
    enforcement = models.CharField(_("at the limit"), max_length=4, choices=Enforcement.choices, default=Enforcement.HARD)
    warn_at = models.PositiveSmallIntegerField(_("warn at percent"), default=80)
    created_at = models.DateTimeField(_("made"))
    published_at = models.DateTimeField(_("published"), null=True, blank=True)

    class Meta:
        verbose_name = _("version of a plan")
        verbose_name_plural = _("versions of plans")
        ordering = ["plan", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["plan", "number"], name="versions_of_a_plan_are_numbered"),
            models.CheckConstraint(condition=Q(warn_at__gte=1, warn_at__lte=100), name="warning_is_at_a_percentage"),
        ]
        triggers = [
            pgtrigger.Protect(
                name="published_never_changes",
                operation=pgtrigger.Update | pgtrigger.Delete,
                condition=pgtrigger.Q(old__published_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.plan_id} {self.number}"


class PriceComponent(models.Model):
    """One part of a version's price in one currency. `unit_price` and those of `tiers` are in major units: 29.00, 0.002.

    `tiers`: [{"up_to": 100, "unit_price": "1.50"}, {"up_to": null, "unit_price": "1.00"}]; empty: one price for all units.
    """

    class Kind(models.TextChoices):
        FLAT = "flat", _("flat fee")
        DEDICATED_CLUSTER = "dedicated_cluster", _("fee per dedicated cluster")
        ACTIVE_DEVICE = "active_device", _("active devices")
        DEVICE_HOURS = "device_hours", _("device-hours")

    class Charged(models.TextChoices):
        ADVANCE = "advance", _("in advance")
        ARREARS = "arrears", _("in arrears")

    id = models.BigAutoField(primary_key=True)
    version = models.ForeignKey(PlanVersion, models.CASCADE, related_name="components", verbose_name=_("version"), db_index=False)
    currency = models.CharField(_("currency"), max_length=3)
    key = models.SlugField(_("key"), max_length=40, help_text=_("The same in every currency; what overrides name."))
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    charged = models.CharField(_("charged"), max_length=8, choices=Charged.choices)
    unit_price = models.DecimalField(_("unit price"), max_digits=20, decimal_places=8, default=0)
    included = models.PositiveBigIntegerField(_("included"), default=0)
    tiers = models.JSONField(_("tiers"), default=list, blank=True)

    class Meta:
        verbose_name = _("price component")
        verbose_name_plural = _("price components")
        ordering = ["currency", "id"]
        constraints = [
            models.UniqueConstraint(fields=["version", "currency", "key"], name="price_component_is_there_once"),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="price_is_not_negative"),
            models.CheckConstraint(
                condition=~Q(kind__in=["active_device", "device_hours"]) | Q(charged="arrears"), name="usage_is_charged_in_arrears"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["active_device", "device_hours"]) | Q(included=0, tiers=[]),
                name="only_usage_has_tiers_and_something_included",
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="only_of_a_draft",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                func=OF_A_DRAFT,
            )
        ]

    def __str__(self) -> str:
        return f"{self.version} {self.key} {self.currency}"
