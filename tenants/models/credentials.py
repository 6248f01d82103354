"""What lets a device or a program in. Secrets are shown once; the database holds their SHA-256 (they are long and random)."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from tenants.models.tenant import Tenant
from tenants.scoping import TenantManager


class EnrolmentKey(models.Model):
    """With what devices of one tenant ask to join: a bearer secret, or what stands behind an enrolment group or a trust policy.

    Those have a row of their own beside this one (tenants/models/enrolment.py, trust.py); what is granted, counted and limited is here for all.
    `devices` counts the slots that were taken with it and are not released.
    """

    class Kind(models.TextChoices):
        BEARER = "bearer", _("bearer key")
        GROUP = "group", _("enrolment group")
        WORKLOAD = "workload", _("trust policy")

    class ReEnrolment(models.TextChoices):
        NEW = "new", _("a new key for its own slot")
        KEEP = "keep", _("no key while its device is there")
        NEVER = "never", _("never again")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="enrolment_keys")
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices, default=Kind.BEARER, db_default=Kind.BEARER, editable=False)
    description = models.CharField(_("description"), max_length=200, blank=True)
    digest = models.BinaryField(_("SHA-256 of the secret"), max_length=32, unique=True, editable=False)
    hint = models.CharField(_("first characters"), max_length=24, editable=False)
    max_uses = models.PositiveIntegerField(_("uses at most"), null=True, blank=True, help_text=_("Empty: no limit but the quota."))
    uses = models.PositiveIntegerField(_("uses"), default=0, editable=False)
    ephemeral = models.BooleanField(_("ephemeral devices"), default=False)
    tags = ArrayField(
        models.CharField(max_length=60),
        verbose_name=_("tags"),
        default=list,
        db_default=[],
        blank=True,
        help_text=_("Its devices belong to these instead of a person, as tag:web."),
    )
    key_lifetime = models.DurationField(_("lifetime of the keys handed out"))
    max_devices = models.PositiveIntegerField(
        _("devices at most"), null=True, blank=True, help_text=_("At once, through this credential. Empty: as many as the quota allows.")
    )
    devices = models.PositiveIntegerField(_("devices"), default=0, db_default=0, editable=False)
    approval = models.BooleanField(
        _("approval needed"), default=False, db_default=False, help_text=_("A device waits until an admin accepts it.")
    )
    re_enrolment = models.CharField(
        _("a device that asks again"), max_length=8, choices=ReEnrolment.choices, default=ReEnrolment.NEW, db_default=ReEnrolment.NEW
    )
    want_region = models.SlugField(
        _("region"), max_length=32, blank=True, default="", db_default="", help_text=_("Guides the tenant's first placement.")
    )
    want_cluster = models.SlugField(
        _("cluster"),
        max_length=32,
        blank=True,
        default="",
        db_default="",
        help_text=_("Guides the tenant's first placement, if it has room."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)

    objects = TenantManager()

    class Meta:
        verbose_name = _("enrolment key")
        verbose_name_plural = _("enrolment keys")
        ordering = ["-created_at", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(max_uses=None) | Q(uses__lte=F("max_uses")), name="enrolment_key_is_used_within_its_limit"),
        ]

    def __str__(self) -> str:
        return f"{self.hint}…"


class ApiToken(models.Model):
    """A program's access to /api/v1: a tenant's own, or an operator's (no tenant)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="api_tokens", null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    description = models.CharField(_("description"), max_length=200, blank=True)
    digest = models.BinaryField(_("SHA-256 of the secret"), max_length=32, unique=True, editable=False)
    hint = models.CharField(_("first characters"), max_length=24, editable=False)
    scopes = ArrayField(models.CharField(max_length=40), verbose_name=_("scopes"))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires"))
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)

    objects = TenantManager()

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.hint}…"
