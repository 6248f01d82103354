"""Invoices and credit notes, their lines, the numbers that they get, and what became of each subscription's month. The database keeps what was finalised."""

from __future__ import annotations

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from billing.models.subscriptions import Subscription
from tenants.models import Tenant
from tenants.scoping import TenantManager

KEEP = """
IF TG_OP = 'INSERT' THEN
    IF NEW.state <> 'draft' THEN RAISE EXCEPTION 'an invoice begins as a draft'; END IF;
    RETURN NEW;
END IF;
IF OLD.state = 'draft' THEN
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    IF NEW.state NOT IN ('draft', 'finalised') THEN RAISE EXCEPTION 'a draft is finalised before it is anything else'; END IF;
    RETURN NEW;
END IF;
IF TG_OP = 'DELETE' THEN RAISE EXCEPTION 'a finalised invoice is never deleted'; END IF;
IF to_jsonb(NEW) - '{state,settled_at}'::text[] IS DISTINCT FROM to_jsonb(OLD) - '{state,settled_at}'::text[] THEN
    RAISE EXCEPTION 'a finalised invoice never changes: it is corrected by a credit note';
END IF;
IF NEW.state <> OLD.state AND NOT (OLD.state = 'finalised' AND NEW.state IN ('paid', 'void', 'uncollectible')
        OR OLD.state = 'uncollectible' AND NEW.state = 'paid' OR OLD.state = 'paid' AND NEW.state = 'finalised') THEN
    RAISE EXCEPTION 'an invoice that is % does not become %', OLD.state, NEW.state;
END IF;
RETURN NEW;
"""
OF_A_DRAFT = """
PERFORM 1 FROM billing_invoice WHERE id IN (OLD.invoice_id, NEW.invoice_id) FOR SHARE;
IF EXISTS (SELECT 1 FROM billing_invoice WHERE id IN (OLD.invoice_id, NEW.invoice_id) AND state <> 'draft') THEN
    RAISE EXCEPTION 'the lines of a finalised invoice never change';
END IF;
IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
RETURN NEW;
"""


def kept(name: str, func: str) -> list[pgtrigger.Trigger]:
    return [
        pgtrigger.Trigger(name=name, when=pgtrigger.Before, operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete, func=func),
        pgtrigger.Trigger(
            name="no_truncate",
            when=pgtrigger.Before,
            operation=pgtrigger.Truncate,
            level=pgtrigger.Statement,
            func="RAISE EXCEPTION 'invoices are kept';",
        ),
    ]


class Invoice(models.Model):
    """A month of a subscription, priced. A draft is made anew as often as wanted; a finalised one is a document, frozen as it was sent.

    Amounts in minor units: gross = net + tax = spent + payable - carried - set_off. `spent`: paid by the tenant's balance; `carried`: gone to it;
    `set_off`: what a credit note takes off the invoice that it corrects.
    """

    class Kind(models.TextChoices):
        INVOICE = "invoice", _("invoice")
        CREDIT_NOTE = "credit_note", _("credit note")

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        FINALISED = "finalised", _("finalised")
        PAID = "paid", _("paid")
        VOID = "void", _("void")
        UNCOLLECTIBLE = "uncollectible", _("uncollectible")

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="invoices", verbose_name=_("tenant"), db_index=False)
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="invoices", verbose_name=_("subscription"), db_index=False)
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices, default=Kind.INVOICE)
    corrects = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="credit_notes", verbose_name=_("corrects"))
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    state = models.CharField(_("state"), max_length=13, choices=State.choices, default=State.DRAFT)
    period_start = models.DateTimeField(_("from"))
    period_end = models.DateTimeField(_("to"))
    entity = models.CharField(_("entity"), max_length=8, blank=True)
    series = models.CharField(_("series"), max_length=8, blank=True)
    year = models.PositiveSmallIntegerField(_("year"), null=True, blank=True)
    number = models.PositiveIntegerField(_("number in its series"), null=True, blank=True)
    name = models.CharField(_("number"), max_length=32, blank=True)
    currency = models.CharField(_("currency"), max_length=3)
    language = models.CharField(_("language"), max_length=7)
    seller = models.JSONField(_("seller"), default=dict, blank=True)
    buyer = models.JSONField(_("buyer"), default=dict)
    treatment = models.JSONField(_("how it is taxed"), default=dict)
    terms = models.JSONField(_("terms"), default=list)
    taxes = models.JSONField(_("taxes"), default=list, blank=True)
    net = models.BigIntegerField(_("net"))
    tax = models.BigIntegerField(_("tax"))
    gross = models.BigIntegerField(_("total"))
    spent = models.BigIntegerField(_("paid by the balance"), default=0)
    payable = models.BigIntegerField(_("payable"), default=0)
    carried = models.BigIntegerField(_("to the balance"), default=0)
    set_off = models.BigIntegerField(_("set off"), default=0)
    made_at = models.DateTimeField(_("made"))
    issued_at = models.DateTimeField(_("issued"), null=True, blank=True)
    due_at = models.DateTimeField(_("due"), null=True, blank=True)
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("invoice")
        verbose_name_plural = _("invoices")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "period_start"], condition=Q(kind="invoice") & ~Q(state="void"), name="subscription_has_one_invoice_a_period"
            ),
            models.UniqueConstraint(fields=["entity", "series", "year", "number"], name="number_of_an_invoice_is_there_once"),
            models.UniqueConstraint(fields=["name"], condition=~Q(name=""), name="name_of_an_invoice_is_there_once"),
            models.CheckConstraint(condition=Q(period_end__gt=F("period_start")), name="period_of_an_invoice_has_a_length"),
            models.CheckConstraint(
                condition=Q(state="draft", number=None, name="", issued_at=None)
                | ~Q(state="draft") & ~Q(name="") & ~Q(series="") & Q(number__gt=0, year__isnull=False, issued_at__isnull=False, due_at__isnull=False),
                name="invoice_has_a_number_once_it_is_finalised",
            ),
            models.CheckConstraint(
                condition=Q(kind="invoice", corrects=None, set_off=0) | Q(kind="credit_note", corrects__isnull=False, gross__lte=0),
                name="credit_note_corrects_an_invoice",
            ),
            models.CheckConstraint(
                condition=Q(
                    gross=F("net") + F("tax"), spent__gte=0, payable__gte=0, carried__gte=0, set_off__gte=0,
                )
                & Q(gross=F("spent") + F("payable") - F("carried") - F("set_off")),
                name="sums_of_an_invoice_agree",
            ),
        ]  # fmt: skip
        indexes = [
            models.Index(fields=["tenant", "-id"], name="invoices_of_tenant"),
            models.Index(fields=["period_start", "state"], name="invoices_of_period"),
        ]
        triggers = kept("finalised_never_changes", KEEP)

    def __str__(self) -> str:
        return self.name or f"{self.period_start:%Y-%m}"


class InvoiceLine(models.Model):
    """A line of the rating, frozen, with what it drills down to. On a credit note: which line it corrects, and that line's amount `before` and `after`."""

    id = models.BigAutoField(primary_key=True)
    invoice = models.ForeignKey(Invoice, models.CASCADE, related_name="lines", verbose_name=_("invoice"), db_index=False)
    position = models.PositiveIntegerField(_("position"))
    corrects = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="corrections", verbose_name=_("corrects"))
    before = models.BigIntegerField(_("before"), null=True, blank=True)
    after = models.BigIntegerField(_("after"), null=True, blank=True)
    what = models.CharField(_("what"), max_length=8)
    component = models.CharField(_("component"), max_length=40)
    kind = models.CharField(_("kind"), max_length=20, blank=True)
    charged = models.CharField(_("charged"), max_length=8)
    plan = models.CharField(_("plan"), max_length=40)
    version = models.PositiveIntegerField(_("version"))
    phase = models.DateTimeField(_("phase"))
    start = models.DateTimeField(_("from"))
    end = models.DateTimeField(_("to"))
    due = models.DateTimeField(_("due"))
    quantity = models.DecimalField(_("quantity"), max_digits=20, decimal_places=6)
    unit = models.CharField(_("unit"), max_length=12)
    unit_price = models.DecimalField(_("unit price"), max_digits=20, decimal_places=8)
    share = models.CharField(_("share"), max_length=60, default="1")
    amount = models.BigIntegerField(_("amount"))
    percent = models.DecimalField(_("tax in percent"), max_digits=5, decimal_places=2)
    inclusive = models.BooleanField(_("tax is included"), default=False)
    cluster_id = models.CharField(_("cluster"), max_length=32, blank=True)
    clusters = models.JSONField(_("by cluster"), default=list, blank=True)
    evidence = models.CharField(_("drills down to"), max_length=9)

    class Meta:
        verbose_name = _("line of an invoice")
        verbose_name_plural = _("lines of invoices")
        ordering = ["invoice", "position"]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "position"], name="lines_of_an_invoice_are_numbered"),
            models.CheckConstraint(
                condition=Q(before=None, after=None, corrects=None)
                | Q(before__isnull=False, after__isnull=False, amount=F("after") - F("before")),
                name="correction_of_a_line_says_its_difference",
            ),
        ]
        triggers = kept("only_of_a_draft", OF_A_DRAFT)

    def __str__(self) -> str:
        return f"{self.position} {self.component}"


class NumberSeries(models.Model):
    """The last number of a series in a year: the row that finalisations take one after the other, so that no number is left out."""

    id = models.BigAutoField(primary_key=True)
    entity = models.CharField(_("entity"), max_length=8, blank=True)
    series = models.CharField(_("series"), max_length=8)
    year = models.PositiveSmallIntegerField(_("year"))
    last = models.PositiveIntegerField(_("last number"), default=0)

    class Meta:
        verbose_name = _("series of numbers")
        verbose_name_plural = _("series of numbers")
        constraints = [models.UniqueConstraint(fields=["entity", "series", "year"], name="series_of_a_year_is_there_once")]

    def __str__(self) -> str:
        return f"{self.series} {self.year}: {self.last}"


class ClosedPeriod(models.Model):
    """What the close of a month came to for a subscription. `refused` ones are tried again by the next close."""

    class Outcome(models.TextChoices):
        INVOICED = "invoiced", _("invoiced")
        NOTHING = "nothing", _("nothing to bill")
        REFUSED = "refused", _("could not be billed")

    id = models.BigAutoField(primary_key=True)
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="closed", verbose_name=_("subscription"), db_index=False)
    period_start = models.DateTimeField(_("from"))
    outcome = models.CharField(_("outcome"), max_length=8, choices=Outcome.choices)
    code = models.CharField(_("code"), max_length=40, blank=True)
    detail = models.CharField(_("reason"), max_length=300, blank=True)
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("closed month")
        verbose_name_plural = _("closed months")
        ordering = ["-period_start", "subscription"]
        constraints = [models.UniqueConstraint(fields=["subscription", "period_start"], name="month_of_a_subscription_is_closed_once")]
        indexes = [models.Index(fields=["period_start", "outcome"], name="closed_of_period")]

    def __str__(self) -> str:
        return f"{self.subscription_id} {self.period_start:%Y-%m}"
