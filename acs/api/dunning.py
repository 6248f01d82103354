"""Who does not pay, who is held from dunning, and what customers were told by e-mail: read and changed by operators alone."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import paying_shapes as shapes
from acs.api.documents import answers
from acs.api.pages import CursorPages
from acs.api.paying import PaymentView
from billing import holds
from billing.models import DunningCase, DunningHold, Notice
from billing.notices import sending


class DunningHoldOf(PaymentView):
    """Keep the tenant from being dunned further until a day; deleting ends that."""

    operator_only = True
    http_method_names = ["get", "head", "post", "delete"]

    @extend_schema(operation_id="dunning_hold_read", responses=answers({200: shapes.HoldShape}))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return Response(shapes.HoldShape(self.one(DunningHold.objects.of(self.tenant()))).data)

    @extend_schema(operation_id="dunning_hold_set", request=shapes.NewHold, responses=answers({200: shapes.HoldShape}, 400, 409))
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return Response(shapes.HoldShape(holds.hold(self.tenant(), **self.body(shapes.NewHold), **self.acted)).data)

    @extend_schema(operation_id="dunning_hold_end", responses=answers({204: None}, 409))
    def delete(self, request: Request, account: str) -> Response:  # noqa: ARG002
        holds.release(self.tenant(), **self.acted)
        return Response(status=204)


class Notices(PaymentView):
    """What customers were told by e-mail, or are to be; `?state=given_up` nobody took for days."""

    operator_only, filters = True, shapes.NoticeFilters

    @extend_schema(
        operation_id="billing_notices_list",
        parameters=[shapes.NoticeFilters],
        responses=answers({200: shapes.NoticeShape(many=True)}, 400),
    )
    def get(self, request: Request) -> Response:
        asked = self.filters.of_query(request, besides=CursorPages.parameters)
        return self.page(Notice.objects.across_tenants().filter(**asked).select_related("tenant", "invoice"), shapes.NoticeShape)


class NoticeAgain(PaymentView):
    """Try one that was given up or dropped once more."""

    operator_only = True
    http_method_names = ["post"]

    @extend_schema(operation_id="billing_notices_again", request=None, responses=answers({200: shapes.NoticeShape}, 409))
    def post(self, request: Request, notice_id: int) -> Response:  # noqa: ARG002
        held = self.one(Notice.objects.across_tenants().select_related("tenant"), pk=notice_id)
        return Response(shapes.NoticeShape(sending.again(held, **self.acted)).data)


class Overdue(PaymentView):
    """Tenants that owe something past its due date, and how far they have come."""

    operator_only, ordering = True, ("opened_at", "tenant_id")

    @extend_schema(operation_id="billing_overdue_list", responses=answers({200: shapes.OverdueShape(many=True)}, 400))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(DunningCase.objects.across_tenants().select_related("tenant__dunning_hold", "invoice"), shapes.OverdueShape)
