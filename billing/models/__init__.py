"""The rows of what plans cost, who is on which, what else was promised, and to whom invoices go."""

from billing.models.accounts import BillingAccount, CreditEntry, TaxRate
from billing.models.catalogue import PlanVersion, PriceComponent
from billing.models.subscriptions import Coupon, Override, Redemption, Subscription, SubscriptionPhase

__all__ = [
    "BillingAccount",
    "Coupon",
    "CreditEntry",
    "Override",
    "PlanVersion",
    "PriceComponent",
    "Redemption",
    "Subscription",
    "SubscriptionPhase",
    "TaxRate",
]
