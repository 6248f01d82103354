"""Trust policies of a tenant: whose tokens let its workloads in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api.bodies import Fields
from acs.api.documents import answers
from acs.api.scoped import View
from acs.api.shapes import ModelShape, Seconds, TagsField, example
from tenants import credentials, trust
from tenants.models import EnrolmentKey, TrustPolicy


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "description": "Further claims by name (or by JSON pointer, for nested ones), each with a pattern, or a list of patterns of which one has to fit.",
    }
)
class Patterns(serializers.DictField):
    """What claims have to be; looked at by the verb."""


@extend_schema_field(
    {
        "type": "object",
        "nullable": True,
        "description": "A JSON Web Key Set with the issuer's public keys, for an issuer that cannot be reached.",
        "properties": {"keys": {"type": "array", "items": {"type": "object", "additionalProperties": True}}},
    }
)
class KeySet(serializers.DictField):
    """Public keys; looked at by the verb."""


class TrustPolicyShape(ModelShape[TrustPolicy]):
    id = serializers.UUIDField(source="pk")
    claims = Patterns()
    jwks = KeySet(allow_null=True)
    description = serializers.CharField(source="key.description")
    max_devices = serializers.IntegerField(source="key.max_devices", allow_null=True)
    devices = serializers.IntegerField(source="key.devices", help_text="Slots that are taken through it.")
    ephemeral = serializers.BooleanField(source="key.ephemeral")
    tags = serializers.ListField(source="key.tags", child=serializers.CharField())
    approval = serializers.BooleanField(source="key.approval")
    re_enrolment = serializers.CharField(source="key.re_enrolment")
    key_lifetime = Seconds(source="key.key_lifetime", help_text="Seconds.")
    want_region = serializers.CharField(source="key.want_region")
    want_cluster = serializers.CharField(source="key.want_cluster")
    created_at = serializers.DateTimeField(source="key.created_at")
    expires_at = serializers.DateTimeField(source="key.expires_at", allow_null=True)
    revoked_at = serializers.DateTimeField(source="key.revoked_at", allow_null=True)
    last_used_at = serializers.DateTimeField(source="key.last_used_at", allow_null=True)

    class Meta:
        model = TrustPolicy
        fields = [
            *["id", "name", "issuer", "audience", "subject", "claims", "jwks_uri", "jwks", "registration_claim"],
            *[
                "description",
                "max_devices",
                "devices",
                "ephemeral",
                "tags",
                "approval",
                "re_enrolment",
                "key_lifetime",
                "want_region",
                "want_cluster",
            ],
            *["created_at", "expires_at", "revoked_at", "last_used_at"],
        ]
        read_only_fields = fields


@example({"subject": "repo:acme/tills:environment:production", "claims": {"repository_owner_id": "1234567"}})
class ChangedTrustPolicy(Fields):
    issuer = serializers.CharField(required=False, max_length=300, help_text="Exactly as the tokens' iss claim has it.")
    audience = serializers.CharField(required=False, max_length=300, help_text="Exactly what the tokens' aud claim is or holds.")
    subject = serializers.CharField(required=False, max_length=512, help_text="A pattern with * and ? for the whole sub claim.")
    claims = Patterns(required=False)
    jwks_uri = serializers.CharField(
        required=False, allow_blank=True, max_length=500, help_text="Empty: as the issuer's discovery document says."
    )
    jwks = KeySet(required=False, allow_null=True)
    registration_claim = serializers.CharField(
        required=False, max_length=120, help_text="The claim that names the device: one slot for each of its values. Usually sub."
    )
    description = serializers.CharField(max_length=200, required=False, allow_blank=True)
    max_devices = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=2_000_000_000)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    ephemeral = serializers.BooleanField(required=False)
    tags = TagsField(required=False)
    approval = serializers.BooleanField(required=False, help_text="A device waits until an admin accepts it.")
    re_enrolment = serializers.ChoiceField(choices=EnrolmentKey.ReEnrolment.choices, required=False)
    key_lifetime = Seconds(required=False, max_value=86400, min_value=120, help_text="Seconds, 120 to 86400.")
    want_region = serializers.CharField(max_length=32, required=False, allow_blank=True)
    want_cluster = serializers.CharField(max_length=32, required=False, allow_blank=True)


@example(
    {
        "name": "github-tills",
        "issuer": "https://token.actions.githubusercontent.com",
        "audience": "https://acs.example.com/acme-inc",
        "subject": "repo:acme/tills:ref:refs/heads/main",
        "claims": {"repository_owner_id": "1234567"},
        "registration_claim": "run_id",
        "ephemeral": True,
    }
)
class NewTrustPolicy(ChangedTrustPolicy):
    name = serializers.SlugField(max_length=40)
    issuer = serializers.CharField(max_length=300, help_text="Exactly as the tokens' iss claim has it.")
    audience = serializers.CharField(max_length=300, help_text="Exactly what the tokens' aud claim is or holds.")
    subject = serializers.CharField(max_length=512, help_text="A pattern with * and ? for the whole sub claim.")
    key_lifetime = Seconds(required=False, default=timedelta(hours=1), max_value=86400, min_value=120, help_text="Seconds, 120 to 86400.")


class TrustPolicies(View):
    """The policies by which a tenant's workloads are let in with a token of their issuer."""

    scope, ordering = "auth_keys", "name"

    @extend_schema(operation_id="trust_policies_list", responses=answers({200: TrustPolicyShape(many=True)}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002 - DRF's signature
        return self.page(TrustPolicy.objects.of(self.tenant()).select_related("key"), TrustPolicyShape)

    @extend_schema(
        operation_id="trust_policies_create", request=NewTrustPolicy, responses=answers({201: TrustPolicyShape}, 400, 401, 403, 404, 409)
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        made = trust.make(self.tenant(), **self.body(NewTrustPolicy), **self.acted)
        return Response(TrustPolicyShape(made).data, status=201)


class OneTrustPolicy(View):
    """One trust policy; deleting revokes it."""

    scope = "auth_keys"

    @extend_schema(operation_id="trust_policies_read", responses=answers({200: TrustPolicyShape}, 401, 403, 404))
    def get(self, request: Request, account: str, policy_id: UUID) -> Response:  # noqa: ARG002
        return Response(TrustPolicyShape(self._policy(policy_id)).data)

    @extend_schema(
        operation_id="trust_policies_change",
        request=ChangedTrustPolicy,
        responses=answers({200: TrustPolicyShape}, 400, 401, 403, 404, 409),
    )
    def patch(self, request: Request, account: str, policy_id: UUID) -> Response:  # noqa: ARG002
        changed = trust.change(self._policy(policy_id), **self.body(ChangedTrustPolicy), **self.acted)
        return Response(TrustPolicyShape(changed).data)

    @extend_schema(operation_id="trust_policies_revoke", responses=answers({200: TrustPolicyShape}, 401, 403, 404, 409))
    def delete(self, request: Request, account: str, policy_id: UUID) -> Response:  # noqa: ARG002
        credentials.revoke(self._policy(policy_id).key, **self.acted)
        return Response(TrustPolicyShape(self._policy(policy_id)).data)

    def _policy(self, policy_id: UUID) -> Any:
        return self.one(TrustPolicy.objects.of(self.tenant()).select_related("key__tenant", "tenant"), pk=policy_id)
