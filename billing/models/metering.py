"""The rows of metering. No foreign keys on what is written by the million: ids of devices, tenants and clusters are never used again."""

from __future__ import annotations

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from placement.models import Cluster
from tenants.models import Tenant
from tenants.scoping import TenantManager


class Meter(models.Model):
    """Up to when a cluster's online time is known; the row that one poll at a time locks."""

    cluster = models.OneToOneField(Cluster, models.CASCADE, primary_key=True, related_name="meter", verbose_name=_("cluster"))
    last_ok = models.DateTimeField(_("counted until"), null=True, blank=True)
    server_started = models.DateTimeField(_("server started"), null=True, blank=True)
    stays_seen_at = models.DateTimeField(_("stays looked at"), null=True, blank=True)

    class Meta:
        verbose_name = _("meter")
        verbose_name_plural = _("meters")
        ordering = ["cluster"]

    def __str__(self) -> str:
        return self.cluster_id


class OpenSession(models.Model):
    """A device is online since `began`. It is billed until the meter's `last_ok`; while its server's restart leaves it in doubt, until `certain_until`."""

    pk = models.CompositePrimaryKey("cluster", "node_id")
    cluster = models.ForeignKey(
        Cluster, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False, verbose_name=_("cluster")
    )
    node_id = models.BigIntegerField(_("node id"))
    device_id = models.UUIDField(_("device"))
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False, verbose_name=_("tenant"))
    began = models.DateTimeField(_("began"))
    certain_until = models.DateTimeField(_("certain until"), null=True, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("open session")
        verbose_name_plural = _("open sessions")
        constraints = [
            models.CheckConstraint(condition=Q(certain_until=None) | Q(certain_until__gte=F("began")), name="doubt_begins_after_session")
        ]

    def __str__(self) -> str:
        return f"{self.device_id} since {self.began:%F %T}"


class Session(models.Model):
    """A part of a session that is over, within one UTC day. Partitioned by month of `began`; the evidence that every roll-up can be made of again.

    `reason`: why it ended. `told_at`: the poll that ended it; `last_seen`: what the server said there. A part that ends at midnight has its
    session's reason too.
    """

    class Reason(models.TextChoices):
        OFFLINE = "offline", _("seen offline")
        GONE = "gone", _("no longer there")
        GAP = "gap", _("not watched")
        DOUBT = "doubt", _("not back after a restart of its server")

    pk = models.CompositePrimaryKey("cluster", "device_id", "began")
    cluster = models.ForeignKey(
        Cluster, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False, verbose_name=_("cluster")
    )
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False, verbose_name=_("tenant"))
    device_id = models.UUIDField(_("device"))
    node_id = models.BigIntegerField(_("node id"))
    began = models.DateTimeField(_("began"))
    ended = models.DateTimeField(_("ended"))
    reason = models.CharField(_("why it ended"), max_length=8, choices=Reason.choices)
    told_at = models.DateTimeField(_("told at"))
    last_seen = models.DateTimeField(_("last seen"), null=True, blank=True)

    objects = TenantManager()

    class Meta:
        managed = False  # Django knows no partitions: the migration makes the table
        db_table = "billing_session"
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        ordering = ["began"]

    def __str__(self) -> str:
        return f"{self.device_id} {self.began:%F %T} to {self.ended:%F %T}"


class Coverage(models.Model):
    """A cluster was watched from the poll at `since` to the one at `until` (the same one after a gap). One row a poll, never changed."""

    pk = models.CompositePrimaryKey("cluster", "until")
    cluster = models.ForeignKey(
        Cluster, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False, verbose_name=_("cluster")
    )
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"))
    restarted = models.BooleanField(_("after a restart"), default=False)

    class Meta:
        managed = False  # partitioned by month of `until`
        db_table = "billing_coverage"
        verbose_name = _("coverage")
        verbose_name_plural = _("coverage")
        ordering = ["until"]

    def __str__(self) -> str:
        return f"{self.cluster_id} {self.since:%F %T} to {self.until:%F %T}"


class DirtyDay(models.Model):
    """A day of a cluster whose roll-ups are older than its sessions. `marks` counts how often that was said: who rebuilds takes back what it saw."""

    pk = models.CompositePrimaryKey("cluster", "day")
    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="+", db_index=False, verbose_name=_("cluster"))
    day = models.DateField(_("day"))
    marks = models.BigIntegerField(_("marks"), default=1)

    class Meta:
        verbose_name = _("day to rebuild")
        verbose_name_plural = _("days to rebuild")

    def __str__(self) -> str:
        return f"{self.cluster_id} {self.day}"


class DeviceDay(models.Model):
    """A device was seen online on a UTC day, for so many seconds (0: at one single poll). Partitioned by month."""

    pk = models.CompositePrimaryKey("day", "device_id", "cluster")
    day = models.DateField(_("day"))
    device_id = models.UUIDField(_("device"))
    cluster = models.ForeignKey(
        Cluster, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False, verbose_name=_("cluster")
    )
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False, verbose_name=_("tenant"))
    seconds = models.PositiveIntegerField(_("seconds online"))

    objects = TenantManager()

    class Meta:
        managed = False
        db_table = "billing_deviceday"
        verbose_name = _("device's day")
        verbose_name_plural = _("devices' days")
        ordering = ["day", "device_id"]

    def __str__(self) -> str:
        return f"{self.device_id} {self.day} {self.seconds} s"


class UsageHour(models.Model):
    """Seconds online of all devices of a tenant on one cluster, in one hour."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="+", db_index=False, verbose_name=_("tenant"))
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="+", db_index=False, verbose_name=_("cluster"))
    hour = models.DateTimeField(_("hour"))
    seconds = models.BigIntegerField(_("seconds online"))

    objects = TenantManager()

    class Meta:
        verbose_name = _("tenant's hour of use")
        verbose_name_plural = _("tenants' hours of use")
        ordering = ["-hour", "tenant", "cluster"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "hour", "cluster"], name="tenant_has_one_sum_an_hour_and_cluster"),
            models.CheckConstraint(condition=Q(seconds__gt=0), name="hour_of_use_has_seconds"),
        ]
        indexes = [models.Index(fields=["cluster", "hour"], name="use_of_cluster")]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.cluster_id} {self.hour:%F %H}h {self.seconds} s"


class Correction(models.Model):
    """An operator says that time from `since` to `until` was counted wrongly, of a cluster, of a tenant wherever it lived, or of one device of it: it is not
    billed. Appended to, never changed."""

    id = models.BigAutoField(primary_key=True)
    cluster = models.ForeignKey(Cluster, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("cluster"))
    tenant = models.ForeignKey(Tenant, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("tenant"))
    device_id = models.UUIDField(_("device"), null=True, blank=True)
    since = models.DateTimeField(_("from"))
    until = models.DateTimeField(_("to"))
    reason = models.CharField(_("reason"), max_length=300)
    made_by = models.CharField(_("made by"), max_length=120)
    made_at = models.DateTimeField(_("made"))

    objects = TenantManager()

    class Meta:
        verbose_name = _("correction")
        verbose_name_plural = _("corrections")
        ordering = ["-id"]
        triggers = [pgtrigger.Protect(name="corrections_are_appended", operation=pgtrigger.Update | pgtrigger.Delete)]
        constraints = [
            models.CheckConstraint(condition=Q(until__gt=F("since")), name="correction_has_a_length"),
            models.CheckConstraint(condition=~Q(reason=""), name="correction_has_a_reason"),
            models.CheckConstraint(
                condition=Q(cluster__isnull=False, tenant=None, device_id=None) | Q(cluster=None, tenant__isnull=False),
                name="correction_is_of_a_cluster_or_of_a_tenant",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.cluster_id or self.device_id or self.tenant_id} {self.since:%F %T} to {self.until:%F %T}"


class Retraction(models.Model):
    """A correction was taken back: its time counts again. Appended to, never changed; what should not count after all is another correction."""

    correction = models.OneToOneField(Correction, models.PROTECT, primary_key=True, related_name="retraction", verbose_name=_("correction"))
    reason = models.CharField(_("reason"), max_length=300)
    made_by = models.CharField(_("made by"), max_length=120)
    made_at = models.DateTimeField(_("made"))

    class Meta:
        verbose_name = _("correction taken back")
        verbose_name_plural = _("corrections taken back")
        triggers = [pgtrigger.Protect(name="retractions_are_appended", operation=pgtrigger.Update | pgtrigger.Delete)]
        constraints = [models.CheckConstraint(condition=~Q(reason=""), name="retraction_has_a_reason")]

    def __str__(self) -> str:
        return str(self.correction_id)
