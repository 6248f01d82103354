"""Keys of external clusters that were minted ahead of the devices that will ask for them, and how fast each server mints."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from placement.models.cluster import Cluster
from placement.models.living import Grant
from tenants.models import Tenant
from tenants.scoping import TenantManager


class StockedKey(models.Model):
    """One key minted ahead, for one tenant on one cluster.

    reserved -> ready -> taken (a grant has it) | spent (it must not be handed out any more); `unknown` when the server fell silent while it made
    the key. Its secret goes when it is taken or spent; the row goes when a complete poll has shown the key unused after its end, and the key was
    deleted on the server.
    """

    class State(models.TextChoices):
        RESERVED = "reserved", _("reserved")
        READY = "ready", _("ready")
        UNKNOWN = "unknown", _("unknown")
        TAKEN = "taken", _("taken")
        SPENT = "spent", _("spent")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="stock", db_index=False)
    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="stock", db_index=False)
    grant = models.OneToOneField(Grant, models.CASCADE, null=True, blank=True, related_name="stocked_key", verbose_name=_("grant"))
    ephemeral = models.BooleanField(_("ephemeral"), default=False)
    state = models.CharField(_("state"), max_length=12, choices=State.choices)
    key_id = models.BigIntegerField(_("key id on the server"), null=True, blank=True)
    secret_sealed = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(_("asked of the server"))
    ready_at = models.DateTimeField(_("minted"), null=True, blank=True)
    taken_at = models.DateTimeField(_("taken"), null=True, blank=True)
    retired_at = models.DateTimeField(_("expired on the server"), null=True, blank=True)
    over_at = models.DateTimeField(_("over"), null=True, blank=True, help_text=_("A complete poll showed it unused after its end."))
    expires_at = models.DateTimeField(_("key expires"))

    objects = TenantManager()

    class Meta:
        verbose_name = _("stocked key")
        verbose_name_plural = _("stocked keys")
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["cluster", "expires_at"], name="stocked_key_is_known_by_its_expiration"),
            models.UniqueConstraint(fields=["cluster", "key_id"], condition=Q(key_id__isnull=False), name="key_is_stocked_once"),
            models.CheckConstraint(
                condition=~Q(state__in=["ready", "taken", "spent"]) | Q(key_id__isnull=False), name="minted_stock_has_key_id"
            ),
            models.CheckConstraint(condition=Q(state="ready") | Q(secret_sealed=""), name="only_ready_stock_has_its_secret"),
            models.CheckConstraint(condition=~Q(state="ready") | ~Q(secret_sealed=""), name="ready_stock_has_its_secret"),
            models.CheckConstraint(
                condition=Q(state="taken", grant__isnull=False) | (~Q(state="taken") & Q(grant__isnull=True)),
                name="taken_stock_and_no_other_has_a_grant",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "cluster", "expires_at"], condition=Q(state="ready"), name="stock_ready"),
        ]

    def __str__(self) -> str:
        return f"{self.cluster_id} key {self.key_id}"


class Minting(models.Model):
    """How long an external cluster takes to mint a key, and when the refill may ask it for the next one."""

    cluster = models.OneToOneField(Cluster, models.CASCADE, primary_key=True, related_name="minting", verbose_name=_("cluster"))
    seconds = models.FloatField(_("seconds per key"), help_text=_("Smoothed over the last ones."))
    minted = models.PositiveBigIntegerField(_("keys measured"), default=0)
    free_at = models.DateTimeField(_("next key not before"), null=True, blank=True)
    ran_at = models.DateTimeField(_("last refill"), null=True, blank=True)
    serving_since = models.DateTimeField(_("refilled without a break since"), null=True, blank=True)

    class Meta:
        verbose_name = _("minting")
        verbose_name_plural = _("mintings")
        constraints = [models.CheckConstraint(condition=Q(seconds__gt=0), name="minting_takes_time")]

    def __str__(self) -> str:
        return f"{self.cluster_id}: {self.seconds:.3f} s a key"
