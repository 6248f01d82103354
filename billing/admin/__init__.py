"""The operators' pages of what is sold, who is on what, and to whom invoices go."""

from billing.admin import accounts, catalogue, concessions, subscriptions

__all__ = ["accounts", "catalogue", "concessions", "subscriptions"]
