"""The shapes that the OpenAPI document shows. They describe; nothing is decided here."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from acs import errors


class BootstrapRequest(serializers.Serializer[Any]):
    account = serializers.CharField(
        required=False,
        max_length=63,
        help_text="The tenant. Needed with a workload's token and without a credential; else the credential implies it.",
    )
    plan = serializers.CharField(required=False, max_length=40, help_text="Read and ignored: a tenant's plan is its operator's to change.")
    want_region = serializers.CharField(required=False, max_length=32, help_text="Guides the tenant's first placement only.")
    latencies = serializers.DictField(
        child=serializers.FloatField(min_value=0, max_value=60000),
        required=False,
        help_text="Milliseconds by region, as the device measured them: without want_region the nearest one takes a tenant's first placement.",
    )
    registration_id = serializers.CharField(
        required=False, max_length=128, help_text="The device's stable name for itself: one slot of the quota however often it asks."
    )
    hostname = serializers.CharField(required=False, max_length=253)
    os = serializers.CharField(required=False, max_length=40)


class BootstrapAnswer(serializers.Serializer[Any]):
    cluster_id = serializers.CharField()
    headscale_url = serializers.URLField(help_text="The login server, permanent for the tenant where a gateway serves it.")
    derp_map = serializers.URLField()
    auth_mode = serializers.ChoiceField(choices=["authkey", "oidc", "enrolled"])
    note = serializers.CharField()
    auth_key = serializers.CharField(required=False, help_text="With a credential: single use, one device.")
    auth_key_expires_at = serializers.DateTimeField(required=False)
    command = serializers.CharField(required=False)


class PolicyFault(serializers.Serializer[Any]):
    line = serializers.IntegerField()
    column = serializers.IntegerField()
    path = serializers.CharField(allow_blank=True, help_text="The part of the document, such as acls[2].dst[0].")
    reason = serializers.CharField()


class Problem(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.URLField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="Stable; what programs look at.")
    detail = serializers.CharField(required=False)
    clusters = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="With route-conflict: where the prefix would fit."
    )
    errors = serializers.DictField(  # type: ignore[assignment]
        required=False, help_text="What is wrong with each field."
    )
    faults = PolicyFault(many=True, required=False, help_text="What is wrong with a network policy, and where.")
    current_version = serializers.IntegerField(required=False, help_text="The version of the policy that counts.")


def _problems() -> dict[int, dict[str, errors.Problem]]:
    """The rows of the errors' table by status and code."""
    found: dict[int, dict[str, errors.Problem]] = {}
    for problem in (*errors.PROBLEMS.values(), errors.INTERNAL):
        found.setdefault(problem.status, {}).setdefault(problem.code, problem)
    return found


BY_STATUS = _problems()
ALWAYS = (500, 503)  # a fault of ours, a database that is away: any operation may say so
WITH_TOKEN = (401, 403, 404)


def answers(good: dict[Any, Any], *problems: int, token: bool = True) -> dict[Any, Any]:
    """A view's responses: its own, and the problem documents it may give. `token`: it asks for an API token."""
    statuses = sorted({*problems, *ALWAYS, *(WITH_TOKEN if token else ())})
    return {**good, **{(status, "application/problem+json"): _response(status) for status in statuses}}


def _response(status: int) -> OpenApiResponse:
    codes = BY_STATUS[status]
    return OpenApiResponse(Problem, description=" or ".join(sorted(codes)), examples=[_example(problem) for problem in codes.values()])


def _example(problem: errors.Problem) -> OpenApiExample:
    body: dict[str, Any] = {
        "type": f"https://acs.example.com/problems/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
    }
    if problem.code == "malformed-request":
        body["errors"] = {"hostnme": "unknown field"}
    if problem.code == "stale-version":
        body["current_version"] = 8
    if problem.code == "policy-refused":
        body["faults"] = [{"line": 3, "column": 9, "path": "acls[0].src[0]", "reason": "“tag:wbe” is not defined in tagOwners."}]
    return OpenApiExample(f"{problem.code} {problem.title}", body, response_only=True, status_codes=[str(problem.status)])
