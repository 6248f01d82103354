"""What the engine decided and why, who waits for a place, and plans of moves on paper."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from placement.models.cluster import Cluster
from tenants.models import Tenant
from tenants.scoping import TenantManager


class Decision(models.Model):
    """One decision of the engine. `document` holds all that it saw, enough to decide again on paper (placement/decisions.py).

    A tenant has one `placed` for each time it was bound, and at most one `refused`, the last.
    """

    class Outcome(models.TextChoices):
        PLACED = "placed", _("placed")
        REFUSED = "refused", _("refused")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="decisions", db_index=False)
    at = models.DateTimeField(_("at"))
    outcome = models.CharField(_("outcome"), max_length=8, choices=Outcome.choices)
    cluster = models.ForeignKey(Cluster, models.SET_NULL, null=True, blank=True, related_name="decisions", verbose_name=_("cluster"))
    pool = models.CharField(_("pool"), max_length=100)
    load = models.PositiveIntegerField(_("devices expected"))
    reason = models.CharField(_("reason"), max_length=300)
    engine = models.CharField(_("engine version"), max_length=20)
    ring = models.CharField(_("ring version"), max_length=40, blank=True)
    document = models.JSONField(_("what it saw"))

    objects = TenantManager()

    class Meta:
        verbose_name = _("decision")
        verbose_name_plural = _("decisions")
        ordering = ["-at", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(outcome="placed") | Q(cluster=None), name="refused_decision_names_no_cluster"),
            models.UniqueConstraint(fields=["tenant"], condition=Q(outcome="refused"), name="tenant_has_one_last_refusal"),
        ]
        indexes = [models.Index(fields=["tenant", "-at"], name="decisions_of_tenant")]

    def __str__(self) -> str:
        return f"{self.tenant.account}: {self.get_outcome_display()} {self.cluster_id or ''}".rstrip()


class Waiting(models.Model):
    """A tenant's place in the queue: for room anywhere, or for the dedicated cluster that its plan promises while it lives on a shared one."""

    class Want(models.TextChoices):
        ROOM = "room", _("room on a cluster")
        DEDICATED = "dedicated", _("a dedicated cluster")

    tenant = models.OneToOneField(Tenant, models.CASCADE, primary_key=True, related_name="waiting", verbose_name=_("tenant"))
    want = models.CharField(_("waits for"), max_length=12, choices=Want.choices)
    since = models.DateTimeField(_("waiting since"))
    asked_at = models.DateTimeField(_("last asked"))
    asked = models.PositiveIntegerField(_("times asked"), default=1)
    regions = ArrayField(models.SlugField(max_length=32), verbose_name=_("regions"), help_text=_("In order of preference."))
    service_class = models.SlugField(_("service class"), max_length=32)
    residency = models.SlugField(_("residency"), max_length=32, blank=True)
    load = models.PositiveIntegerField(_("devices expected"))
    why = models.CharField(_("why it waits"), max_length=300, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("waiting tenant")
        verbose_name_plural = _("waiting tenants")
        ordering = ["since", "tenant"]
        indexes = [models.Index(fields=["want", "since"], name="waiting_in_order")]

    def __str__(self) -> str:
        return self.tenant.account


class MovePlan(models.Model):
    """Moves on paper: reviewed, exported, carried out by the moves' own machinery or discarded. The document never changes."""

    class Kind(models.TextChoices):
        REBALANCE = "rebalance", _("rebalance")
        DRAIN = "drain", _("drain")

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        APPROVED = "approved", _("approved")
        DISCARDED = "discarded", _("discarded")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices)
    state = models.CharField(_("state"), max_length=12, choices=State.choices, default=State.DRAFT)
    subject = models.CharField(_("pool or clusters"), max_length=200)
    made_at = models.DateTimeField(_("made"))
    made_by = models.CharField(_("by"), max_length=120)
    reviewed_at = models.DateTimeField(_("reviewed"), null=True, blank=True)
    reviewed_by = models.CharField(_("reviewed by"), max_length=120, blank=True)
    moves = models.PositiveIntegerField(_("moves"))
    document = models.JSONField(_("document"))

    class Meta:
        verbose_name = _("plan of moves")
        verbose_name_plural = _("plans of moves")
        ordering = ["-made_at", "id"]
        constraints = [models.CheckConstraint(condition=Q(state="draft") | Q(reviewed_at__isnull=False), name="reviewed_plan_has_its_time")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} {self.made_at:%F %T}"
