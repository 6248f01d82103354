"""A tenant, the plan it is on, who belongs to it, and the quota row that admission counts in."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from tenants.scoping import TenantManager


class Plan(models.Model):
    """What a tenant may use. Prices are billing's; limits are here, for admission reads them."""

    class Strategy(models.TextChoices):
        SHARED = "shared", _("shared clusters")
        DEDICATED = "dedicated", _("a cluster of its own")

    name = models.SlugField(_("name"), primary_key=True, max_length=40)
    title = models.CharField(_("title"), max_length=80)
    max_devices = models.PositiveIntegerField(_("devices at most"))
    expected_devices = models.PositiveIntegerField(
        _("devices expected"), default=10, help_text=_("What a new tenant counts for when a cluster is chosen.")
    )
    regions = ArrayField(
        models.SlugField(max_length=32), verbose_name=_("regions"), default=list, blank=True, help_text=_("Empty: every region.")
    )
    default_region = models.SlugField(_("default region"), max_length=32, blank=True)
    service_class = models.SlugField(
        _("service class"),
        max_length=32,
        default="standard",
        db_default="standard",
        help_text=_("Its tenants live on clusters of this service class."),
    )
    strategy = models.CharField(_("clusters"), max_length=12, choices=Strategy.choices, default=Strategy.SHARED)

    class Meta:
        verbose_name = _("plan")
        verbose_name_plural = _("plans")

    def __str__(self) -> str:
        return self.title


class Tenant(models.Model):
    """A customer's network. Its account is a host name label, a headscale user and a tag prefix at once (tenants/accounts.py)."""

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        SUSPENDED = "suspended", _("suspended")
        CLOSED = "closed", _("closed")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.CharField(_("account"), max_length=40, unique=True)
    title = models.CharField(_("title"), max_length=120, blank=True)
    plan = models.ForeignKey(Plan, models.PROTECT, verbose_name=_("plan"), related_name="tenants")
    residency = models.SlugField(
        _("residency"),
        max_length=32,
        blank=True,
        default="",
        db_default="",
        help_text=_("The jurisdiction its data must stay in. Empty: anywhere."),
    )
    state = models.CharField(_("state"), max_length=12, choices=State.choices, default=State.ACTIVE)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    suspended_at = models.DateTimeField(_("suspended"), null=True, blank=True)
    devices_expire_at = models.DateTimeField(
        _("devices expire"), null=True, blank=True, help_text=_("End of the grace period of a suspension.")
    )
    restricted_at = models.DateTimeField(
        _("no new keys since"), null=True, blank=True, help_text=_("A payment is overdue: devices stay, new ones are refused.")
    )
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)
    devices_delete_at = models.DateTimeField(
        _("devices deleted"), null=True, blank=True, help_text=_("End of the retention period of a closed tenant.")
    )

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        ordering = ["account"]
        constraints = [
            models.CheckConstraint(
                condition=Q(account__regex=r"^[a-z]([a-z0-9-]*[a-z0-9])?$") & ~Q(account__contains="--"),
                name="account_is_a_host_name_label",
            ),
            models.CheckConstraint(
                condition=Q(state="active", suspended_at=None, closed_at=None) | ~Q(state="active"),
                name="active_tenant_is_neither_suspended_nor_closed",
            ),
            models.CheckConstraint(
                condition=~Q(state="closed") | Q(closed_at__isnull=False, devices_delete_at__isnull=False),
                name="closed_tenant_has_its_dates",
            ),
        ]

    def __str__(self) -> str:
        return self.account


class Quota(models.Model):
    """How many device slots a tenant may take and has taken: registered devices and held grants; how many members it may have. Only tenants/quota.py
    writes it."""

    tenant = models.OneToOneField(Tenant, models.CASCADE, primary_key=True, related_name="quota")
    limit = models.PositiveIntegerField(_("limit"))
    used = models.PositiveIntegerField(_("used"), default=0)
    max_members = models.PositiveIntegerField(_("members at most"), null=True, blank=True, help_text=_("Empty: as many as there are."))

    class Meta:
        verbose_name = _("quota")
        verbose_name_plural = _("quotas")

    def __str__(self) -> str:
        return f"{self.used}/{self.limit}"

    @property
    def free(self) -> int:
        return max(0, self.limit - self.used)


class Membership(models.Model):
    """A person's role in a tenant."""

    class Role(models.TextChoices):
        OWNER = "owner", _("owner")
        ADMIN = "admin", _("admin")
        BILLING = "billing", _("billing")
        MEMBER = "member", _("member")
        AUDITOR = "auditor", _("auditor")

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(_("role"), max_length=12, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(_("since"), auto_now_add=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="person_has_one_role_in_a_tenant")]

    def __str__(self) -> str:
        return f"{self.user}: {self.get_role_display()}"
