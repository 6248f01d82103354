"""The shapes that the OpenAPI document shows. They describe; nothing is decided here."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers


class BootstrapRequest(serializers.Serializer[Any]):
    account = serializers.CharField(required=False, max_length=63, help_text="The tenant. Optional where a credential implies it.")
    plan = serializers.CharField(required=False, max_length=40, help_text="Read and ignored: a tenant's plan is its operator's to change.")
    want_region = serializers.CharField(required=False, max_length=32, help_text="Guides the tenant's first placement only.")
    registration_id = serializers.CharField(
        required=False, max_length=128, help_text="The device's stable name for itself: one slot of the quota however often it asks."
    )
    hostname = serializers.CharField(required=False, max_length=253)
    os = serializers.CharField(required=False, max_length=40)


class BootstrapAnswer(serializers.Serializer[Any]):
    cluster_id = serializers.CharField()
    headscale_url = serializers.URLField(help_text="The login server, permanent for the tenant where a gateway serves it.")
    derp_map = serializers.URLField()
    auth_mode = serializers.ChoiceField(choices=["authkey", "oidc"])
    note = serializers.CharField()
    auth_key = serializers.CharField(required=False, help_text="With a credential: single use, one device.")
    auth_key_expires_at = serializers.DateTimeField(required=False)
    command = serializers.CharField(required=False)


class Problem(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.URLField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="Stable; what programs look at.")
    detail = serializers.CharField(required=False)
    errors = serializers.DictField(required=False, help_text="What is wrong with each field.")


MEANINGS = {
    400: "malformed-request",
    401: "bad-credential",
    403: "quota-exceeded, region-not-in-plan, tenant-suspended or missing-scope",
    404: "unknown-account or not-found",
    409: "wrong-state",
    422: "idempotency-mismatch",
    429: "too-many-requests",
    502: "cluster-error",
    503: "no-cluster-available, cluster-busy or service-unavailable",
}


def answers(good: dict[int, Any], *problems: int) -> dict[Any, Any]:
    """A view's responses: its own and the problem documents it may give."""
    return {**good, **{(status, "application/problem+json"): OpenApiResponse(Problem, MEANINGS[status]) for status in problems}}
