"""What is sold, for operators' programs: versions of plans and their prices, tax rates, coupons."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import billing_shapes as shapes
from acs.api.documents import answers
from acs.api.scoped import View
from billing import accounts, catalogue, concessions
from billing.models import Coupon, PlanVersion, TaxRate


class SellingView(View):
    """What every view of what is sold asks of its caller."""

    scope, operator_only = "billing", True

    def version(self, version_id: int) -> PlanVersion:
        """Raises: NotFound."""
        found: PlanVersion = self.one(PlanVersion.objects.select_related("plan").prefetch_related("components"), pk=version_id)
        return found

    def shown(self, version_id: int, *, status: int = 200) -> Response:
        return Response(shapes.PlanVersionShape(self.version(version_id)).data, status=status)


class Versions(SellingView):
    """Versions of all plans, the newest first."""

    ordering = "-id"

    @extend_schema(operation_id="versions_list", responses=answers({200: shapes.PlanVersionShape(many=True)}, 400, 401, 403, 404))
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        return self.page(PlanVersion.objects.prefetch_related("components"), shapes.PlanVersionShape)

    @extend_schema(
        operation_id="versions_draft", request=shapes.NewVersion, responses=answers({201: shapes.PlanVersionShape}, 400, 401, 403, 404)
    )
    def post(self, request: Request) -> Response:  # noqa: ARG002
        return self.shown(catalogue.draft(**self.body(shapes.NewVersion), **self.acted).pk, status=201)


class OneVersion(SellingView):
    """One version; deleting discards a draft."""

    @extend_schema(operation_id="versions_read", responses=answers({200: shapes.PlanVersionShape}, 401, 403, 404))
    def get(self, request: Request, version_id: int) -> Response:  # noqa: ARG002
        return self.shown(version_id)

    @extend_schema(operation_id="versions_discard", responses=answers({204: None}, 401, 403, 404, 409))
    def delete(self, request: Request, version_id: int) -> Response:  # noqa: ARG002
        catalogue.discard(self.version(version_id), **self.acted)
        return Response(status=204)


class PricesOfVersion(SellingView):
    """The components of a draft's price."""

    @extend_schema(
        operation_id="versions_price",
        request=shapes.NewComponent,
        responses=answers({200: shapes.PlanVersionShape}, 400, 401, 403, 404, 409),
    )
    def post(self, request: Request, version_id: int) -> Response:  # noqa: ARG002
        wish: dict[str, Any] = self.body(shapes.NewComponent)
        tiers = [(tier["up_to"], tier["unit_price"]) for tier in wish.pop("tiers", [])]
        catalogue.price(self.version(version_id), tiers=tiers, **wish, **self.acted)
        return self.shown(version_id)


class OnePrice(SellingView):
    """One component of a draft's price in one currency; deleting takes it out."""

    @extend_schema(operation_id="versions_unprice", responses=answers({204: None}, 401, 403, 404, 409))
    def delete(self, request: Request, version_id: int, currency: str, key: str) -> Response:  # noqa: ARG002
        catalogue.unprice(self.version(version_id), currency=currency, key=key, **self.acted)
        return Response(status=204)


class PublishVersion(SellingView):
    """Sell a draft from its date on. It never changes again."""

    @extend_schema(operation_id="versions_publish", request=None, responses=answers({200: shapes.PlanVersionShape}, 401, 403, 404, 409))
    def post(self, request: Request, version_id: int) -> Response:  # noqa: ARG002
        catalogue.publish(self.version(version_id), **self.acted)
        return self.shown(version_id)


class Coupons(SellingView):
    """Discounts that may be redeemed."""

    ordering = "code"

    @extend_schema(operation_id="coupons_list", responses=answers({200: shapes.CouponShape(many=True)}, 400, 401, 403, 404))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(Coupon.objects.all(), shapes.CouponShape)

    @extend_schema(operation_id="coupons_make", request=shapes.NewCoupon, responses=answers({201: shapes.CouponShape}, 400, 401, 403, 404))
    def post(self, request: Request) -> Response:  # noqa: ARG002
        return Response(shapes.CouponShape(concessions.make_coupon(**self.body(shapes.NewCoupon), **self.acted)).data, status=201)


class TaxRates(SellingView):
    """The standard rates of countries, each from a day on."""

    ordering = ("country", "valid_from")

    @extend_schema(operation_id="tax_rates_list", responses=answers({200: shapes.RateShape(many=True)}, 400, 401, 403, 404))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(TaxRate.objects.all(), shapes.RateShape)

    @extend_schema(operation_id="tax_rates_put", request=shapes.NewRate, responses=answers({200: shapes.RateShape}, 400, 401, 403, 404))
    def post(self, request: Request) -> Response:  # noqa: ARG002
        return Response(shapes.RateShape(accounts.put_rate(**self.body(shapes.NewRate), **self.acted)).data)
