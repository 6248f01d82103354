"""What customers are told by e-mail: written in the transaction of what it tells, sent by a task, kept."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from billing.models.invoices import Invoice
from tenants.models import Tenant
from tenants.scoping import TenantManager


class Notice(models.Model):
    """One e-mail to a tenant's billing account. `event` names what it tells: there is one notice of an event at most.

    waiting -> sent | dropped (no longer so, or not wanted, when its turn came) | given_up (nobody took it for days). Language and address are the account's
    when it is sent. `claimed_until`: a sender has it in hand until then; one that was killed leaves it to the next.
    """

    class Kind(models.TextChoices):
        INVOICE = "invoice", _("invoice")
        CREDIT_NOTE = "credit_note", _("credit note")
        DUNNING = "dunning", _("overdue payment")
        LIFTED = "lifted", _("restriction lifted")
        QUOTA = "quota", _("many devices")

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        SENT = "sent", _("sent")
        DROPPED = "dropped", _("not wanted any more")
        GIVEN_UP = "given_up", _("given up")

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="notices", verbose_name=_("tenant"), db_index=False)
    kind = models.CharField(_("kind"), max_length=11, choices=Kind.choices)
    event = models.CharField(_("event"), max_length=160, unique=True, help_text=_("What it tells; at most one notice does."))
    invoice = models.ForeignKey(Invoice, models.PROTECT, null=True, blank=True, related_name="notices", verbose_name=_("invoice"))
    facts = models.JSONField(_("facts"), default=dict, blank=True)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.WAITING)
    made_at = models.DateTimeField(_("made"))
    next_at = models.DateTimeField(_("next try"))
    claimed_until = models.DateTimeField(_("in hand until"), null=True, blank=True)
    tries = models.PositiveIntegerField(_("tries"), default=0)
    problem = models.CharField(_("last problem"), max_length=300, blank=True)
    recipient = models.CharField(_("sent to"), max_length=254, blank=True)
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("notice by e-mail")
        verbose_name_plural = _("notices by e-mail")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(state="waiting", settled_at=None) | ~Q(state="waiting") & Q(settled_at__isnull=False), name="notice_is_settled_or_waits"),
            models.CheckConstraint(condition=~Q(state="sent") | ~Q(recipient=""), name="sent_notice_has_a_recipient"),
        ]  # fmt: skip
        indexes = [
            models.Index(fields=["next_at", "id"], condition=Q(state="waiting"), name="notices_to_send"),
            models.Index(fields=["tenant", "-id"], name="notices_of_tenant"),
        ]

    def __str__(self) -> str:
        return self.event
