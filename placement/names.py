"""Permanent names: the login server that a tenant's devices are given on their first day, for a client cannot change it without a new login."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings

from placement.models import Cluster


def headscale_url(account: str, client_url: str) -> str:
    """The tenant's own name where a gateway leads it to its cluster; without one the cluster's own address."""
    if not settings.TENANT_DOMAIN:
        return client_url.rstrip("/")
    return f"https://{account}.{settings.TENANT_DOMAIN}"


def cluster_of_page(*, cluster_id: str, host: str) -> Cluster | None:
    """Whose page a person opened, told by the gateway: by name, or by the host that was asked for it. A hint for people: it decides nothing."""
    registered = Cluster.objects.exclude(registered_at=None)
    if cluster_id:
        return registered.filter(pk=cluster_id).first()
    host = host.lower().rstrip(".")
    at_host = [cluster for cluster in registered if host and _name(cluster.client_url) == _name(f"//{host}")]
    at_port = [cluster for cluster in at_host if urlsplit(cluster.client_url).netloc.lower() == host]
    found = at_port or at_host
    if not found and (account := account_of_host(host)):
        found = list(registered.filter(bindings__tenant__account=account))
    return found[0] if len(found) == 1 else None


def account_of_host(host: str) -> str:
    """The account whose permanent name this is; nothing where it is none."""
    name, ending = _name(f"//{host}"), f".{settings.TENANT_DOMAIN}"
    account = name.removesuffix(ending)
    return account if settings.TENANT_DOMAIN and account != name and "." not in account else ""


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
