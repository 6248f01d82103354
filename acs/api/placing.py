"""The placement engine, for operators' programs: pools, decisions, the queue, alerts and regions."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import placing_shapes as shapes
from acs.api.documents import answers
from acs.api.pages import CursorPages
from acs.api.scoped import View
from placement import explaining, nearness, pools
from placement.models import Alert, Decision


class EngineView(View):
    """What every view of the engine asks of its caller."""

    scope, operator_only = "clusters", True


class Pools(EngineView):
    """How full and how hot each pool is, and how much room it has."""

    @extend_schema(operation_id="placement_pools", responses=answers({200: shapes.StandingShape}, 400, 401, 403, 404))
    def get(self, request: Request) -> Response:
        self.filters.of_query(request)
        return Response(shapes.StandingShape(pools.look(now=timezone.now())).data)


class Decisions(EngineView):
    """What the engine decided, the latest first."""

    ordering, filters = ("-at", "id"), shapes.DecisionFilters

    @extend_schema(
        operation_id="placement_decisions_list",
        parameters=[shapes.DecisionFilters],
        responses=answers({200: shapes.DecisionShape(many=True)}, 400, 401, 403, 404),
    )
    def get(self, request: Request) -> Response:
        asked = self.filters.of_query(request, besides=CursorPages.parameters)
        decisions = Decision.objects.across_tenants().select_related("tenant").defer("document")
        if account := asked.pop("account", ""):
            decisions = decisions.filter(tenant__account=account)
        return self.page(decisions.filter(**asked), shapes.DecisionShape)


class OneDecision(EngineView):
    """One decision with everything that the engine saw."""

    @extend_schema(operation_id="placement_decisions_read", responses=answers({200: shapes.WholeDecisionShape}, 401, 403, 404))
    def get(self, request: Request, decision_id: UUID) -> Response:  # noqa: ARG002
        decision = self.one(Decision.objects.across_tenants().select_related("tenant"), pk=decision_id)
        return Response(shapes.WholeDecisionShape(decision).data)


class WaitingTenants(EngineView):
    """Who waits for room or for a dedicated cluster, first come first."""

    ordering = ("since", "tenant_id")

    @extend_schema(operation_id="placement_waiting_list", responses=answers({200: shapes.WaitingShape(many=True)}, 400, 401, 403, 404))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(explaining.queue(), shapes.WaitingShape)


class Alerts(EngineView):
    """What wants, or wanted, an operator; the latest first."""

    ordering, filters = ("-opened_at", "-id"), shapes.AlertFilters

    @extend_schema(
        operation_id="placement_alerts_list",
        parameters=[shapes.AlertFilters],
        responses=answers({200: shapes.AlertShape(many=True)}, 400, 401, 403, 404),
    )
    def get(self, request: Request) -> Response:
        asked, alerts = self.filters.of_query(request, besides=CursorPages.parameters), Alert.objects.all()
        if "open" in asked:
            alerts = alerts.filter(closed_at__isnull=asked.pop("open"))
        return self.page(alerts.filter(**asked), shapes.AlertShape)


class Regions(EngineView):
    """Every region that a cluster or an operator names, its neighbours, and who is near it."""

    @extend_schema(operation_id="placement_regions", responses=answers({200: shapes.RegionsShape}, 400, 401, 403, 404))
    def get(self, request: Request) -> Response:
        self.filters.of_query(request)
        return Response(shapes.RegionsShape({"regions": nearness.everywhere()}).data)
