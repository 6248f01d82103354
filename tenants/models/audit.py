"""The audit: one row per sensitive act, append-only in the database, sealed into its tenant's hash chain right after.

The event is written in the act's own transaction; the seal follows in another one, so that acts of one tenant never wait for
each other. An unsealed event is visible as such; a sealed one cannot change unnoticed.
"""

from __future__ import annotations

import pgtrigger
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from tenants.models.tenant import Tenant
from tenants.scoping import TenantManager

APPEND_ONLY = [
    pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete),
    pgtrigger.Trigger(
        name="no_truncate",
        when=pgtrigger.Before,
        operation=pgtrigger.Truncate,
        level=pgtrigger.Statement,
        func="RAISE EXCEPTION 'the audit is append-only';",
    ),
]


class AuditEvent(models.Model):
    """Who did what to what. `detail` never holds a secret."""

    at = models.DateTimeField(_("at"))
    tenant = models.ForeignKey(Tenant, models.PROTECT, null=True, blank=True, related_name="audit_events")
    actor = models.CharField(_("actor"), max_length=120, help_text=_("person:ID, token:ID, operator:NAME, device:ID or system:NAME"))
    verb = models.CharField(_("act"), max_length=60)
    target = models.CharField(_("target"), max_length=120, blank=True)
    detail = models.JSONField(_("detail"), default=dict)
    request_id = models.CharField(_("request"), max_length=64, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        ordering = ["-id"]
        indexes = [models.Index(fields=["tenant", "-id"], name="audit_of_tenant")]
        triggers = APPEND_ONLY

    def __str__(self) -> str:
        return f"{self.verb} {self.target}"


class AuditChain(models.Model):
    """The head of one tenant's chain (no tenant: the operators' own): the row that sealing locks."""

    tenant = models.OneToOneField(Tenant, models.PROTECT, null=True, blank=True, related_name="audit_chain")
    length = models.PositiveBigIntegerField(default=0)
    head = models.BinaryField(max_length=32, default=bytes(32))

    class Meta:
        constraints = [models.UniqueConstraint(models.Value(1), condition=Q(tenant=None), name="operators_have_one_audit_chain")]

    def __str__(self) -> str:
        return f"{self.tenant or 'operators'}: {self.length}"


class AuditSeal(models.Model):
    """An event's place in its chain: hash = SHA-256(previous hash, canonical event)."""

    event = models.OneToOneField(AuditEvent, models.PROTECT, primary_key=True, related_name="seal")
    chain = models.ForeignKey(AuditChain, models.PROTECT, related_name="seals")
    position = models.PositiveBigIntegerField()
    hash = models.BinaryField(max_length=32)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chain", "position"], name="audit_chain_has_no_fork")]
        triggers = APPEND_ONLY

    def __str__(self) -> str:
        return f"{self.chain_id}/{self.position}"
