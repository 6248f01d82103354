"""The one table that turns domain errors into HTTP: RFC 9457 problem documents with a stable `code`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, InternalError, OperationalError
from django.http import HttpResponse, JsonResponse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError
from rest_framework import exceptions as rest
from rest_framework.views import set_rollback

from billing import errors as billing
from placement import derp
from placement import errors as placement
from tenants import errors as tenants
from tenants.policies.document import PolicyRefused

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Problem:
    """An HTTP answer: the stable code, its status, what a person reads (in the language of the request), and when to come back (seconds)."""

    code: str
    status: int
    title: Promise
    retry_after: int | None = None


UNAVAILABLE = Problem(
    "service-unavailable", 503, _("The service cannot answer right now; nothing was done that a repeat would do twice."), 5
)
INTERNAL = Problem("internal-error", 500, _("Something went wrong here. It has been logged under the request's id."))
PROBLEMS: dict[type[Exception], Problem] = {
    tenants.MalformedRequest: Problem("malformed-request", 400, _("The request cannot be read.")),
    tenants.InvalidAccount: Problem("malformed-request", 400, _("The account name is not usable.")),
    tenants.BadCredential: Problem("bad-credential", 401, _("The credential is not valid.")),
    tenants.RegistrationRefused: Problem("registration-refused", 403, _("This device is not admitted. Its administrators can see why.")),
    tenants.ApprovalPending: Problem("approval-pending", 202, _("An administrator has to accept this device first. Ask again later."), 60),
    tenants.UnknownAccount: Problem("unknown-account", 404, _("No tenant has this account.")),
    tenants.QuotaExceeded: Problem("quota-exceeded", 403, _("Every device slot of the tenant is taken.")),
    tenants.MembersExceeded: Problem("members-exceeded", 403, _("The tenant has as many members as its plan lets in.")),
    tenants.TenantSuspended: Problem("tenant-suspended", 403, _("The tenant is suspended.")),
    tenants.PaymentOverdue: Problem(
        "payment-overdue", 403, _("A payment of the tenant is overdue: it gets no new keys until it has come.")
    ),
    tenants.IdempotencyMismatch: Problem("idempotency-mismatch", 422, _("This idempotency key was used for another request.")),
    tenants.TooManyRequests: Problem("too-many-requests", 429, _("Too many requests.")),
    tenants.WrongState: Problem("wrong-state", 409, _("That does not fit the present state.")),
    tenants.StaleVersion: Problem("stale-version", 409, _("Somebody else has stored a version since the one that you saw.")),
    tenants.StaleMatch: Problem("stale-version", 412, _("Somebody else has stored a version since the one that you saw.")),
    tenants.VersionRequired: Problem("version-required", 428, _("Say which version you saw.")),
    PolicyRefused: Problem("policy-refused", 422, _("The policy cannot be used as it is.")),
    placement.PolicyNotProven: Problem("policy-not-proven", 422, _("The policy does not hold what it should.")),
    placement.RegionNotInPlan: Problem("region-not-in-plan", 403, _("The plan does not include the wished region.")),
    placement.NotPlacedYet: Problem(
        "no-cluster-available", 503, _("No device of the tenant has joined yet; the first one joins with an enrolment key."), 60
    ),
    placement.NoClusterAvailable: Problem("no-cluster-available", 503, _("No cluster has room right now."), 60),
    placement.RouteConflict: Problem("route-conflict", 409, _("The prefix overlaps another route on this cluster.")),
    placement.PeeringAcrossClusters: Problem("peering-across-clusters", 409, _("Both tenants of a peering have to live on one cluster.")),
    placement.ClusterRefused: Problem("cluster-error", 502, _("The cluster refused."), 30),
    placement.ClusterUnreachable: Problem("cluster-busy", 503, _("The cluster cannot be reached right now."), 10),
    placement.ClusterBusy: Problem("cluster-busy", 503, _("More devices ask than the cluster can serve at once. Ask again later."), 30),
    placement.ClusterSilent: Problem("cluster-busy", 503, _("The cluster did not answer in time."), 30),
    billing.NoPriceInCurrency: Problem(
        "no-price-in-currency", 422, _("The version of the plan has no price in the currency of the tenant's billing account.")
    ),
    billing.NoTaxRate: Problem("no-tax-rate", 422, _("No tax rate is known for the country.")),
    billing.CouponRefused: Problem("coupon-refused", 422, _("The coupon cannot be redeemed.")),
    billing.NoBillingAccount: Problem("no-billing-account", 409, _("The tenant has no billing account.")),
    billing.NoSubscription: Problem("no-subscription", 409, _("The tenant has no subscription in force.")),
    billing.UnknownInvoice: Problem("not-found", 404, _("There is no such thing.")),
    billing.EvidenceLost: Problem("evidence-gone", 409, _("What was used then is not kept any more in that detail.")),
    billing.NotRateable: Problem("not-rateable", 409, _("What was agreed for the month cannot be put on one invoice.")),
    billing.NoSeller: Problem("no-seller", 503, _("It is not configured who issues invoices.")),
    billing.NoInvoiceFont: Problem("no-invoice-font", 503, _("The service has no font for this invoice.")),
    billing.StatementRefused: Problem("statement-refused", 422, _("The statement cannot be imported; nothing of it was.")),
    billing.BadSignature: Problem("bad-signature", 400, _("The message is not the payment provider's, or too old.")),
    billing.ProviderNotSetUp: Problem("payment-provider-not-set-up", 409, _("The payment provider is not set up.")),
    billing.ProviderRefused: Problem("payment-provider-refused", 502, _("The payment provider refused.")),
    billing.ProviderAway: Problem("payment-provider-away", 503, _("The payment provider does not answer."), 60),
    rest.NotAuthenticated: Problem("bad-credential", 401, _("A credential is needed.")),
    rest.AuthenticationFailed: Problem("bad-credential", 401, _("The credential is not valid.")),
    rest.PermissionDenied: Problem("missing-scope", 403, _("The credential lacks the scope for this.")),
    rest.NotFound: Problem("not-found", 404, _("There is no such thing.")),
    rest.MethodNotAllowed: Problem("method-not-allowed", 405, _("This address does not know the method.")),
    rest.NotAcceptable: Problem("not-acceptable", 406, _("Answers are application/json.")),
    rest.UnsupportedMediaType: Problem("unsupported-media-type", 415, _("Requests are application/json.")),
    rest.ParseError: Problem("malformed-request", 400, _("The request cannot be read.")),
    rest.ValidationError: Problem("malformed-request", 400, _("The request cannot be read.")),
    derp.BadDerpMap: UNAVAILABLE,
    OperationalError: UNAVAILABLE,
    InterfaceError: UNAVAILABLE,
    InternalError: UNAVAILABLE,
    PoolTimeout: UNAVAILABLE,
    RedisError: UNAVAILABLE,
}


def problem_of(error: BaseException) -> Problem | None:
    """The row of the table for this error or the nearest of its bases; None for what nobody foresaw."""
    for kind in type(error).__mro__:
        if kind in PROBLEMS:
            return PROBLEMS[kind]
    return None


def answer(error: BaseException) -> HttpResponse | None:
    """The problem document for a foreseen error; None for an unforeseen one, which stays a logged 500."""
    problem = problem_of(error)
    if problem is None:
        return None
    if problem is UNAVAILABLE:
        log.warning("unavailable", error=str(error), kind=type(error).__name__)
    told = {"detail": _detail(error, problem), "errors": _fields(error), **_more(error)}
    return respond(problem, retry_after=_retry_after(error, problem), **told)


def respond(problem: Problem, *, retry_after: int | None = None, **told: Any) -> HttpResponse:
    """`told` are further members of the problem document; empty ones are left out."""
    body: dict[str, Any] = {
        "type": f"{settings.PUBLIC_URL}/problems/{problem.code}",
        "title": str(problem.title),
        "status": problem.status,
        "code": problem.code,
    }
    body |= {name: value for name, value in told.items() if value}
    response = JsonResponse(body, status=problem.status, content_type="application/problem+json")
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    if problem.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    response["Cache-Control"] = "no-store"
    return response


def handle(error: Exception, context: dict[str, Any]) -> HttpResponse | None:  # noqa: ARG001 - DRF's signature
    """DRF's exception handler."""
    set_rollback()
    if isinstance(error, DatabaseError) and problem_of(error) is None:
        return None
    return answer(error)


def _detail(error: BaseException, problem: Problem) -> str:
    if isinstance(error, tenants.SkewedClock | tenants.ReplayedRequest):
        return str(error)  # told to whoever signed rightly
    if isinstance(error, PolicyRefused):
        return str(error.faults[0])
    if problem.code in ("registration-refused", "bad-credential", "service-unavailable", "cluster-busy", "unknown-account"):
        return ""
    if isinstance(error, rest.ValidationError | rest.APIException):
        return "" if isinstance(error, rest.ValidationError) else str(error.detail)
    return str(error)


def _fields(error: BaseException) -> dict[str, Any] | None:
    if isinstance(error, tenants.MalformedRequest):
        return dict(error.errors)
    if isinstance(error, rest.ValidationError):
        return error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
    return None


def _more(error: BaseException) -> dict[str, Any]:
    """Members that only some problems have: what is wrong with a policy and where, the version that counts, clusters where a route would fit."""
    if isinstance(error, PolicyRefused | placement.PolicyNotProven):
        return {
            "faults": [
                {"line": fault.place.line, "column": fault.place.column, "path": fault.path, "reason": fault.reason}
                for fault in error.faults
            ]
        }
    if isinstance(error, placement.RouteConflict):
        return {"clusters": list(error.offers)}
    return {"current_version": error.current} if isinstance(error, tenants.StaleVersion) else {}


def _retry_after(error: BaseException, problem: Problem) -> int | None:
    if isinstance(error, tenants.TooManyRequests):
        return max(1, math.ceil(error.retry_after.total_seconds()))
    if isinstance(error, placement.ClusterBusy):
        return error.retry_after
    return problem.retry_after
