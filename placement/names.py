"""Permanent names: the login server that a tenant's devices are given on their first day, for a client cannot change it without a new login."""

from __future__ import annotations

from django.conf import settings


def headscale_url(account: str, client_url: str) -> str:
    """The tenant's own name where a gateway leads it to its cluster; without one the cluster's own address."""
    if not settings.TENANT_DOMAIN:
        return client_url.rstrip("/")
    return f"https://{account}.{settings.TENANT_DOMAIN}"
