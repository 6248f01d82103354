"""Tenants' policies as their servers run them."""
