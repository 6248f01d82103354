"""What operators must know or do, until it is no longer so."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Alert(models.Model):
    """One matter that wants an operator. At most one is open for a kind and subject; raising it again only counts. See placement/alerts.py."""

    class Kind(models.TextChoices):
        NO_ROOM = "no-room", _("no cluster has room")
        NO_DEDICATED = "no-dedicated", _("a dedicated cluster is needed")
        BREAKER = "breaker", _("a cluster is overloaded")
        STOCK_USED = "stock-key-used", _("a stocked key was used by nobody's leave")
        SAMPLES_STALE = "samples-stale", _("a cluster's load is unknown")
        POLICY_STUCK = "policy-stuck", _("a cluster does not take its policy")
        POLICY_FOREIGN = "policy-foreign", _("somebody else writes a cluster's policy")
        NOT_BILLED = "not-billed", _("a month could not be billed whole")
        BOOKS = "books", _("sums of the books do not agree")
        DRIFT = "drift", _("a cluster runs what ACS did not mean")

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    subject = models.CharField(_("about"), max_length=120)
    opened_at = models.DateTimeField(_("since"))
    last_at = models.DateTimeField(_("last seen"))
    times = models.PositiveIntegerField(_("times seen"), default=1)
    closed_at = models.DateTimeField(_("over"), null=True, blank=True)
    facts = models.JSONField(_("facts"), default=dict, blank=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering = ["-opened_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"], condition=Q(closed_at=None), name="one_open_alert_of_a_kind_about_a_subject"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"
