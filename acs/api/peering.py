"""Peerings: what one tenant shares with another. Both see it, and for everybody else there is none."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import peering_shapes as shapes
from acs.api.documents import answers
from acs.api.pages import CursorPages
from acs.api.scoped import View
from placement.policies import peerings
from tenants.errors import MalformedRequest
from tenants.models import Peering, Tenant


class PeeringView(View):
    """What the addresses of peerings share. The token says whose they are: no account is in the address."""

    scope, ordering = "peerings", ("-offered_at", "id")

    def exists_for(self, tenant: Tenant) -> bool:
        peering_id = self.kwargs.get("peering_id")
        return peering_id is None or Peering.objects.of(tenant).filter(pk=peering_id).exists()

    def get_serializer_context(self) -> dict[str, Any]:
        return {"tenant": self.caller.tenant}

    def peering(self, peering_id: UUID) -> Peering:
        found: Peering = self.one(peerings.of(self.caller.tenant), pk=peering_id)
        return found

    def shown(self, peering_id: UUID, status: int = 200) -> Response:
        shape = shapes.PeeringShape(self.peering(peering_id), context=self.get_serializer_context())
        return Response(shape.data, status=status)

    @property
    def acted(self) -> dict[str, Any]:
        """For which of the two, too; None is an operator."""
        return {**super().acted, "by": self.caller.tenant}


class Peerings(PeeringView):
    """What the caller's tenant shares and what is shared with it; an operator sees all."""

    filters = shapes.PeeringFilters

    @extend_schema(
        operation_id="peerings_list",
        parameters=[shapes.PeeringFilters],
        responses=answers({200: shapes.PeeringShape(many=True)}, 400, 401, 403, 404),
    )
    def get(self, request: Request) -> Response:
        wish = self.filters.of_query(request, besides=CursorPages.parameters)
        found = self.paginate_queryset(peerings.of(self.caller.tenant).filter(**wish))
        return self.get_paginated_response(shapes.PeeringShape(found, many=True, context=self.get_serializer_context()).data)

    @extend_schema(
        operation_id="peerings_offer",
        request=shapes.NewPeering,
        responses=answers({201: shapes.PeeringShape}, 400, 401, 403, 404, 409),
    )
    def post(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        wish = self.body(shapes.NewPeering)
        made = peerings.offer(self._host(wish.pop("host", None)), wish.pop("guest"), **wish, **self.acted)
        return self.shown(made.pk, 201)

    def _host(self, account: str | None) -> Tenant:
        """The tenant that shares. Raises: MalformedRequest."""
        own = self.caller.tenant
        if own is not None:
            if account not in (None, own.account):
                raise MalformedRequest({"host": "a tenant's token shares what is its own tenant's"})
            return own
        host = Tenant.objects.filter(account=account).first() if account else None
        if host is None:
            raise MalformedRequest({"host": "an operator's token names the account that shares"})
        return host


class OnePeering(PeeringView):
    """One peering, offered, accepted or ended."""

    @extend_schema(operation_id="peerings_read", responses=answers({200: shapes.PeeringShape}, 401, 403, 404))
    def get(self, request: Request, peering_id: UUID) -> Response:  # noqa: ARG002
        return self.shown(peering_id)


class AcceptPeering(PeeringView):
    """The guest accepts what is offered, and says which of its devices may use it."""

    @extend_schema(
        operation_id="peerings_accept",
        request=shapes.AcceptedPeering,
        responses=answers({200: shapes.PeeringShape}, 400, 401, 403, 404, 409),
    )
    def post(self, request: Request, peering_id: UUID) -> Response:  # noqa: ARG002
        peerings.accept(self.peering(peering_id), self.body(shapes.AcceptedPeering)["src"], **self.acted)
        return self.shown(peering_id)


class EndPeering(PeeringView):
    """Either side ends it, declines the offer or withdraws it. It holds no longer from the next push on, about a second later."""

    @extend_schema(operation_id="peerings_end", request=None, responses=answers({200: shapes.PeeringShape}, 401, 403, 404, 409))
    def post(self, request: Request, peering_id: UUID) -> Response:  # noqa: ARG002
        peerings.end(self.peering(peering_id), **self.acted)
        return self.shown(peering_id)
