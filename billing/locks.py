"""The rows that order what is written of a tenant's invoices, payments and balance: first the subscription, then the billing account."""

from __future__ import annotations

from billing.models import BillingAccount, Subscription


def lock(subscription: Subscription) -> None:
    """The rows that order a tenant's invoices and its balance, ours until commit."""
    Subscription.objects.across_tenants().select_for_update(of=("self",)).get(pk=subscription.pk)
    lock_balance(subscription)


def lock_balance(subscription: Subscription) -> None:
    """The second of them, for those who hold the first."""
    BillingAccount.objects.of(subscription.tenant_id).select_for_update(of=("self",)).first()
