"""The rows of what was used, what plans cost, who is on which, what else was promised, and to whom invoices go."""

from billing.models.accounts import BillingAccount, CreditEntry, TaxRate
from billing.models.catalogue import PlanVersion, PriceComponent
from billing.models.metering import Correction, Coverage, DeviceDay, DirtyDay, Meter, OpenSession, Session, UsageHour
from billing.models.subscriptions import Coupon, Override, Redemption, Subscription, SubscriptionPhase

__all__ = [
    "BillingAccount",
    "Correction",
    "Coupon",
    "Coverage",
    "CreditEntry",
    "DeviceDay",
    "DirtyDay",
    "Meter",
    "OpenSession",
    "Override",
    "PlanVersion",
    "PriceComponent",
    "Redemption",
    "Session",
    "Subscription",
    "SubscriptionPhase",
    "TaxRate",
    "UsageHour",
]
