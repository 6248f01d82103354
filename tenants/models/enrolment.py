"""Who may enrol beyond bearer keys: groups of devices that sign, and single devices by their registration id."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from tenants.models.credentials import EnrolmentKey
from tenants.models.tenant import Tenant
from tenants.scoping import TenantManager


class EnrolmentGroup(models.Model):
    """Devices that carry a key derived from one of the group's two secrets (clients/SIGNING.md). The secrets are sealed: they have to be used here."""

    key = models.OneToOneField(EnrolmentKey, models.CASCADE, primary_key=True, related_name="group", verbose_name=_("credential"))
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="enrolment_groups")
    name = models.SlugField(_("name"), max_length=40)
    primary_sealed = models.TextField(_("first secret, sealed"), editable=False)
    secondary_sealed = models.TextField(_("second secret, sealed"), editable=False)
    primary_made_at = models.DateTimeField(_("first secret made"))
    secondary_made_at = models.DateTimeField(_("second secret made"))
    allowed = ArrayField(
        models.CharField(max_length=128),
        verbose_name=_("allowed registration ids"),
        default=list,
        blank=True,
        help_text=_("Patterns with * and ?. Empty: all."),
    )
    denied = ArrayField(models.CharField(max_length=128), verbose_name=_("denied registration ids"), default=list, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("enrolment group")
        verbose_name_plural = _("enrolment groups")
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="enrolment_group_has_one_name_in_a_tenant")]

    def __str__(self) -> str:
        return self.name


class Enrolment(models.Model):
    """One device by its registration id: waiting for an admin, enabled (with settings of its own, which win over its credential's), or disabled."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting for approval")
        ENABLED = "enabled", _("enabled")
        DISABLED = "disabled", _("disabled")

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="enrolments")
    registration_id = models.CharField(_("registration id"), max_length=128)
    state = models.CharField(_("state"), max_length=10, choices=State.choices)
    reason = models.CharField(_("reason"), max_length=300, blank=True, help_text=_("For operators and admins; the device is never told."))
    ephemeral = models.BooleanField(_("ephemeral"), null=True, blank=True, help_text=_("Empty: as its credential says."))
    key_lifetime = models.DurationField(_("lifetime of its keys"), null=True, blank=True, help_text=_("Empty: as its credential says."))
    re_enrolment = models.CharField(
        _("when it asks again"),
        max_length=8,
        choices=EnrolmentKey.ReEnrolment.choices,
        blank=True,
        help_text=_("Empty: as its credential says."),
    )
    tags = ArrayField(
        models.CharField(max_length=60), verbose_name=_("tags"), null=True, blank=True, help_text=_("Empty: as its credential says.")
    )
    key = models.ForeignKey(EnrolmentKey, models.SET_NULL, null=True, blank=True, related_name="enrolments", verbose_name=_("asked with"))
    hostname = models.CharField(_("hostname"), max_length=253, blank=True)
    os = models.CharField(_("operating system"), max_length=40, blank=True)
    asked_at = models.DateTimeField(_("last asked"), null=True, blank=True)
    asked = models.PositiveIntegerField(_("times asked"), default=0)
    created_at = models.DateTimeField(_("created"))
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    decided_by = models.CharField(_("decided by"), max_length=120, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("enrolment")
        verbose_name_plural = _("enrolments")
        ordering = ["registration_id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "registration_id"], name="registration_id_is_one_enrolment"),
            models.CheckConstraint(condition=Q(state="waiting") | Q(decided_at__isnull=False), name="decided_enrolment_has_its_time"),
        ]
        indexes = [models.Index(fields=["tenant", "asked_at"], condition=Q(state="waiting"), name="enrolments_to_decide")]

    def __str__(self) -> str:
        return self.registration_id


class Nonce(models.Model):
    """A nonce that a signed request has used. Kept for as long as its timestamp would be accepted (an unlogged table: migrations/0004)."""

    id = models.BigAutoField(primary_key=True)
    key = models.ForeignKey(EnrolmentKey, models.CASCADE, related_name="+", db_index=False)
    nonce = models.CharField(max_length=64)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "nonce"], name="nonce_is_used_once")]

    def __str__(self) -> str:
        return self.nonce
