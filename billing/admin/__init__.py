"""The operators' pages of what was used."""

from billing.admin import metering, tenancy

__all__ = ["metering", "tenancy"]
