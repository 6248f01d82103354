"""Tenants' network policies: every version that was ever stored, which one counts, and what two tenants agreed to share."""

from __future__ import annotations

import uuid
from typing import Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from tenants.models.tenant import Tenant
from tenants.scoping import Row_co, TenantManager, TenantQuerySet


class PolicyVersion(models.Model):
    """One version of a tenant's policy document, as it was written. An empty text is the default: every device reaches every other. Never changed."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="policy_versions", db_index=False)
    number = models.PositiveIntegerField(_("version"))
    text = models.TextField(_("document"), blank=True)
    digest = models.CharField(_("SHA-256"), max_length=64)
    restores = models.PositiveIntegerField(_("restores version"), null=True, blank=True)
    note = models.CharField(_("note"), max_length=200, blank=True)
    author = models.CharField(_("by"), max_length=120)
    created_at = models.DateTimeField(_("stored"))

    objects = TenantManager()

    class Meta:
        verbose_name = _("version of a network policy")
        verbose_name_plural = _("versions of network policies")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "number"], name="policy_version_has_one_number_in_a_tenant"),
            models.CheckConstraint(condition=Q(number__gt=0), name="policy_versions_count_from_one"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant.account} v{self.number}"


class NetworkPolicy(models.Model):
    """The tenant's policy: the version that counts, and the one that its server last took. The row that editors lock; none is the default policy."""

    tenant = models.OneToOneField(Tenant, models.CASCADE, primary_key=True, related_name="network_policy", verbose_name=_("tenant"))
    current = models.ForeignKey(PolicyVersion, models.PROTECT, related_name="+", verbose_name=_("current version"))
    running = models.ForeignKey(PolicyVersion, models.PROTECT, related_name="+", null=True, blank=True, verbose_name=_("running version"))
    trouble = models.CharField(
        _("trouble"), max_length=1000, blank=True, default="", help_text=_("Why the server does not run the current version.")
    )
    trouble_at = models.DateTimeField(_("since"), null=True, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("network policy")
        verbose_name_plural = _("network policies")
        ordering = ["tenant"]

    def __str__(self) -> str:
        return str(self.current)


class PeeringQuerySet(TenantQuerySet[Row_co]):
    """A peering has two tenants, and is a row of both."""

    def of(self, tenant: Tenant | UUID) -> Self:
        return self._opened().filter(Q(host=tenant) | Q(guest=tenant))


class PeeringManager(TenantManager[Row_co]):
    def get_queryset(self) -> PeeringQuerySet[Row_co]:
        return PeeringQuerySet(self.model, using=self._db, hints=self._hints)  # type: ignore[attr-defined]


class Peering(models.Model):
    """What the host shares with the guest: `dst` and `services` are named by the host, `src`, who of the guest may use it, by the guest.

    offered -> accepted -> ended, or offered -> ended. Each side may end it at any time.
    """

    class State(models.TextChoices):
        OFFERED = "offered", _("offered")
        ACCEPTED = "accepted", _("accepted")
        ENDED = "ended", _("ended")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.ForeignKey(Tenant, models.CASCADE, related_name="peerings_offered", verbose_name=_("host"))
    guest = models.ForeignKey(Tenant, models.CASCADE, related_name="peerings_received", verbose_name=_("guest"))
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.OFFERED)
    description = models.CharField(_("description"), max_length=200, blank=True)
    dst = ArrayField(
        models.CharField(max_length=130), verbose_name=_("shared"), help_text=_("The host's own words: tags, groups, devices, *.")
    )
    services = ArrayField(models.CharField(max_length=30), verbose_name=_("services"), help_text=_("As in grants: *, 443, tcp:80-90."))
    src = ArrayField(
        models.CharField(max_length=130),
        verbose_name=_("used by"),
        default=list,
        blank=True,
        help_text=_("The guest's own words: tags, groups, devices, *."),
    )
    offered_at = models.DateTimeField(_("offered"))
    offered_by = models.CharField(_("offered by"), max_length=120)
    accepted_at = models.DateTimeField(_("accepted"), null=True, blank=True)
    accepted_by = models.CharField(_("accepted by"), max_length=120, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    ended_by = models.CharField(_("ended by"), max_length=120, blank=True)

    objects = PeeringManager()

    class Meta:
        verbose_name = _("peering")
        verbose_name_plural = _("peerings")
        ordering = ["-offered_at", "id"]
        constraints = [
            models.CheckConstraint(condition=~Q(host=F("guest")), name="peering_joins_two_tenants"),
            models.CheckConstraint(
                condition=~Q(state="accepted") | Q(accepted_at__isnull=False) & ~Q(src=[]), name="accepted_peering_says_who_uses_it"
            ),
            models.CheckConstraint(
                condition=Q(state="ended", ended_at__isnull=False) | ~Q(state="ended"), name="ended_peering_has_its_time"
            ),
            models.CheckConstraint(condition=~Q(dst=[]) & ~Q(services=[]), name="peering_shares_something"),
        ]

    def __str__(self) -> str:
        return f"{self.host.account} -> {self.guest.account}"
