"""The operators' pages of billing accounts and of what tenants have in credit."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.forms import model_to_dict
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from billing import accounts, concessions
from billing.models import BillingAccount, CreditEntry
from billing.rating import money
from tenants import columns
from tenants.admin.base import tenant_field
from tenants.columns import TenantFilter
from tenants.office import Act, OperatorAdmin, Verb


class AccountForm(forms.ModelForm):
    class Meta:
        model = BillingAccount
        fields = accounts.FIELDS
        widgets = {"address": forms.Textarea(attrs={"rows": 4})}

    def _post_clean(self) -> None:
        """The verb checks the row."""


class NewAccountForm(AccountForm):
    tenant = tenant_field(BillingAccount)
    field_order = ("tenant", *accounts.FIELDS)


@admin.register(BillingAccount)
class BillingAccountAdmin(OperatorAdmin):
    list_display: Any = ("name", columns.linked("tenant", _("tenant")), "country", "currency", "tax_treatment", "tax_id")
    list_filter = ("tax_treatment", "currency", TenantFilter)
    search_fields = ("name", "tenant__account", "email", "tax_id")
    list_select_related = ("tenant",)
    fields: ClassVar[Any] = (columns.linked("tenant", _("tenant")), *accounts.FIELDS)
    add_form = NewAccountForm
    add_lead = _("To whom a tenant's invoices go, and how they are taxed.")
    verbs = (
        Verb(
            "change",
            _("Change"),
            _("Invoices from now on name it so. The currency stays while a subscription is in force."),
            lambda account, act: accounts.put(account.tenant, **act.said, **act.told),
            form=AccountForm,
            initial=lambda account: model_to_dict(account, accounts.FIELDS),
        ),
    )

    def audit_query(self, obj: BillingAccount) -> str:
        return obj.tenant.account

    def create(self, act: Act, request: HttpRequest) -> tuple[BillingAccount, str]:  # noqa: ARG002 - the base's signature
        return accounts.put(**act.said, **act.told), ""


class CreditForm(forms.Form):
    tenant = tenant_field(CreditEntry)
    amount = forms.DecimalField(label=_("amount"), help_text=_("In major units of the account's currency; below nothing takes it back."))
    reason = forms.CharField(label=_("reason"), max_length=200)
    reference = forms.CharField(label=_("reference"), max_length=100, required=False, help_text=_("The same reference is entered once."))


@admin.register(CreditEntry)
class CreditEntryAdmin(OperatorAdmin):
    list_display: Any = (columns.at("at", _("at")), columns.linked("tenant", _("tenant")), "sum", "reason", "actor")
    list_filter = (TenantFilter, "currency")
    search_fields = ("tenant__account", "reason", "reference")
    list_select_related = ("tenant",)
    fields: ClassVar[Any] = ("at", columns.linked("tenant", _("tenant")), "sum", "reason", "reference", "actor")
    add_form = CreditForm
    add_lead = _("What a tenant has in credit pays its invoices first. The ledger only grows: an error is corrected by another entry.")

    @admin.display(description=_("amount"), ordering="amount")
    def sum(self, entry: CreditEntry) -> str:
        return f"{money.in_major(entry.amount, entry.currency)} {entry.currency}"

    def audit_query(self, obj: CreditEntry) -> str:
        return obj.tenant.account

    def create(self, act: Act, request: HttpRequest) -> tuple[CreditEntry, str]:  # noqa: ARG002 - the base's signature
        said = dict(act.said)
        tenant, amount = said.pop("tenant"), said.pop("amount")
        return concessions.credit(tenant, concessions.in_minor(amount, accounts.account_of(tenant).currency), **said, **act.told), ""
