"""Tenants, their API tokens, quota and audit."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import shapes
from acs.api.documents import answers
from acs.api.scoped import View
from placement import residency
from tenants import lifecycle, tokens
from tenants.errors import MalformedRequest
from tenants.models import ApiToken, AuditEvent, Plan, Tenant


class Tenants(View):
    """All tenants; operators make new ones."""

    scope, operator_only, ordering = "tenants", True, "account"

    @extend_schema(operation_id="tenants_list", responses=answers({200: shapes.TenantShape(many=True)}, 401, 403, 404))
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        return self.page(Tenant.objects.select_related("plan", "quota"), shapes.TenantShape)

    @extend_schema(
        operation_id="tenants_create", request=shapes.NewTenant, responses=answers({201: shapes.TenantShape}, 400, 401, 403, 404)
    )
    def post(self, request: Request) -> Response:  # noqa: ARG002
        made = lifecycle.create(**self.body(shapes.NewTenant), **self.acted)
        return Response(shapes.TenantShape(made).data, status=201)


class OneTenant(View):
    """One tenant: a tenant's own token reads it, operators change it."""

    scope = "tenants"

    @extend_schema(operation_id="tenants_read", responses=answers({200: shapes.TenantShape}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return Response(shapes.TenantShape(self.tenant()).data)

    @extend_schema(
        operation_id="tenants_change", request=shapes.ChangedTenant, responses=answers({200: shapes.TenantShape}, 400, 401, 403, 404, 409)
    )
    def patch(self, request: Request, account: str) -> Response:  # noqa: ARG002
        tenant, wish = self.tenant(), self.body(shapes.ChangedTenant)
        if "residency" in wish:
            residency.change(tenant, wish["residency"], **self.acted)
        if "plan" in wish:
            lifecycle.change_plan(tenant, wish["plan"], **self.acted)
        if "title" in wish:
            lifecycle.retitle(tenant, wish["title"], **self.acted)
        return Response(shapes.TenantShape(self.tenant()).data)


class TenantState(View):
    """Suspend, resume, close or reopen a tenant."""

    scope = "tenants"
    verbs = {"suspend": lifecycle.suspend, "resume": lifecycle.resume, "close": lifecycle.close, "reopen": lifecycle.reopen}
    verb = ""

    @extend_schema(request=shapes.Reason, responses=answers({200: shapes.TenantShape}, 400, 401, 403, 404, 409))
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        reason = self.body(shapes.Reason)["reason"]
        self.verbs[self.verb](self.tenant(), reason=reason, **self.acted)
        return Response(shapes.TenantShape(self.tenant()).data)


class Plans(View):
    """The plans that a tenant may be on."""

    scope, operator_only, ordering = "tenants", True, "name"

    @extend_schema(operation_id="plans_list", responses=answers({200: shapes.PlanShape(many=True)}, 401, 403, 404))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(Plan.objects.all(), shapes.PlanShape)


class QuotaOf(View):
    """How many device slots are taken, of how many."""

    scope = "tenants"

    @extend_schema(operation_id="quota_read", responses=answers({200: shapes.QuotaShape}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return Response(shapes.QuotaShape(self.tenant().quota).data)


class ApiTokens(View):
    """A tenant's API tokens. Only an operator's token makes them: a token never widens itself."""

    scope, ordering = "api_tokens", ("-created_at", "id")

    @extend_schema(operation_id="api_tokens_list", responses=answers({200: shapes.ApiTokenShape(many=True)}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return self.page(ApiToken.objects.of(self.tenant()), shapes.ApiTokenShape)

    @extend_schema(
        operation_id="api_tokens_create",
        request=shapes.NewApiToken,
        responses=answers({201: shapes.ShownApiToken}, 400, 401, 403, 404, 409),
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        wish = self.body(shapes.NewApiToken)
        lifetime = wish.pop("expires_in")
        tenant = self.tenant()
        if tenant.state == Tenant.State.CLOSED:
            raise MalformedRequest({"account": "the tenant is closed"})
        token, secret = tokens.issue(tenant, lifetime=lifetime, **wish, **self.acted)
        return Response({**shapes.ApiTokenShape(token).data, "secret": secret}, status=201)


class OneApiToken(View):
    """One API token; deleting revokes it."""

    scope = "api_tokens"

    @extend_schema(operation_id="api_tokens_revoke", responses=answers({200: shapes.ApiTokenShape}, 401, 403, 404, 409))
    def delete(self, request: Request, account: str, token_id: UUID) -> Response:  # noqa: ARG002
        held = ApiToken.objects.of(self.tenant()).select_related("tenant")
        tokens.revoke(self.one(held, pk=token_id), **self.acted)
        return Response(shapes.ApiTokenShape(self.one(held, pk=token_id)).data)


class Audit(View):
    """What was done in the tenant's name, newest first."""

    scope, ordering = "logs:configuration", "-id"

    @extend_schema(operation_id="audit_list", responses=answers({200: shapes.AuditEventShape(many=True)}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return self.page(AuditEvent.objects.of(self.tenant()), shapes.AuditEventShape)
