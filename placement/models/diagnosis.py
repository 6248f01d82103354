"""What diagnosis needs beside grants and devices: requests that were refused, and what devices report of their own side."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.models import EnrolmentKey, Tenant
from tenants.scoping import TenantManager


class Refusal(models.Model):
    """Requests of one device that were refused with one code, counted; `reason` is the latest one's.

    With a tenant the credential was one of the tenant's; without one `account` is what the caller claimed, and operators alone see it.
    """

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, blank=True, related_name="refused_requests", db_index=False)
    account = models.CharField(_("account"), max_length=63, blank=True)
    registration_id = models.CharField(_("registration id"), max_length=128, blank=True)
    address = models.CharField(_("address"), max_length=45, blank=True)
    code = models.CharField(_("code"), max_length=40)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    enrolment_key = models.ForeignKey(EnrolmentKey, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("credential"))
    hostname = models.CharField(_("hostname"), max_length=253, blank=True)
    os = models.CharField(_("operating system"), max_length=40, blank=True)
    times = models.PositiveIntegerField(_("times"), default=1)
    first_at = models.DateTimeField(_("first"))
    last_at = models.DateTimeField(_("last"), db_index=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("refusal")
        verbose_name_plural = _("refusals")
        ordering = ["-last_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "account", "registration_id", "address", "code"],
                nulls_distinct=False,
                name="refusals_alike_are_one",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.registration_id or self.address}: {self.code}"


class NetReport(models.Model):
    """The latest report of a device's own side, without addresses and names (placement/diagnosis/reports.py)."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="net_reports")
    registration_id = models.CharField(_("registration id"), max_length=128)
    at = models.DateTimeField(_("at"))
    by = models.CharField(_("reported by"), max_length=120)
    told = models.JSONField(_("report"))

    objects = TenantManager()

    class Meta:
        verbose_name = _("network report")
        verbose_name_plural = _("network reports")
        ordering = ["-at", "id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "registration_id"], name="device_has_one_network_report")]

    def __str__(self) -> str:
        return self.registration_id
