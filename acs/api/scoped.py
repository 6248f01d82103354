"""What every view of /api/v1 shares: whose rows it shows, pages, and bodies read strictly.

A tenant's token sees its own tenant and nothing else exists for it: another account is 404, never 403.
"""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api.shapes import Strict
from tenants.models import Tenant
from tenants.tokens import Caller


class View(GenericAPIView[Any]):
    """One resource. `scope` is what a token needs for it; `operator_only` hides it from tenants."""

    scope = ""
    operator_only = False

    @property
    def caller(self) -> Caller:
        caller: Caller = self.request.auth  # type: ignore[assignment]
        return caller

    def tenant(self) -> Tenant:
        """The tenant of the address, if it exists for this caller. Raises: NotFound."""
        tenants = Tenant.objects.select_related("plan", "quota").filter(account=self.kwargs["account"])
        if self.caller.tenant is not None:
            tenants = tenants.filter(pk=self.caller.tenant.pk)
        tenant = tenants.first()
        if tenant is None:
            raise NotFound
        return tenant

    def body(self, shape: type[Strict]) -> dict[str, Any]:
        """The request's body. Raises: ValidationError naming each field that is wrong."""
        reader = shape(data=self.request.data)
        reader.is_valid(raise_exception=True)
        return dict(reader.validated_data)

    def page(self, rows: QuerySet[Any], shape: Any) -> Response:
        """A page of rows, in the paginator's order (`ordering` of the view, or newest first)."""
        found = self.paginate_queryset(rows)
        return self.get_paginated_response(shape(found, many=True).data)

    def one(self, rows: QuerySet[Any], **key: Any) -> Any:
        """Raises: NotFound."""
        row = rows.filter(**key).first()
        if row is None:
            raise NotFound
        return row

    @property
    def acted(self) -> dict[str, Any]:
        """Who acts, and when: what every verb wants to know."""
        return {"now": timezone.now(), "actor": self.caller.actor}

    def permission_denied(self, request: Request, message: str | None = None, code: str | None = None) -> Any:
        """A view for operators, or another tenant's, does not exist for a tenant's token."""
        account = self.kwargs.get("account")
        caller = self.caller
        foreign = (
            caller is not None and caller.tenant is not None and (self.operator_only or (account and account != caller.tenant.account))
        )
        if foreign:
            raise NotFound
        raise PermissionDenied(f"the token lacks the scope {self.scope!r}")
