"""Routes of a tenant's devices, and decisions about them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api.bodies import Fields
from acs.api.documents import answers
from acs.api.pages import CursorPages
from acs.api.scoped import View
from acs.api.shapes import ModelShape, example
from placement import routing
from placement.models import Device, Route


class RouteShape(ModelShape[Route]):
    device = serializers.UUIDField(source="device_id")
    device_name = serializers.CharField(source="device.name")
    cluster_id = serializers.CharField()
    exit_node = serializers.BooleanField(source="is_exit", help_text="0.0.0.0/0 and ::/0, which are decided together.")

    class Meta:
        model = Route
        fields = [
            *["id", "prefix", "device", "device_name", "cluster_id", "state", "announced", "exit_node", "decided_by", "decided_at"],
            *["reason", "created_at"],
        ]
        read_only_fields = fields


class RouteFilters(Fields):
    state = serializers.ChoiceField(choices=Route.State.choices, required=False, help_text="Only routes in this state.")
    announced = serializers.BooleanField(required=False, help_text="Only routes that their device announces now, or does not.")


@example({"reason": "the office has a router of its own"})
class Refusal(Fields):
    reason = serializers.CharField(max_length=300, required=False, default="", allow_blank=True)


class RouteView(View):
    """What the addresses of routes share."""

    scope, ordering, filters = "routes", ("prefix", "id"), RouteFilters

    def routes(self) -> Any:
        return Route.objects.of(self.tenant()).filter(device__gone_at=None).select_related("device", "tenant", "cluster")

    def route(self, route_id: int) -> Route:
        found: Route = self.one(self.routes(), pk=route_id)
        return found

    def wished(self) -> dict[str, Any]:
        """What the query string asks for. Raises: MalformedRequest."""
        return self.filters.of_query(self.request, besides=CursorPages.parameters)


class Routes(RouteView):
    """The prefixes that a tenant's devices announce, and what was decided about them."""

    @extend_schema(
        operation_id="routes_list", parameters=[RouteFilters], responses=answers({200: RouteShape(many=True)}, 400, 401, 403, 404)
    )
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002 - DRF's signature
        return self.page(self.routes().filter(**self.wished()), RouteShape)


class RoutesOfDevice(RouteView):
    """The same of one device."""

    @extend_schema(
        operation_id="device_routes_list", parameters=[RouteFilters], responses=answers({200: RouteShape(many=True)}, 400, 401, 403, 404)
    )
    def get(self, request: Request, account: str, device_id: UUID) -> Response:  # noqa: ARG002
        device = self.one(Device.objects.of(self.tenant()), pk=device_id)
        return self.page(self.routes().filter(device=device, **self.wished()), RouteShape)


class ApproveRoute(RouteView):
    """Let a device route a prefix for its tenant. Where another tenant of the cluster routes an overlapping one, `clusters` offers others."""

    http_method_names = ["post"]

    @extend_schema(operation_id="routes_approve", request=None, responses=answers({200: RouteShape}, 401, 403, 404, 409))
    def post(self, request: Request, account: str, route_id: int) -> Response:  # noqa: ARG002
        return Response(RouteShape(routing.approve(self.route(route_id), **self.acted)).data)


class RefuseRoute(RouteView):
    """Do not let it, or not any longer."""

    http_method_names = ["post"]

    @extend_schema(operation_id="routes_refuse", request=Refusal, responses=answers({200: RouteShape}, 400, 401, 403, 404, 409))
    def post(self, request: Request, account: str, route_id: int) -> Response:  # noqa: ARG002
        return Response(RouteShape(routing.refuse(self.route(route_id), **self.body(Refusal), **self.acted)).data)


class WithdrawRoute(RouteView):
    """Take a decision back: the route waits for another one, or for the policy's autoApprovers."""

    http_method_names = ["post"]

    @extend_schema(operation_id="routes_withdraw", request=None, responses=answers({200: RouteShape}, 401, 403, 404, 409))
    def post(self, request: Request, account: str, route_id: int) -> Response:  # noqa: ARG002
        return Response(RouteShape(routing.withdraw(self.route(route_id), **self.acted)).data)
