"""Devices that a person let in without a key: who, into which tenant, and what became of it."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from placement.models.cluster import Cluster
from placement.models.living import Device, Slot
from tenants.models import Tenant
from tenants.scoping import TenantManager


class DeviceLogin(models.Model):
    """One confirmed login. The first to confirm owns the server's id (of which only a hash is kept): two racing calls would both be let in by it.

    claimed -> registered | refused | unknown, when the server fell silent; unknown -> registered | refused, by what the server shows later.
    A refused one registered nothing, and its id may be claimed again. `device` is what came of it, as soon as it has been seen.
    """

    class State(models.TextChoices):
        CLAIMED = "claimed", _("being registered")
        REGISTERED = "registered", _("registered")
        REFUSED = "refused", _("refused")
        UNKNOWN = "unknown", _("unknown")

    OPEN = (State.CLAIMED, State.UNKNOWN)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    auth_digest = models.BinaryField(_("SHA-256 of the id"), max_length=32, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="device_logins")
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="device_logins", db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="device_logins", verbose_name=_("person")
    )
    slot = models.ForeignKey(Slot, models.PROTECT, related_name="device_logins")
    device = models.ForeignKey(Device, models.SET_NULL, null=True, blank=True, related_name="logins")
    state = models.CharField(_("state"), max_length=12, choices=State.choices)
    node_id = models.BigIntegerField(_("node id"), null=True, blank=True)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    claimed_at = models.DateTimeField(_("confirmed"))
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("device login")
        verbose_name_plural = _("device logins")
        ordering = ["-claimed_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["auth_digest"], condition=~Q(state="refused"), name="login_id_has_one_owner"),
            models.CheckConstraint(condition=~Q(state="registered") | Q(node_id__isnull=False), name="registered_login_has_its_node"),
            models.CheckConstraint(
                condition=Q(state__in=["claimed", "unknown"], settled_at=None)
                | Q(state__in=["registered", "refused"], settled_at__isnull=False),
                name="ended_login_has_its_time",
            ),
        ]
        indexes = [
            models.Index(fields=["cluster", "claimed_at"], condition=Q(state__in=["claimed", "unknown"]), name="logins_to_settle"),
            models.Index(fields=["cluster", "node_id"], condition=Q(state="registered"), name="logins_of_node"),
            models.Index(fields=["auth_digest"], name="logins_of_id"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.claimed_at:%Y-%m-%d %H:%M}"
