"""How hot a cluster is, smoothed from its samples, and what each tenant's load was, hour by hour."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from placement.models.cluster import Cluster
from tenants.models import Tenant
from tenants.scoping import TenantManager


class Heat(models.Model):
    """A cluster's measured load: averages that rise fast and fall slowly, and the breaker that they open.

    Written by placement/load.py alone, one sample at a time; a sample that is not newer than `at` changes nothing.
    """

    cluster = models.OneToOneField(Cluster, models.CASCADE, primary_key=True, related_name="heat", verbose_name=_("cluster"))
    at = models.DateTimeField(_("last sample"), null=True, blank=True)
    attempted_at = models.DateTimeField(_("last tried"), null=True, blank=True)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    cpu_seconds = models.FloatField(_("CPU seconds since the server's start"), default=0)
    peer_buckets = ArrayField(models.FloatField(), verbose_name=_("peer calculations by duration"), default=list, blank=True)
    cpu = models.FloatField(_("CPU"), default=0, help_text=_("Cores in use."))
    sessions = models.PositiveIntegerField(_("sessions"), default=0, help_text=_("Devices online at the last sample."))
    sessions_smooth = models.FloatField(_("sessions, smoothed"), default=0)
    queue = models.FloatField(_("netmap backlog"), default=0)
    peer_seconds = models.FloatField(_("peer calculation p95 in seconds"), default=0)
    memory = models.BigIntegerField(_("resident memory in bytes"), default=0)
    measured = models.FloatField(_("measured utilisation"), null=True, blank=True)
    promised = models.PositiveIntegerField(
        _("devices promised at the sample"), null=True, blank=True, help_text=_("What was promised since is not measured yet.")
    )
    breaker_open = models.BooleanField(_("breaker open"), default=False)
    above = models.PositiveIntegerField(_("samples over the limit in a row"), default=0)
    cool_since = models.DateTimeField(_("cool since"), null=True, blank=True)
    hot_since = models.DateTimeField(_("hot since"), null=True, blank=True, help_text=_("Above the watermark that starts a rebalance."))

    class Meta:
        verbose_name = _("measured load")
        verbose_name_plural = _("measured load")
        constraints = [models.CheckConstraint(condition=Q(measured=None) | Q(measured__gte=0), name="measured_load_is_not_negative")]

    def __str__(self) -> str:
        return f"{self.cluster_id} {self.measured}"


class TenantHour(models.Model):
    """The most devices that a tenant had at once in an hour; its own load is read from these."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="hours", db_index=False)
    hour = models.DateTimeField(_("hour"))
    peak = models.PositiveIntegerField(_("devices at most"))

    objects = TenantManager()

    class Meta:
        verbose_name = _("tenant's hour")
        verbose_name_plural = _("tenants' hours")
        constraints = [models.UniqueConstraint(fields=["tenant", "hour"], name="tenant_has_one_peak_an_hour")]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.hour:%F %H}h {self.peak}"
