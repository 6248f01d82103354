"""What can be wrong about prices, subscriptions and accounts, in the domain's words. acs/errors.py gives each its HTTP answer."""

from __future__ import annotations

from tenants.errors import TenantError


class BillingError(TenantError):
    """The base of this page."""


class NoPriceInCurrency(BillingError):
    """The version has no price in the currency of the tenant's billing account."""

    def __init__(self, version: str, currency: str) -> None:
        super().__init__(f"{version} has no price in {currency}")
        self.version, self.currency = version, currency


class NoBillingAccount(BillingError):
    """Nobody has said yet to whom the tenant's invoices go."""


class NoSubscription(BillingError):
    """The tenant has no subscription in force."""


class NoTaxRate(BillingError):
    """The operators' table has no tax rate for the country."""


class CouponRefused(BillingError):
    """The coupon cannot be redeemed: unknown, too late, too often, or of another currency."""


class EvidenceLost(BillingError):
    """What was used then cannot be counted any more."""


class NotRateable(BillingError):
    """What was agreed for a month cannot be put on one invoice."""


class NoSeller(BillingError):
    """Nobody has said yet who issues the invoices: ACS_SELLER."""


class UnknownInvoice(BillingError):
    """No invoice has this number."""


class StatementRefused(BillingError):
    """The file of a bank cannot be read, or is not of an account of ours: nothing of it was imported."""


class BadSignature(BillingError):
    """The message is not the card provider's, or is too old."""


class ProviderNotSetUp(BillingError):
    """Nobody has said yet how to reach the card provider: ACS_STRIPE_KEY."""


class ProviderRefused(BillingError):
    """The card provider said no."""


class ProviderAway(BillingError):
    """The card provider did not answer, or answered nonsense."""


class NoInvoiceFont(BillingError):
    """The folders of ACS_INVOICE_FONTS have no font with the characters that an invoice needs."""
