"""What of tenants' policies concerns a cluster: the document that it runs, who may change it now, routes, and what an audit found."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from placement.models.cluster import Cluster
from placement.models.living import Device
from tenants.models import Tenant
from tenants.scoping import TenantManager


class PolicyPush(models.Model):
    """One document that was meant for a cluster, and what became of it. `fence` is the token under which it was pushed."""

    class State(models.TextChoices):
        PUSHING = "pushing", _("under way")
        STORED = "stored", _("stored")
        REFUSED = "refused", _("refused")
        FAILED = "failed", _("failed")
        SUPERSEDED = "superseded", _("superseded")

    id = models.BigAutoField(primary_key=True)
    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="policy_pushes", db_index=False)
    fence = models.BigIntegerField(_("fencing token"))
    state = models.CharField(_("state"), max_length=12, choices=State.choices, default=State.PUSHING)
    started_at = models.DateTimeField(_("started"))
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    document = models.TextField(_("document"))
    digest = models.CharField(_("SHA-256"), max_length=64)
    form = models.CharField(_("form"), max_length=8, help_text=_("self or literal: of two equivalent forms the cheaper one."))
    cost = models.FloatField(_("estimated peer calculation in seconds"), default=0.0)
    rules = models.PositiveIntegerField(_("rules"), default=0)
    versions = models.JSONField(_("versions"), default=dict, help_text=_("Which version of whose policy is in it."))
    reason = models.CharField(_("reason"), max_length=1000, blank=True)

    class Meta:
        verbose_name = _("policy push")
        verbose_name_plural = _("policy pushes")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["cluster"], condition=Q(state="pushing"), name="cluster_has_one_push_under_way"),
            models.CheckConstraint(condition=Q(state="pushing") | Q(finished_at__isnull=False), name="finished_push_has_its_time"),
        ]
        indexes = [models.Index(fields=["cluster", "-id"], name="pushes_of_cluster")]

    def __str__(self) -> str:
        return f"{self.cluster_id} #{self.pk} {self.state}"


class ClusterPolicy(models.Model):
    """Whether a cluster runs what it should. `wanted` counts the changes that ask for a push, `done` up to which of them the last push reached.

    One writer at a time: who holds the lease has raised `fence`, and every later write of it names that token (placement/policies/writers.py).
    """

    cluster = models.OneToOneField(Cluster, models.CASCADE, primary_key=True, related_name="cluster_policy", verbose_name=_("cluster"))
    wanted = models.BigIntegerField(_("changes asked for"), default=0, db_default=0)
    done = models.BigIntegerField(_("changes done"), default=0, db_default=0)
    wanted_at = models.DateTimeField(_("first change that waits"), null=True, blank=True)
    changed_at = models.DateTimeField(_("last change"), null=True, blank=True)
    fence = models.BigIntegerField(_("fencing token"), default=0, db_default=0)
    lease_until = models.DateTimeField(_("lease until"), null=True, blank=True)
    running = models.ForeignKey(PolicyPush, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("running document"))
    checked_at = models.DateTimeField(_("last audited"), null=True, blank=True)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0, db_default=0)
    try_at = models.DateTimeField(_("next try"), null=True, blank=True)
    trouble = models.CharField(_("trouble"), max_length=1000, blank=True, default="", db_default="")

    class Meta:
        verbose_name = _("policy of a cluster")
        verbose_name_plural = _("policies of clusters")
        ordering = ["cluster"]
        constraints = [models.CheckConstraint(condition=Q(done__lte=F("wanted")), name="push_reaches_what_was_asked")]

    def __str__(self) -> str:
        return self.cluster_id


class Route(models.Model):
    """A prefix that a device announces or has announced, and whether its tenant may route it. 0.0.0.0/0 and ::/0 make an exit node."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        APPROVED = "approved", _("approved")
        REFUSED = "refused", _("refused")

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="routes", db_index=False)
    device = models.ForeignKey(Device, models.CASCADE, related_name="routes", db_index=False)
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="routes", db_index=False)
    prefix = models.CharField(_("prefix"), max_length=43)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.WAITING)
    announced = models.BooleanField(_("announced"), default=True, help_text=_("The device announces it now."))
    decided_by = models.CharField(_("decided by"), max_length=120, blank=True)
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    created_at = models.DateTimeField(_("first announced"))

    objects = TenantManager()

    class Meta:
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        ordering = ["prefix", "id"]
        constraints = [
            models.UniqueConstraint(fields=["device", "prefix"], name="device_announces_a_prefix_once"),
            models.CheckConstraint(condition=Q(state="waiting") | Q(decided_at__isnull=False), name="decided_route_has_its_time"),
        ]
        indexes = [
            models.Index(fields=["tenant", "prefix"], name="routes_of_tenant"),
            models.Index(fields=["cluster", "state"], name="routes_of_cluster"),
        ]

    def __str__(self) -> str:
        return self.prefix

    @property
    def is_exit(self) -> bool:
        return self.prefix in ("0.0.0.0/0", "::/0")


class AuditFinding(models.Model):
    """Something that a server runs or holds and ACS did not mean. One open row for a kind and subject; found again, it is counted."""

    class Kind(models.TextChoices):
        POLICY_FOREIGN = "policy-foreign", _("a policy that ACS did not write")
        POLICY_OTHER = "policy-other", _("another policy than the one that was pushed")
        FILTER = "filter", _("packet filters across tenants")
        STRANGER_USER = "stranger-user", _("a user of no tenant")
        USER_MISSING = "user-missing", _("a tenant without its user")
        STRANGER_NODE = "stranger-node", _("a device of no tenant")
        TAG = "tag", _("tags that ACS did not give")
        OWNER = "owner", _("a device handed to another tenant")
        ROUTE = "route", _("routes that ACS did not approve")
        MEMORY = "memory", _("memory and database differ")

    id = models.BigAutoField(primary_key=True)
    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="audit_findings", db_index=False)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    subject = models.CharField(_("about"), max_length=200)
    tenant = models.ForeignKey(Tenant, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("tenant"))
    first_at = models.DateTimeField(_("first found"))
    last_at = models.DateTimeField(_("last found"))
    times = models.PositiveIntegerField(_("times found"), default=1)
    over_at = models.DateTimeField(_("over"), null=True, blank=True)
    repair = models.CharField(_("repair"), max_length=300, blank=True, default="")
    repaired_at = models.DateTimeField(_("repaired"), null=True, blank=True)
    evidence = models.JSONField(_("evidence"), default=dict)

    objects = TenantManager()

    class Meta:
        verbose_name = _("finding of an audit")
        verbose_name_plural = _("findings of audits")
        ordering = ["-last_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["cluster", "kind", "subject"], condition=Q(over_at=None), name="one_open_finding_of_a_kind_about_a_subject"
            ),
        ]
        indexes = [models.Index(fields=["cluster", "-id"], name="findings_of_cluster")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"
