"""The operators' pages of plans, tenants, members, credentials and the audit."""

from tenants.admin import audited, enrolling, keys, members, singles, tenancy, tokens, trusting

__all__ = ["audited", "enrolling", "keys", "members", "singles", "tenancy", "tokens", "trusting"]
