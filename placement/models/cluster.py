"""A fleet of headscale servers on one database, and a cluster: one server, named by its cluster_id."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from tenants.models import Tenant


class Fleet(models.Model):
    """Several headscale servers on one PostgreSQL schema. The default fleet lives in ACS's own database (no URL of its own)."""

    name = models.SlugField(_("name"), primary_key=True, max_length=32)
    database_url_sealed = models.TextField(_("database URL, sealed"), blank=True, editable=False)
    noise_key_sealed = models.TextField(_("Noise private key, sealed"), blank=True, editable=False)
    base_domain = models.CharField(_("MagicDNS base domain"), max_length=120)
    headscale_version = models.CharField(_("headscale version"), max_length=40, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("fleet")
        verbose_name_plural = _("fleets")

    def __str__(self) -> str:
        return self.name

    @property
    def is_own(self) -> bool:
        """Whether the fleet lives in ACS's own database: then quota, grant and key are one transaction."""
        return not self.database_url_sealed


class Cluster(models.Model):
    """One headscale server. A fleet cluster has a fleet; an external one is reached by its admin API alone."""

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        CORDONED = "cordoned", _("cordoned")
        DRAINING = "draining", _("draining")
        OFFLINE = "offline", _("offline")

    class Kind(models.TextChoices):
        SHARED = "shared", _("shared")
        DEDICATED = "dedicated", _("dedicated")

    cluster_id = models.CharField(_("cluster_id"), primary_key=True, max_length=32)
    fleet = models.ForeignKey(Fleet, models.PROTECT, null=True, blank=True, related_name="clusters", verbose_name=_("fleet"))
    state = models.CharField(_("state"), max_length=12, choices=State.choices, default=State.OFFLINE)
    region = models.SlugField(_("region"), max_length=32)
    service_class = models.SlugField(
        _("service class"),
        max_length=32,
        default="standard",
        db_default="standard",
        help_text=_("Tenants whose plan names the same service class land here."),
    )
    residency = models.SlugField(
        _("residency"),
        max_length=32,
        blank=True,
        default="",
        db_default="",
        help_text=_("The jurisdiction that the server keeps its tenants' data in."),
    )
    kind = models.CharField(_("class"), max_length=12, choices=Kind.choices, default=Kind.SHARED)
    reserved_for = models.OneToOneField(
        Tenant, models.SET_NULL, null=True, blank=True, editable=False, related_name="dedicated_cluster", verbose_name=_("reserved for")
    )
    client_url = models.URLField(_("address for clients"), max_length=200)
    admin_url = models.CharField(_("address of the admin API"), max_length=200)
    admin_key_sealed = models.TextField(_("admin key, sealed"), blank=True, editable=False)
    metrics_url = models.CharField(_("address of the metrics"), max_length=200, blank=True)
    capacity = models.PositiveIntegerField(_("capacity in devices"), default=500)
    committed = models.PositiveIntegerField(_("devices promised to tenants"), default=0, editable=False)
    tenants = models.PositiveIntegerField(_("tenants"), default=0, db_default=0, editable=False)
    max_tenants = models.PositiveIntegerField(_("tenants at most"), null=True, blank=True)
    max_sessions = models.PositiveIntegerField(
        _("sessions at most"), null=True, blank=True, help_text=_("Devices online at once. Empty: as many as the capacity.")
    )
    cores = models.FloatField(_("CPU cores"), default=1.0, db_default=1.0, help_text=_("What a CPU rate is measured against."))
    max_queue = models.PositiveIntegerField(
        _("netmap backlog at most"), default=100, db_default=100, help_text=_("Writes that wait for the peer map.")
    )
    max_peer_seconds = models.FloatField(_("peer calculation at most, in seconds"), default=2.0, db_default=2.0)
    max_memory = models.BigIntegerField(_("memory in bytes"), null=True, blank=True, help_text=_("Empty: memory is shown and not weighed."))
    prefix_v4 = models.CharField(_("IPv4 prefix"), max_length=43)
    prefix_v6 = models.CharField(_("IPv6 prefix"), max_length=43)
    noise_public_key = models.CharField(_("Noise public key"), max_length=80, blank=True)
    version = models.CharField(_("version"), max_length=40, blank=True)
    registered_at = models.DateTimeField(_("registered"), null=True, blank=True)
    derp_map = models.JSONField(_("DERP map"), null=True, blank=True, help_text=_("Empty: the fleet-wide map."))

    class Meta:
        verbose_name = _("cluster")
        verbose_name_plural = _("clusters")
        ordering = ["cluster_id"]
        constraints = [
            models.CheckConstraint(condition=Q(cluster_id__regex=r"^[a-z0-9]{1,32}$"), name="cluster_id_is_lower_case_alphanumeric"),
            models.CheckConstraint(condition=Q(state="offline") | ~Q(registered_at=None), name="serving_cluster_was_registered"),
            models.CheckConstraint(condition=Q(committed__gte=0), name="committed_is_not_negative"),
            models.CheckConstraint(condition=Q(capacity__gt=0), name="cluster_has_capacity"),
            models.CheckConstraint(condition=Q(cores__gt=0, max_queue__gt=0, max_peer_seconds__gt=0), name="load_limits_are_positive"),
            models.CheckConstraint(condition=Q(reserved_for=None) | Q(kind="dedicated"), name="reserved_cluster_is_dedicated"),
        ]

    def __str__(self) -> str:
        return self.cluster_id

    @property
    def is_external(self) -> bool:
        return self.fleet_id is None
