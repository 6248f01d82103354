"""How far a tenant that does not pay has come, and which tenants were told that their devices become too many."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from billing.models.invoices import Invoice
from tenants.models import Tenant
from tenants.scoping import TenantManager


class DunningCase(models.Model):
    """A tenant with an invoice past its due date. There is no row for those who owe nothing that is due."""

    class Stage(models.TextChoices):
        PAST_DUE = "past_due", _("past due")
        RESTRICTED = "restricted", _("restricted")
        SUSPENDED = "suspended", _("suspended")
        CLOSED = "closed", _("closed")

    tenant = models.OneToOneField(Tenant, models.PROTECT, primary_key=True, related_name="dunning", verbose_name=_("tenant"))
    stage = models.CharField(_("stage"), max_length=10, choices=Stage.choices, default=Stage.PAST_DUE)
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="+", verbose_name=_("longest overdue invoice"))
    opened_at = models.DateTimeField(_("since"))
    changed_at = models.DateTimeField(_("at this stage since"))
    suspended_at = models.DateTimeField(_("suspended by it"), null=True, blank=True)
    closed_at = models.DateTimeField(_("closed by it"), null=True, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("overdue tenant")
        verbose_name_plural = _("overdue tenants")
        ordering = ["opened_at"]

    def __str__(self) -> str:
        return f"{self.tenant}: {self.get_stage_display()}"


class DunningHold(models.Model):
    """A tenant that is not dunned further until then, whatever it owes. It ends by itself: the row goes with the next review after that."""

    tenant = models.OneToOneField(Tenant, models.PROTECT, primary_key=True, related_name="dunning_hold", verbose_name=_("tenant"))
    until = models.DateTimeField(_("until"))
    reason = models.CharField(_("reason"), max_length=300)
    held_at = models.DateTimeField(_("since"))
    held_by = models.CharField(_("held by"), max_length=120)

    objects = TenantManager()

    class Meta:
        verbose_name = _("hold of dunning")
        verbose_name_plural = _("holds of dunning")
        ordering = ["until"]
        constraints = [
            models.CheckConstraint(condition=Q(until__gt=models.F("held_at")) & ~Q(reason=""), name="hold_has_a_length_and_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant}: {self.until:%Y-%m-%d}"


class QuotaWarning(models.Model):
    """A tenant that uses as many devices as its plan wants to be told of, or more than it pays for (a soft limit). Gone when it does no more."""

    class Level(models.TextChoices):
        NEAR = "near", _("near the limit")
        OVER = "over", _("over the limit")

    tenant = models.OneToOneField(Tenant, models.PROTECT, primary_key=True, related_name="quota_warning", verbose_name=_("tenant"))
    level = models.CharField(_("level"), max_length=4, choices=Level.choices)
    used = models.PositiveIntegerField(_("used"))
    limit = models.PositiveIntegerField(_("limit"))
    since = models.DateTimeField(_("since"))

    objects = TenantManager()

    class Meta:
        verbose_name = _("warning of many devices")
        verbose_name_plural = _("warnings of many devices")
        ordering = ["since"]

    def __str__(self) -> str:
        return f"{self.tenant}: {self.used} / {self.limit}"
