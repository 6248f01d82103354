"""The rows of what was used, what plans cost, who is on which, what else was promised, and to whom invoices go, and the invoices."""

from billing.models.accounts import BillingAccount, CreditEntry, TaxRate
from billing.models.catalogue import PlanVersion, PriceComponent
from billing.models.dunning import DunningCase, DunningHold, QuotaWarning
from billing.models.invoices import ClosedPeriod, Invoice, InvoiceLine, NumberSeries
from billing.models.metering import Correction, Coverage, DeviceDay, DirtyDay, Meter, OpenSession, Retraction, Session, UsageHour
from billing.models.notices import Notice
from billing.models.payments import Payment, PaymentLink, PaymentReference, ProviderEvent, Statement, StatementEntry
from billing.models.subscriptions import Coupon, KeptPhase, Override, Redemption, Subscription, SubscriptionPhase

__all__ = [
    "BillingAccount",
    "ClosedPeriod",
    "Correction",
    "Coupon",
    "Coverage",
    "CreditEntry",
    "DeviceDay",
    "DirtyDay",
    "DunningCase",
    "DunningHold",
    "Invoice",
    "InvoiceLine",
    "KeptPhase",
    "Meter",
    "Notice",
    "NumberSeries",
    "OpenSession",
    "Override",
    "Payment",
    "PaymentLink",
    "PaymentReference",
    "PlanVersion",
    "PriceComponent",
    "ProviderEvent",
    "QuotaWarning",
    "Redemption",
    "Retraction",
    "Session",
    "Statement",
    "StatementEntry",
    "Subscription",
    "SubscriptionPhase",
    "TaxRate",
    "UsageHour",
]
