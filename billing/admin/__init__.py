"""The operators' pages of what was used, what is sold, who is on what, and to whom invoices go."""

from billing.admin import accounts, catalogue, concessions, invoices, metering, notices, payments, statements, subscriptions, tenancy

__all__ = ["accounts", "catalogue", "concessions", "invoices", "metering", "notices", "payments", "statements", "subscriptions", "tenancy"]
