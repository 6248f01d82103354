"""What a caller of /api/v1 may do: each view names the scope it needs, `<name>:read` suffices for reading."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request


class HasScope(BasePermission):
    """The view's `scope` must be among the token's scopes; `operator_only` views need an operator's token."""

    def has_permission(self, request: Request, view: Any) -> bool:
        caller = request.auth
        if caller is None:
            raise NotAuthenticated
        if getattr(view, "operator_only", False) and caller.tenant is not None:
            return False
        return bool(caller.may(view.scope, read_only=request.method in SAFE_METHODS))
