"""The operators' pages of payments and what the card provider said, and of tenants that do not pay."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from billing import dunning, holds
from billing.admin.invoices import ReasonForm
from billing.admin.notices import HoldForm
from billing.models import DunningCase, Payment, PaymentLink, ProviderEvent, QuotaWarning
from billing.payments import assigning, cards, ledger
from billing.rating import money
from tenants import columns
from tenants.columns import TenantFilter
from tenants.office import OperatorAdmin, Verb

tenant, invoice = columns.linked("tenant", _("tenant")), columns.linked("invoice", _("invoice"))


@admin.display(description=_("amount"), ordering="amount")
def amount(row: Any) -> str:
    return f"{money.in_major(row.amount, row.currency)} {row.currency}"


@admin.register(Payment)
class PaymentAdmin(OperatorAdmin):
    list_display: Any = (
        "__str__",
        tenant,
        invoice,
        amount,
        "provider",
        columns.at("paid_at", _("paid")),
        columns.at("recorded_at", _("recorded")),
    )
    list_filter = ("provider", "currency", TenantFilter)
    search_fields = ("provider_reference", "invoice__name", "tenant__account", "note")
    list_select_related = ("tenant", "invoice")
    fields: ClassVar[Any] = (
        *(
            tenant,
            invoice,
            amount,
            "to_balance",
            "left",
            "provider",
            "provider_reference",
            columns.linked("entry", _("entry of a statement")),
        ),
        *(columns.linked("undoes", _("undoes")), "counters_of", "paid_at", "recorded_at", "recorded_by", "note"),
    )
    verbs = (
        Verb(
            "undo",
            _("Undo"),
            _("A counter-entry takes back what is left of it: the invoice is open again, and the money waits for another one."),
            lambda payment, act: assigning.undo(payment, reason=act.said["reason"], **act.told),
            fits=lambda payment: payment.undoes_id is None and ledger.left_of(payment).amount > 0,
            form=ReasonForm,
            grave=True,
        ),
        Verb(
            "bring_back",
            _("Bring back"),
            _("It was taken back by mistake, or has come again: it pays what is open now, the rest goes to the tenant's balance."),
            lambda counter, act: ledger.bring_back(counter, reason=act.said["reason"], **act.told),
            fits=lambda counter: counter.amount < 0 and not counter.counters.exists(),
            form=ReasonForm,
        ),
    )

    def audit_query(self, obj: Payment) -> str:
        return str(obj.invoice)

    @admin.display(description=_("of it to the balance"))
    def to_balance(self, row: Payment) -> str:
        return f"{money.in_major(row.credited, row.currency)} {row.currency}"

    @admin.display(description=_("left of it"))
    def left(self, row: Payment) -> str:
        return columns.NOTHING if row.undoes_id else f"{money.in_major(ledger.left_of(row).amount, row.currency)} {row.currency}"

    @admin.display(description=_("taken back and come again"))
    def counters_of(self, row: Payment) -> str:
        held = Payment.objects.of(row.tenant_id).filter(undoes=row).order_by("pk")
        return format_html_join("", "<p>{} {}</p>", ((columns.link_to(each), amount(each)) for each in held)) or columns.NOTHING


@admin.register(PaymentLink)
class PaymentLinkAdmin(OperatorAdmin):
    list_display: Any = ("__str__", tenant, invoice, amount, columns.at("made_at", _("made")), columns.at("ended_at", _("used up")))
    list_filter = (TenantFilter,)
    search_fields = ("session_id", "invoice__name", "tenant__account")
    list_select_related = ("tenant", "invoice")
    fields: ClassVar[Any] = (tenant, invoice, amount, "url", "made_at", "expires_at", "ended_at")


@admin.register(ProviderEvent)
class ProviderEventAdmin(OperatorAdmin):
    list_display: Any = ("id", "kind", "object_id", columns.stated(), "detail", columns.at("received_at", _("received")))
    list_filter = ("state", "kind")
    search_fields = ("id", "object_id", "detail")
    fields: ClassVar[Any] = ("id", "kind", "object_id", columns.stated(), "detail", "said_at", "received_at")
    verbs = (
        Verb(
            "again",
            _("Look again"),
            _("What it is about is looked up at Stripe anew, and entered if it can be now."),
            lambda event, act: cards.again(event, **act.told),
            fits=lambda event: event.state in (ProviderEvent.State.KEPT, ProviderEvent.State.WAITING),
        ),
    )


@admin.register(DunningCase)
class DunningCaseAdmin(OperatorAdmin):
    list_display: Any = (
        tenant,
        columns.stated("stage", _("stage")),
        invoice,
        columns.at("opened_at", _("since")),
        columns.at("changed_at", _("at this stage since")),
        "held",
    )
    list_filter = ("stage",)
    search_fields = ("tenant__account", "invoice__name")
    list_select_related = ("tenant__dunning_hold", "invoice")
    fields: ClassVar[Any] = (
        *(tenant, columns.stated("stage", _("stage")), invoice, "held", "opened_at", "changed_at", "suspended_at", "closed_at"),
    )

    def audit_query(self, obj: DunningCase) -> str:
        return obj.tenant.account

    verbs = (
        Verb(
            "review",
            _("Review now"),
            _("What the schedule does every hour: one stage further where that is due, back where the tenant has paid."),
            lambda case, act: dunning.review(case.tenant, **act.told),
            ends=True,
        ),
        Verb(
            "hold",
            _("Hold"),
            _("The tenant stays at its stage until then, and goes on by itself after it."),
            lambda case, act: holds.hold(case.tenant, **act.said, **act.told),
            form=HoldForm,
        ),
    )

    @admin.display(description=_("held until"))
    def held(self, case: DunningCase) -> Any:
        return columns.link_to(case.tenant.dunning_hold) if hasattr(case.tenant, "dunning_hold") else columns.NOTHING


@admin.register(QuotaWarning)
class QuotaWarningAdmin(OperatorAdmin):
    list_display: Any = (tenant, columns.stated("level", _("level")), "used", "limit", columns.at("since", _("since")))
    list_filter = ("level",)
    search_fields = ("tenant__account",)
    list_select_related = ("tenant",)
    fields: ClassVar[Any] = (tenant, columns.stated("level", _("level")), "used", "limit", "since")
