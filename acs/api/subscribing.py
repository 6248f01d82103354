"""Subscriptions of tenants, their billing accounts and credit, for operators' programs."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import billing_shapes as shapes
from acs.api.documents import answers
from acs.api.scoped import View
from billing import accounts, concessions, subscriptions
from billing.models import BillingAccount, CreditEntry, Override, Subscription
from tenants.models import Tenant


class SubscribingView(View):
    """What every view of a tenant's contract asks of its caller."""

    scope, operator_only = "billing", True

    def shown(self, tenant: Tenant, *, status: int = 200) -> Response:
        rows = Subscription.objects.of(tenant).prefetch_related("phases__version", "overrides", "redemptions")
        return Response(shapes.SubscriptionShape(self.one(rows)).data, status=status)


class SubscriptionOf(SubscribingView):
    """What the tenant has agreed to; deleting cancels it when what is paid for ends."""

    @extend_schema(operation_id="subscription_read", responses=answers({200: shapes.SubscriptionShape}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002 - DRF's signature
        return self.shown(self.tenant())

    @extend_schema(
        operation_id="subscription_start",
        request=shapes.NewSubscription,
        responses=answers({201: shapes.SubscriptionShape}, 400, 401, 403, 404, 409, 422),
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        tenant = self.tenant()
        subscriptions.start(tenant, **self.body(shapes.NewSubscription), **self.acted)
        return self.shown(tenant, status=201)

    @extend_schema(
        operation_id="subscription_change",
        request=shapes.ChangedSubscription,
        responses=answers({200: shapes.SubscriptionShape}, 400, 401, 403, 404, 409, 422),
    )
    def patch(self, request: Request, account: str) -> Response:  # noqa: ARG002
        tenant = self.tenant()
        subscriptions.change_plan(tenant, **self.body(shapes.ChangedSubscription), **self.acted)
        return self.shown(tenant)

    @extend_schema(operation_id="subscription_cancel", responses=answers({200: shapes.SubscriptionShape}, 401, 403, 404, 409))
    def delete(self, request: Request, account: str) -> Response:  # noqa: ARG002
        tenant = self.tenant()
        subscriptions.cancel(tenant, **self.acted)
        return self.shown(tenant)


class SubscriptionVerb(SubscribingView):
    """Undo what is scheduled, or end at once."""

    verbs = {"undo": subscriptions.undo, "end": subscriptions.end}
    verb = ""

    @extend_schema(request=None, responses=answers({200: shapes.SubscriptionShape}, 401, 403, 404, 409))
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        tenant = self.tenant()
        self.verbs[self.verb](tenant, **self.acted)
        return self.shown(tenant)


class Overrides(SubscribingView):
    """What the tenant gets instead of what its version says."""

    @extend_schema(
        operation_id="overrides_make", request=shapes.NewOverride, responses=answers({201: shapes.OverrideShape}, 400, 401, 403, 404, 409)
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        made = concessions.override(self.tenant(), **self.body(shapes.NewOverride), **self.acted)
        return Response(shapes.OverrideShape(made).data, status=201)


class OneOverride(SubscribingView):
    """One override; deleting ends it now."""

    @extend_schema(operation_id="overrides_end", responses=answers({204: None}, 401, 403, 404, 409))
    def delete(self, request: Request, account: str, override_id: int) -> Response:  # noqa: ARG002
        held = Override.objects.filter(subscription__tenant=self.tenant()).select_related("subscription__tenant")
        concessions.end_override(self.one(held, pk=override_id), **self.acted)
        return Response(status=204)


class RedeemCoupon(SubscribingView):
    """Redeem a coupon, from the first of this month on."""

    @extend_schema(
        operation_id="coupons_redeem",
        request=shapes.RedeemedCoupon,
        responses=answers({201: shapes.RedemptionShape}, 400, 401, 403, 404, 409, 422),
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        made = concessions.redeem(self.tenant(), **self.body(shapes.RedeemedCoupon), **self.acted)
        return Response(shapes.RedemptionShape(made).data, status=201)


class BillingAccountOf(SubscribingView):
    """To whom the tenant's invoices go; the first change makes it."""

    @extend_schema(operation_id="billing_account_read", responses=answers({200: shapes.AccountShape}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return Response(shapes.AccountShape(self.one(BillingAccount.objects.of(self.tenant()))).data)

    @extend_schema(
        operation_id="billing_account_change",
        request=shapes.ChangedAccount,
        responses=answers({200: shapes.AccountShape}, 400, 401, 403, 404, 409, 422),
    )
    def patch(self, request: Request, account: str) -> Response:  # noqa: ARG002
        made = accounts.put(self.tenant(), **self.body(shapes.ChangedAccount), **self.acted)
        return Response(shapes.AccountShape(made).data)


class Credits(SubscribingView):
    """The ledger of what the tenant has in credit, the newest first."""

    ordering = "-id"

    @extend_schema(operation_id="credits_list", responses=answers({200: shapes.CreditShape(many=True)}, 400, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return self.page(CreditEntry.objects.of(self.tenant()), shapes.CreditShape)

    @extend_schema(
        operation_id="credits_enter", request=shapes.NewCredit, responses=answers({201: shapes.CreditShape}, 400, 401, 403, 404, 409)
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        made = concessions.credit(self.tenant(), **self.body(shapes.NewCredit), **self.acted)
        return Response(shapes.CreditShape(made).data, status=201)
