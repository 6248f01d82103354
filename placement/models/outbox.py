"""The outbox of our own fleet, as operators look at it. The table belongs to the fleet's schema (placement/headscale/fleet/sql)."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class OutboxEvent(models.Model):
    """What a server wrote and the consumer has not handled yet. Read only: events are consumed by deleting them."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(_("at"))
    cluster_id = models.TextField(_("cluster"))
    kind = models.TextField(_("kind"))
    node_id = models.BigIntegerField(_("node id"), null=True)
    key_id = models.BigIntegerField(_("key id on the server"), null=True)
    user_id = models.BigIntegerField(_("headscale user id"), null=True)

    class Meta:
        managed = False
        db_table = '"headscale"."event"'
        verbose_name = _("outbox event")
        verbose_name_plural = _("outbox")
        ordering = ["-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.kind} {self.cluster_id}"
