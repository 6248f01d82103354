"""To whom invoices go and how they are taxed; the operators' table of tax rates; what a tenant has in credit."""

from __future__ import annotations

import pgtrigger
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from tenants.models import Tenant
from tenants.scoping import TenantManager


class BillingAccount(models.Model):
    """A tenant as its invoices name it."""

    class Treatment(models.TextChoices):
        STANDARD = "standard", _("the rate of its country")
        REVERSE_CHARGE = "reverse_charge", _("reverse charge")
        EXEMPT = "exempt", _("exempt")

    class Language(models.TextChoices):
        ENGLISH = "en", _("English")
        CHINESE = "zh-hans", _("Simplified Chinese")

    tenant = models.OneToOneField(Tenant, models.PROTECT, primary_key=True, related_name="billing_account", verbose_name=_("tenant"))
    name = models.CharField(_("name"), max_length=200)
    address = models.TextField(_("address"), max_length=1000, blank=True)
    country = models.CharField(_("country"), max_length=2, help_text=_("Two letters, such as DE."))
    email = models.EmailField(_("e-mail"))
    currency = models.CharField(_("currency"), max_length=3, help_text=_("Three letters, such as EUR."))
    tax_id = models.CharField(_("tax id"), max_length=40, blank=True)
    tax_treatment = models.CharField(_("tax"), max_length=14, choices=Treatment.choices, default=Treatment.STANDARD)
    language = models.CharField(_("language"), max_length=7, choices=Language.choices, default=Language.ENGLISH)

    notices = models.BooleanField(
        _("notices by e-mail"),
        default=True,
        db_default=True,
        help_text=_("Invoices, overdue payments and quotas are told to the e-mail address."),
    )

    objects = TenantManager()

    class Meta:
        verbose_name = _("billing account")
        verbose_name_plural = _("billing accounts")
        constraints = [
            models.CheckConstraint(condition=~Q(tax_treatment="reverse_charge") | ~Q(tax_id=""), name="reverse_charge_needs_a_tax_id"),
            models.CheckConstraint(condition=Q(currency__regex="^[A-Z]{3}$", country__regex="^[A-Z]{2}$"), name="account_has_its_codes"),
        ]

    def __str__(self) -> str:
        return self.name


class TaxRate(models.Model):
    """The standard rate of a country from a day on."""

    id = models.BigAutoField(primary_key=True)
    country = models.CharField(_("country"), max_length=2)
    valid_from = models.DateField(_("from"))
    percent = models.DecimalField(_("percent"), max_digits=5, decimal_places=2)

    class Meta:
        verbose_name = _("tax rate")
        verbose_name_plural = _("tax rates")
        ordering = ["country", "-valid_from"]
        constraints = [
            models.UniqueConstraint(fields=["country", "valid_from"], name="country_has_one_tax_rate_a_day"),
            models.CheckConstraint(condition=Q(percent__gte=0, percent__lte=100), name="tax_rate_is_a_percentage"),
        ]

    def __str__(self) -> str:
        return f"{self.country} {self.percent} %"


class CreditEntry(models.Model):
    """One line of a tenant's ledger: what was given (positive) or spent (negative), in minor units. Their sum in a currency is the balance."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="credit_entries", verbose_name=_("tenant"), db_index=False)
    currency = models.CharField(_("currency"), max_length=3)
    amount = models.BigIntegerField(_("amount in minor units"))
    at = models.DateTimeField(_("at"))
    reason = models.CharField(_("reason"), max_length=200)
    actor = models.CharField(_("actor"), max_length=120)
    reference = models.CharField(_("reference"), max_length=100, blank=True, help_text=_("What it belongs to; at most one entry does."))
    entry = models.ForeignKey(
        "billing.StatementEntry", models.PROTECT, null=True, blank=True, related_name="paid_out", verbose_name=_("entry of a statement")
    )

    objects = TenantManager()

    class Meta:
        verbose_name = _("credit entry")
        verbose_name_plural = _("credit ledger")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=~Q(amount=0), name="credit_entry_moves_something"),
            models.UniqueConstraint(
                fields=["tenant", "reference"], condition=~Q(reference=""), name="credit_of_a_reference_is_entered_once"
            ),
        ]
        indexes = [models.Index(fields=["tenant", "currency"], include=["amount"], name="credit_of_tenant")]
        triggers = [
            pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete),
            pgtrigger.Trigger(
                name="no_truncate",
                when=pgtrigger.Before,
                operation=pgtrigger.Truncate,
                level=pgtrigger.Statement,
                func="RAISE EXCEPTION 'the credit ledger is append-only';",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"
