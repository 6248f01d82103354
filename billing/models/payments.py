"""How invoices are paid: references that payers write, statements of banks, payments (a ledger), links and events of card payments."""

from __future__ import annotations

import pgtrigger
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from billing.models.invoices import Invoice
from tenants.models import Tenant
from tenants.scoping import TenantManager

APPEND_ONLY = "RAISE EXCEPTION 'payments are append-only: undo one by a counter-entry';"
NEVER_MORE_THAN_CAME = """
SELECT * INTO undone FROM billing_payment WHERE id = NEW.undoes_id;
IF (undone.tenant_id, undone.invoice_id, undone.currency) <> (NEW.tenant_id, NEW.invoice_id, NEW.currency) THEN
    RAISE EXCEPTION 'a counter-entry is of the invoice of its payment';
END IF;
IF NEW.amount > 0 THEN
    IF undone.amount <> -NEW.amount THEN RAISE EXCEPTION 'what comes back is a whole counter-entry'; END IF;
    RETURN NEW;
END IF;
SELECT sum(amount) INTO standing FROM billing_payment WHERE id = undone.id OR undoes_id = undone.id
    OR undoes_id IN (SELECT id FROM billing_payment WHERE undoes_id = undone.id);
IF undone.undoes_id IS NOT NULL OR standing + NEW.amount < 0 THEN RAISE EXCEPTION 'more would go back than came'; END IF;
RETURN NEW;
"""


class PaymentReference(models.Model):
    """What the payer of an invoice writes: a creditor reference by ISO 11649, whose check digits show a slip of the pen."""

    invoice = models.OneToOneField(Invoice, models.PROTECT, primary_key=True, related_name="payment_reference", verbose_name=_("invoice"))
    reference = models.CharField(_("reference"), max_length=25, unique=True)

    class Meta:
        verbose_name = _("payment reference")
        verbose_name_plural = _("payment references")
        constraints = [
            models.CheckConstraint(condition=Q(reference__regex="^RF[0-9]{2}[0-9A-Z]{1,21}$"), name="reference_is_of_iso_11649"),
        ]

    def __str__(self) -> str:
        return self.reference


class Statement(models.Model):
    """What a file of a bank says of one account, imported whole or not at all. The same file again is a no-op."""

    class Format(models.TextChoices):
        CAMT = "camt", _("CAMT.053")
        CSV = "csv", _("CSV")

    id = models.BigAutoField(primary_key=True)
    digest = models.CharField(_("digest"), max_length=64, help_text=_("SHA-256 of the file."))
    format = models.CharField(_("format"), max_length=4, choices=Format.choices)
    name = models.CharField(_("file"), max_length=200, blank=True)
    account = models.CharField(_("account"), max_length=34, help_text=_("The IBAN of ours that it is of."))
    bank_id = models.CharField(_("the bank's name of it"), max_length=200, blank=True)
    entries_in_file = models.PositiveIntegerField(_("entries in the file"))
    known_before = models.PositiveIntegerField(_("known before"), default=0)
    imported_at = models.DateTimeField(_("imported"))
    imported_by = models.CharField(_("imported by"), max_length=120)

    class Meta:
        verbose_name = _("statement")
        verbose_name_plural = _("statements")
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["digest", "account"], name="statement_of_an_account_is_there_once")]

    def __str__(self) -> str:
        return self.name or self.bank_id or self.digest[:12]


class StatementEntry(models.Model):
    """One booked entry of an account of ours. Amounts in minor units; what left the account is below nothing. Only `state` and `reason` ever change."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        MATCHED = "matched", _("matched")
        UNMATCHED = "unmatched", _("unmatched")
        ASIDE = "aside", _("set aside")

    class Reason(models.TextChoices):
        NONE = "", _("none")
        NO_HINT = "no_hint", _("names no invoice")
        UNKNOWN = "unknown", _("names an invoice that there is not")
        SEVERAL = "several", _("names several invoices, which come to another amount")
        AMOUNT = "amount", _("names an invoice by its number alone, of which another amount is open")
        CURRENCY = "currency", _("in another currency than the invoice")
        NOT_OPEN = "not_open", _("the invoice is not open")
        DEBIT = "debit", _("money that left the account")
        REVERSAL = "reversal", _("a reversal")
        BATCH = "batch", _("several transfers in one entry, without their amounts")
        UNDONE = "undone", _("its payment was undone")

    id = models.BigAutoField(primary_key=True)
    statement = models.ForeignKey(Statement, models.PROTECT, related_name="entries", verbose_name=_("statement"))
    account = models.CharField(_("account"), max_length=34)
    bank_reference = models.CharField(_("the bank's reference"), max_length=100)
    amount = models.BigIntegerField(_("amount in minor units"))
    currency = models.CharField(_("currency"), max_length=3)
    value_date = models.DateField(_("value date"))
    text = models.CharField(_("text"), max_length=1000, blank=True)
    counterparty = models.CharField(_("counterparty"), max_length=200, blank=True)
    counterparty_account = models.CharField(_("account of the counterparty"), max_length=40, blank=True)
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.WAITING)
    reason = models.CharField(_("reason"), max_length=10, choices=Reason.choices, blank=True)

    class Meta:
        verbose_name = _("entry of a statement")
        verbose_name_plural = _("entries of statements")
        ordering = ["-value_date", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["account", "bank_reference"], name="entry_of_an_account_is_there_once"),
            models.CheckConstraint(condition=~Q(amount=0) | ~Q(state="matched"), name="only_money_is_matched"),
        ]
        indexes = [models.Index(fields=["state", "-value_date"], name="entries_by_state")]
        triggers = [
            pgtrigger.Trigger(
                name="what_the_bank_said_stays",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func="""
                IF to_jsonb(NEW) - '{state,reason}'::text[] IS DISTINCT FROM to_jsonb(OLD) - '{state,reason}'::text[] THEN
                    RAISE EXCEPTION 'what the bank said never changes';
                END IF;
                RETURN NEW;""",
            ),
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.bank_reference}"


class Payment(models.Model):
    """A line of the ledger of payments: `amount` came for an invoice, of which `credited` was more than was open and went to the tenant's balance. Minor
    units. What goes back of it, all or a part, is a counter-entry below nothing that names it, and takes `credited` from the balance. What comes back after
    all is a line above nothing that names the counter-entry."""

    class Provider(models.TextChoices):
        BANK = "bank", _("bank transfer")
        STRIPE = "stripe", _("Stripe")

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="payments", verbose_name=_("tenant"))
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="payments", verbose_name=_("invoice"))
    provider = models.CharField(_("by"), max_length=8, choices=Provider.choices)
    provider_reference = models.CharField(_("the provider's reference"), max_length=160, help_text=_("At most one payment has it."))
    entry = models.ForeignKey(
        StatementEntry, models.PROTECT, null=True, blank=True, related_name="payments", verbose_name=_("entry of a statement")
    )
    undoes = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="counters", verbose_name=_("undoes"))
    amount = models.BigIntegerField(_("amount in minor units"))
    credited = models.BigIntegerField(_("of it to the balance"), default=0)
    currency = models.CharField(_("currency"), max_length=3)
    paid_at = models.DateTimeField(_("paid"))
    recorded_at = models.DateTimeField(_("recorded"))
    recorded_by = models.CharField(_("recorded by"), max_length=120)
    note = models.CharField(_("note"), max_length=300, blank=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "provider_reference"], name="payment_of_a_provider_is_there_once"),
            models.UniqueConstraint(fields=["undoes"], condition=Q(amount__gt=0), name="counter_entry_comes_back_once"),
            models.CheckConstraint(
                condition=Q(amount__gt=0, credited__gte=0, credited__lte=models.F("amount"))
                | Q(undoes__isnull=False, amount__lt=0, credited__lte=0, credited__gte=models.F("amount")),
                name="payment_comes_and_a_counter_entry_goes",
            ),
        ]
        triggers = [
            pgtrigger.Trigger(name="append_only", when=pgtrigger.Before, operation=pgtrigger.Update | pgtrigger.Delete, func=APPEND_ONLY),
            pgtrigger.Trigger(
                name="never_more_than_came",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                condition=pgtrigger.Q(new__undoes__isnull=False),
                declare=[("undone", "billing_payment%ROWTYPE"), ("standing", "bigint")],
                func=NEVER_MORE_THAN_CAME,
            ),
            pgtrigger.Trigger(
                name="no_truncate", when=pgtrigger.Before, operation=pgtrigger.Truncate, level=pgtrigger.Statement, func=APPEND_ONLY
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.provider_reference}"


class PaymentLink(models.Model):
    """A page of the card provider's where one invoice can be paid, for a day at most."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="payment_links", verbose_name=_("tenant"))
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="payment_links", verbose_name=_("invoice"))
    session_id = models.CharField(_("the provider's id"), max_length=200, unique=True)
    url = models.URLField(_("address"), max_length=2000)
    amount = models.BigIntegerField(_("amount in minor units"))
    currency = models.CharField(_("currency"), max_length=3)
    made_at = models.DateTimeField(_("made"))
    expires_at = models.DateTimeField(_("expires"))
    ended_at = models.DateTimeField(
        _("used up"), null=True, blank=True, help_text=_("It has been paid there, or a payment there has failed.")
    )

    objects = TenantManager()

    class Meta:
        verbose_name = _("payment link")
        verbose_name_plural = _("payment links")
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.session_id


class ProviderEvent(models.Model):
    """A message of the card provider's, each of which counts once. What it says is looked up there again before anything is done."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        DONE = "done", _("done")
        IGNORED = "ignored", _("of no interest")
        KEPT = "kept", _("kept for people")

    id = models.CharField(_("the provider's id"), max_length=200, primary_key=True)
    kind = models.CharField(_("kind"), max_length=100)
    object_id = models.CharField(_("what it is about"), max_length=200)
    said_at = models.DateTimeField(_("said"))
    received_at = models.DateTimeField(_("received"))
    state = models.CharField(_("state"), max_length=7, choices=State.choices, default=State.WAITING)
    detail = models.CharField(_("detail"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("message of the card provider")
        verbose_name_plural = _("messages of the card provider")
        ordering = ["-received_at", "id"]
        indexes = [models.Index(fields=["state", "received_at"], name="provider_events_by_state")]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"
