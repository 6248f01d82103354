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

from acs.api.bodies import Fields, StrictJsonParser
from acs.api.pages import CursorPages
from tenants.models import Tenant
from tenants.tokens import Caller


class View(GenericAPIView[Any]):
    """One resource. `scope` is what a token needs for it; `operator_only` hides it from tenants; `only_reads`: its POST changes nothing."""

    scope = ""
    operator_only = False
    only_reads = False
    filters: type[Fields] = Fields
    parser_classes: Any = (StrictJsonParser,)
    http_method_names = ["get", "head", "post", "patch", "delete"]

    @property
    def caller(self) -> Caller:
        caller: Caller = self.request.auth  # type: ignore[assignment]
        return caller

    def exists_for(self, tenant: Tenant) -> bool:
        """Whether there is such an address for a tenant's token: views of a tenant need its account in the address, all others an operator's token."""
        return not self.operator_only and self.kwargs.get("account") == tenant.account

    def tenant(self) -> Tenant:
        """The tenant of the address, if it exists for this caller. Raises: NotFound."""
        tenants = Tenant.objects.select_related("plan", "quota").filter(account=self.kwargs["account"])
        if self.caller.tenant is not None:
            tenants = tenants.filter(pk=self.caller.tenant.pk)
        tenant = tenants.first()
        if tenant is None:
            raise NotFound
        return tenant

    def body(self, shape: type[Fields]) -> dict[str, Any]:
        """The request's body. Raises: MalformedRequest naming each field that is wrong."""
        return shape.of(self.request)

    def page(self, rows: QuerySet[Any], shape: Any) -> Response:
        """A page of rows, in the order of the view's `ordering`. Raises: MalformedRequest for parameters that nobody reads."""
        self.filters.of_query(self.request, besides=CursorPages.parameters)
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

    def permission_denied(self, request: Request, message: str | None = None, code: str | None = None) -> Any:  # noqa: ARG002 - DRF's signature
        raise PermissionDenied(f"the token lacks the scope {self.scope!r}")
