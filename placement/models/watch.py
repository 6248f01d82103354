"""What servers reported: poll runs (the record of what was observed, and when nothing was) and load samples."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from placement.models.cluster import Cluster


class Watch(models.Model):
    """What ACS knows of a cluster and since when; the row that one observer at a time locks."""

    cluster = models.OneToOneField(Cluster, models.CASCADE, primary_key=True, related_name="watch")
    complete_at = models.DateTimeField(_("last complete poll started"), null=True, blank=True)
    attempted_at = models.DateTimeField(_("last poll started"), null=True, blank=True)
    nodes = models.PositiveIntegerField(_("nodes"), default=0)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)

    class Meta:
        verbose_name = _("watch")
        verbose_name_plural = _("watches")

    def __str__(self) -> str:
        return f"{self.cluster_id} at {self.complete_at}"


class PollRun(models.Model):
    """One look at a cluster. A failed or suspect one changes nothing but this record. Partitioned by month of `started_at`; written by pollruns.py."""

    class Outcome(models.TextChoices):
        OK = "ok", _("complete")
        FAILED = "failed", _("failed")
        SUSPECT = "suspect", _("suspect")

    id = models.BigAutoField(primary_key=True)
    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="poll_runs", db_index=False, db_constraint=False)
    started_at = models.DateTimeField(_("started"))
    seconds = models.FloatField(_("seconds taken"))
    outcome = models.CharField(_("outcome"), max_length=8, choices=Outcome.choices)
    nodes = models.PositiveIntegerField(_("nodes"), default=0)
    online = models.PositiveIntegerField(_("online"), default=0)
    reason = models.CharField(_("reason"), max_length=300, blank=True)

    class Meta:
        managed = False  # Django knows no partitions: the migration makes the table
        verbose_name = _("poll run")
        verbose_name_plural = _("poll runs")
        ordering = ["-started_at", "-id"]

    def __str__(self) -> str:
        return f"{self.cluster_id} {self.started_at:%F %T} {self.outcome}"


class LoadSample(models.Model):
    """A cluster's own counters at one moment, as its /metrics gave them; rates are computed by those who read two of them."""

    id = models.BigAutoField(primary_key=True)
    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="load_samples")
    at = models.DateTimeField(_("at"))
    sessions = models.PositiveIntegerField(_("sessions"))
    cpu_seconds = models.FloatField(_("CPU seconds since the server's start"))
    memory_bytes = models.BigIntegerField(_("resident memory in bytes"))
    queue_depth = models.FloatField(_("netmap backlog"))
    peer_calculations = models.BigIntegerField(_("peer calculations since the server's start"))
    peer_calculation_p95 = models.FloatField(_("peer calculation p95 in seconds"), null=True, blank=True)

    class Meta:
        verbose_name = _("load sample")
        verbose_name_plural = _("load samples")
        ordering = ["-id"]
        indexes = [models.Index(fields=["cluster", "-at"], name="load_of_cluster")]

    def __str__(self) -> str:
        return f"{self.cluster_id} {self.at:%F %T}"
