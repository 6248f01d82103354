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
from placement import experiments, explaining, moveplans, nearness, pools
from placement.models import Alert, Decision, MovePlan
from tenants.errors import MalformedRequest

MOST_TENANTS = 20_000  # on paper, in one request


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


class Plans(EngineView):
    """Plans of moves, the latest first; making one moves nobody."""

    ordering = ("-made_at", "id")

    @extend_schema(operation_id="placement_plans_list", responses=answers({200: shapes.MovePlanShape(many=True)}, 400, 401, 403, 404))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(MovePlan.objects.defer("document"), shapes.MovePlanShape)

    @extend_schema(
        operation_id="placement_plans_make",
        request=shapes.NewMovePlan,
        responses=answers({201: shapes.WholeMovePlanShape}, 400, 401, 403, 404),
    )
    def post(self, request: Request) -> Response:  # noqa: ARG002
        wish = self.body(shapes.NewMovePlan)
        if wish["kind"] == MovePlan.Kind.DRAIN:
            made = moveplans.make_drain(wish["cluster_ids"], **self.acted)
        else:
            key = pools.key_of(wish["pool"])
            if key is None:
                raise MalformedRequest({"pool": "REGION, REGION/CLASS or REGION/CLASS/RESIDENCY"})
            made = moveplans.make_rebalance(key, at_once=wish["at_once"], **self.acted)
        return Response(shapes.WholeMovePlanShape(made).data, status=201)


class OnePlan(EngineView):
    """One plan with its document; reviewing it is approving or discarding it."""

    verbs = {"approved": moveplans.approve, "discarded": moveplans.discard}

    @extend_schema(operation_id="placement_plans_read", responses=answers({200: shapes.WholeMovePlanShape}, 401, 403, 404))
    def get(self, request: Request, plan_id: UUID) -> Response:  # noqa: ARG002
        return Response(shapes.WholeMovePlanShape(self.one(MovePlan.objects.all(), pk=plan_id)).data)

    @extend_schema(
        operation_id="placement_plans_review",
        request=shapes.ReviewedMovePlan,
        responses=answers({200: shapes.WholeMovePlanShape}, 400, 401, 403, 404, 409),
    )
    def patch(self, request: Request, plan_id: UUID) -> Response:  # noqa: ARG002
        plan, state = self.one(MovePlan.objects.all(), pk=plan_id), self.body(shapes.ReviewedMovePlan)["state"]
        return Response(shapes.WholeMovePlanShape(self.verbs[state](plan, **self.acted)).data)


class Simulations(EngineView):
    """What would be if the fleet were another one. Nothing is written."""

    @extend_schema(
        operation_id="placement_simulate", request=shapes.Experiment, responses=answers({200: shapes.OutcomeShape}, 400, 401, 403, 404)
    )
    def post(self, request: Request) -> Response:  # noqa: ARG002
        changes = [(change["verb"], change["words"]) for change in self.body(shapes.Experiment)["changes"]]
        return Response(shapes.OutcomeShape(experiments.run(changes, now=timezone.now(), most_tenants=MOST_TENANTS)).data)


class Regions(EngineView):
    """Every region that a cluster or an operator names, its neighbours, and who is near it."""

    @extend_schema(operation_id="placement_regions", responses=answers({200: shapes.RegionsShape}, 400, 401, 403, 404))
    def get(self, request: Request) -> Response:
        self.filters.of_query(request)
        return Response(shapes.RegionsShape({"regions": nearness.everywhere()}).data)
