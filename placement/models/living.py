"""Who lives where: a tenant's binding, the slots of its quota, the keys promised for them, the devices that joined."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from placement.models.cluster import Cluster
from tenants.models import EnrolmentKey, Tenant
from tenants.scoping import TenantManager


class Binding(models.Model):
    """The cluster a tenant lives on. Made once, changed by a move alone."""

    tenant = models.OneToOneField(Tenant, models.PROTECT, primary_key=True, related_name="binding")
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="bindings")
    headscale_user_id = models.BigIntegerField(_("headscale user id"))
    expected_load = models.PositiveIntegerField(_("devices expected"))
    rules = models.PositiveIntegerField(
        _("own policy rules"), default=0, db_default=0, help_text=_("Rules of its own make a tenant count for more.")
    )
    moved_at = models.DateTimeField(_("last moved"), null=True, blank=True)
    reason = models.CharField(_("why this cluster"), max_length=200)
    created_at = models.DateTimeField(_("since"), auto_now_add=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("binding")
        verbose_name_plural = _("bindings")

    def __str__(self) -> str:
        return f"{self.tenant_id} -> {self.cluster_id}"


class Slot(models.Model):
    """One place of a tenant's quota, from the promise of a key until its device is gone. `quota.used` counts the unreleased ones."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="slots")
    registration_id = models.CharField(_("registration id"), max_length=128, null=True, blank=True)  # noqa: DJ001 - null means none; uniqueness needs it
    enrolment_key = models.ForeignKey(
        EnrolmentKey, models.SET_NULL, null=True, blank=True, related_name="slots", db_index=False, verbose_name=_("taken with")
    )
    proven = models.BooleanField(
        _("proven name"),
        default=False,
        db_default=False,
        help_text=_("A group's signature or a trusted token has proven the registration id: a bearer key cannot ask for it."),
    )
    taken_at = models.DateTimeField(_("taken"))
    released_at = models.DateTimeField(_("released"), null=True, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("slot")
        verbose_name_plural = _("slots")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "registration_id"],
                condition=Q(released_at=None, registration_id__isnull=False),
                name="registration_id_holds_one_slot",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant"], condition=Q(released_at=None), name="slots_taken"),
            models.Index(fields=["registration_id"], condition=Q(registration_id__isnull=False), name="slots_of_registration"),
        ]

    def __str__(self) -> str:
        return self.registration_id or str(self.id)


class Grant(models.Model):
    """One promised pre-auth key.

    reserved -> issued -> redeemed | expired | released; `unknown` when an external server fell silent while it made the key; `queued` while an
    external server has too much to do (placement/lineup.py), then reserved again.
    On a fleet the key is derived from the grant (placement/headscale/keys.py) and nothing of it is stored but its prefix.
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")
        RESERVED = "reserved", _("reserved")
        ISSUED = "issued", _("issued")
        UNKNOWN = "unknown", _("unknown")
        REDEEMED = "redeemed", _("redeemed")
        EXPIRED = "expired", _("expired")
        RELEASED = "released", _("released")

    LIVE = (State.QUEUED, State.RESERVED, State.ISSUED, State.UNKNOWN)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="grants")
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="grants", db_index=False)
    slot = models.ForeignKey(Slot, models.PROTECT, related_name="grants")
    enrolment_key = models.ForeignKey(EnrolmentKey, models.PROTECT, related_name="grants")
    state = models.CharField(_("state"), max_length=12, choices=State.choices)
    idempotency_key = models.CharField(_("idempotency key"), max_length=128, null=True, blank=True)  # noqa: DJ001 - null means none; uniqueness needs it
    request_digest = models.BinaryField(max_length=32)
    hostname = models.CharField(_("hostname"), max_length=253, blank=True)
    os = models.CharField(_("operating system"), max_length=40, blank=True)
    ephemeral = models.BooleanField(_("ephemeral"), default=False, db_default=False)
    tags = ArrayField(models.CharField(max_length=60), verbose_name=_("tags"), default=list, db_default=[], blank=True)
    keyring_id = models.CharField(_("keyring id"), max_length=20)
    key_prefix = models.CharField(_("key prefix"), max_length=12, blank=True)
    key_id = models.BigIntegerField(_("key id on the server"), null=True, blank=True)
    answer_sealed = models.TextField(blank=True, editable=False)  # external clusters: the key itself, until it expires
    created_at = models.DateTimeField(_("promised"))
    expires_at = models.DateTimeField(_("key expires"))
    asked_at = models.DateTimeField(
        _("last asked for"), null=True, blank=True, help_text=_("By a device that waits or waited in the queue of an external cluster.")
    )
    minting_at = models.DateTimeField(_("asked of the server"), null=True, blank=True, help_text=_("After it had waited in the queue."))
    issued_at = models.DateTimeField(_("issued"), null=True, blank=True)
    redeemed_at = models.DateTimeField(_("redeemed"), null=True, blank=True)
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True, help_text=_("When the sweeper reclaimed or closed it, once."))

    objects = TenantManager()

    class Meta:
        verbose_name = _("grant")
        verbose_name_plural = _("grants")
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["enrolment_key", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="idempotency_key_names_one_grant",
            ),
            models.UniqueConstraint(
                fields=["slot"], condition=Q(state__in=["queued", "reserved", "issued", "unknown"]), name="slot_holds_one_live_key"
            ),
            models.UniqueConstraint(fields=["cluster", "key_id"], condition=Q(key_id__isnull=False), name="key_belongs_to_one_grant"),
            models.UniqueConstraint(
                fields=["cluster", "expires_at"],
                condition=Q(state__in=["reserved", "unknown"]),
                name="pending_key_is_known_by_its_expiration",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["issued", "redeemed"]) | Q(key_id__isnull=False), name="issued_grant_has_key_id"
            ),
            models.CheckConstraint(
                condition=~Q(state="queued") | Q(key_id__isnull=True, asked_at__isnull=False), name="queued_grant_waits_for_its_key"
            ),
            models.CheckConstraint(condition=~Q(state="redeemed") | Q(redeemed_at__isnull=False), name="redeemed_grant_has_its_time"),
        ]
        indexes = [
            models.Index(fields=["cluster", "expires_at"], condition=Q(settled_at=None), name="grants_to_settle"),
            models.Index(fields=["cluster", "created_at"], condition=Q(key_prefix=""), name="grants_of_external_cluster"),
            models.Index(fields=["cluster", "created_at"], condition=Q(state="queued"), name="grants_in_queue"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Device(models.Model):
    """What joined: one node of a headscale server, as last seen."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="devices", db_index=False)
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="devices", db_index=False)
    node_id = models.BigIntegerField(_("node id"))
    slot = models.ForeignKey(Slot, models.PROTECT, null=True, blank=True, related_name="devices")
    grant = models.ForeignKey(Grant, models.PROTECT, null=True, blank=True, related_name="devices")
    brought_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("brought by"),
        help_text=_("The person who last signed it in."),
    )
    machine_key = models.CharField(_("machine key"), max_length=80)
    node_key = models.CharField(_("node key"), max_length=80)
    ipv4 = models.GenericIPAddressField(_("IPv4"), null=True, blank=True)
    ipv6 = models.GenericIPAddressField(_("IPv6"), null=True, blank=True)
    hostname = models.CharField(_("hostname"), max_length=253, blank=True)
    name = models.CharField(_("name"), max_length=63)
    tags = ArrayField(models.CharField(max_length=120), verbose_name=_("tags"), default=list, blank=True)
    ephemeral = models.BooleanField(_("ephemeral"), default=False)
    online = models.BooleanField(_("online"), default=False)
    first_online_at = models.DateTimeField(_("first online"), null=True, blank=True, help_text=_("As the first poll saw it that did."))
    last_seen = models.DateTimeField(_("last seen"), null=True, blank=True)
    key_expires_at = models.DateTimeField(_("login expires"), null=True, blank=True)
    joined_at = models.DateTimeField(_("joined"))
    seen_at = models.DateTimeField(_("last observed"), help_text=_("By an event or a poll."))
    unexpected = models.CharField(
        _("unexpected"), max_length=40, blank=True, help_text=_("Why this device was not expected: no-grant or second-machine.")
    )
    gone_at = models.DateTimeField(_("gone"), null=True, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("device")
        verbose_name_plural = _("devices")
        ordering = ["-joined_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["cluster", "node_id"], condition=Q(gone_at=None), name="node_is_one_device"),
            models.CheckConstraint(condition=~Q(online=True) | Q(gone_at=None), name="gone_device_is_not_online"),
        ]
        indexes = [
            models.Index(fields=["tenant", "-joined_at"], name="devices_of_tenant"),
        ]

    def __str__(self) -> str:
        return self.name


class Echo(models.Model):
    """An idempotency key whose request was answered with a key promised before: it stands for that answer like the one that made the grant."""

    enrolment_key = models.ForeignKey(EnrolmentKey, models.CASCADE, related_name="+", db_index=False)
    idempotency_key = models.CharField(_("idempotency key"), max_length=128)
    request_digest = models.BinaryField(max_length=32)
    grant = models.ForeignKey(Grant, models.CASCADE, related_name="echoes")
    created_at = models.DateTimeField(_("created"))

    class Meta:
        verbose_name = _("echo")
        verbose_name_plural = _("echoes")
        constraints = [models.UniqueConstraint(fields=["enrolment_key", "idempotency_key"], name="idempotency_key_echoes_one_grant")]

    def __str__(self) -> str:
        return f"{self.idempotency_key} -> {self.grant_id}"
