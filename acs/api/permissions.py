"""What a caller of /api/v1 may do: each view names the scope it needs, `<name>:read` suffices for reading.

What is another tenant's, or only the operators', does not exist for a tenant's token: 404 comes before any talk of scopes.
"""

from __future__ import annotations

from typing import Any

import structlog
from rest_framework.exceptions import NotAuthenticated, NotFound
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from tenants.errors import TenantSuspended
from tenants.models import Tenant
from tenants.tokens import Caller


class HasScope(BasePermission):
    """The view's `scope` must be among the token's scopes, and what it shows exist for the token's tenant (`exists_for` of acs/api/scoped.py)."""

    def has_permission(self, request: Request, view: Any) -> bool:
        caller: Caller | None = request.auth  # type: ignore[assignment]
        if caller is None:
            raise NotAuthenticated
        account = view.kwargs.get("account")
        if caller.tenant is not None and not view.exists_for(caller.tenant):
            raise NotFound
        if account is not None:
            structlog.contextvars.bind_contextvars(tenant=account)
        reading = request.method in SAFE_METHODS or getattr(view, "only_reads", False)
        if not caller.may(view.scope, read_only=reading):
            return False
        if caller.tenant is not None and caller.tenant.state != Tenant.State.ACTIVE and not reading:
            raise TenantSuspended("the tenant is suspended: its API only reads")
        return True
