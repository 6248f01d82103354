"""Where each tenant lived from when to when: bindings tell where it lives now, stays tell where its devices' time counts."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from placement.models.cluster import Cluster
from tenants.models import Tenant
from tenants.scoping import TenantManager


class Stay(models.Model):
    """A tenant lived on a cluster from `since` until `until` (not included; None: still does). Written by placement/stays.py alone.

    The constraint `tenant_lives_on_one_cluster_at_a_time` of the database keeps a tenant's stays apart in time: two clusters never bill one moment.
    """

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="stays", verbose_name=_("tenant"))
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="stays", verbose_name=_("cluster"))
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"), null=True, blank=True)
    changed_at = models.DateTimeField(_("changed"), help_text=_("When this row was last written: what was billed since is reckoned again."))

    objects = TenantManager()

    class Meta:
        verbose_name = _("stay")
        verbose_name_plural = _("stays")
        ordering = ["-since", "-id"]
        constraints = [
            models.CheckConstraint(condition=Q(until=None) | Q(until__gte=F("since")), name="stay_ends_after_it_began"),
            models.UniqueConstraint(fields=["tenant"], condition=Q(until=None), name="tenant_has_one_present_stay"),
        ]
        indexes = [models.Index(fields=["cluster", "changed_at"], name="stays_that_changed")]

    def __str__(self) -> str:
        return f"{self.tenant_id} on {self.cluster_id} since {self.since:%F %T}"
