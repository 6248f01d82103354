"""What the API reads and writes, as serializers. They translate; whatever decides is a verb elsewhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from django.db import models
from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from acs.api.bodies import Fields
from placement.models import Binding, Device, Grant
from placement.policies.facts import tenant_tag
from tenants import tags
from tenants.models import ApiToken, AuditEvent, Plan, Quota, Tenant

Row = TypeVar("Row", bound=models.Model)


class Slug(serializers.CharField):
    """A slug that is shown may be empty, which the pattern that Django REST framework documents for slugs does not know."""

    def __init__(self, *, allow_unicode: bool = False, **options: Any) -> None:  # noqa: ARG002 - what a model's field tells
        super().__init__(**options)


class ModelShape(serializers.ModelSerializer[Row]):
    """A row as it is shown."""

    serializer_field_mapping: ClassVar = {**serializers.ModelSerializer.serializer_field_mapping, models.SlugField: Slug}


def example(body: dict[str, Any]) -> Any:
    """Shows this body in the OpenAPI document."""
    return extend_schema_serializer(examples=[OpenApiExample("A request", body, request_only=True)])


class Seconds(serializers.IntegerField):
    """A duration in whole seconds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Checked as a number, given on as a duration."""
        checked = super().run_validation(data)
        return timedelta(seconds=checked) if isinstance(checked, int) else checked

    def to_representation(self, value: Any) -> int:
        return int(value.total_seconds()) if isinstance(value, timedelta) else int(value)


class QuotaShape(ModelShape[Quota]):
    class Meta:
        model = Quota
        fields = ["limit", "used", "free", "max_members"]


class TenantShape(ModelShape[Tenant]):
    plan = serializers.CharField(source="plan_id")
    quota = QuotaShape()

    class Meta:
        model = Tenant
        fields = [
            "id",
            "account",
            "title",
            "plan",
            "residency",
            "state",
            "created_at",
            "restricted_at",
            "suspended_at",
            "devices_expire_at",
            "closed_at",
            "devices_delete_at",
            "quota",
        ]
        read_only_fields = fields


@example({"account": "acme-inc", "plan": "team", "title": "Acme Inc."})
class NewTenant(Fields):
    account = serializers.CharField(max_length=63)
    plan = serializers.PrimaryKeyRelatedField(queryset=Plan.objects.all())
    title = serializers.CharField(max_length=120, required=False, default="", allow_blank=True)
    residency = serializers.CharField(
        max_length=32, required=False, default="", allow_blank=True, help_text="The jurisdiction its data must stay in. Empty: anywhere."
    )


@example({"plan": "team"})
class ChangedTenant(Fields):
    plan = serializers.PrimaryKeyRelatedField(queryset=Plan.objects.all(), required=False)
    title = serializers.CharField(max_length=120, required=False, allow_blank=True)
    residency = serializers.CharField(
        max_length=32, required=False, allow_blank=True, help_text="Refused while the tenant lives on a cluster that does not keep it."
    )


@example({"reason": "invoice 2026-0042 is overdue"})
class Reason(Fields):
    reason = serializers.CharField(max_length=300, required=False, default="", allow_blank=True, help_text="Kept in the audit.")


class PlanShape(ModelShape[Plan]):
    class Meta:
        model = Plan
        fields = ["name", "title", "max_devices", "expected_devices", "regions", "default_region", "service_class", "strategy"]
        read_only_fields = fields


class ApiTokenShape(ModelShape[ApiToken]):
    class Meta:
        model = ApiToken
        fields = ["id", "description", "hint", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at"]
        read_only_fields = fields


@example({"description": "inventory", "scopes": ["devices:core:read"], "expires_in": 2592000})
class NewApiToken(Fields):
    description = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)
    scopes = serializers.ListField(child=serializers.CharField(max_length=40), min_length=1)
    expires_in = Seconds(required=False, default=timedelta(days=90), min_value=60, max_value=366 * 86400, help_text="Seconds.")


class ShownApiToken(ApiTokenShape):
    secret = serializers.CharField(help_text="Shown this once.")

    class Meta(ApiTokenShape.Meta):
        fields = [*ApiTokenShape.Meta.fields, "secret"]
        read_only_fields = fields


class TagsField(serializers.ListField):
    """Tags that are read."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("help_text", "As tag:web: what its devices belong to. The tenant's policy has to declare each in its tagOwners.")
        super().__init__(child=serializers.CharField(max_length=44), max_length=tags.MOST, **options)


@extend_schema_field(serializers.ListField(child=serializers.CharField()))
class OwnTags(serializers.Field[Any, Any, Any, Any]):
    """A device's tags as its tenant calls them: the server's words bear the account."""

    def to_representation(self, value: list[str]) -> list[str]:
        return [tenant_tag(tag) for tag in value]


class DeviceShape(ModelShape[Device]):
    tags = OwnTags(read_only=True)
    cluster_id = serializers.CharField()
    registration_id = serializers.CharField(source="slot.registration_id", allow_null=True, default=None)
    brought_by = serializers.CharField(
        source="brought_by.username", allow_null=True, default=None, help_text="The user name of the person who last signed it in."
    )

    class Meta:
        model = Device
        fields = [
            *["id", "name", "hostname", "cluster_id", "node_id", "registration_id", "ipv4", "ipv6", "tags", "ephemeral", "online"],
            *["last_seen", "key_expires_at", "joined_at", "brought_by", "unexpected", "gone_at"],
        ]
        read_only_fields = fields


class DeviceFilters(Fields):
    online = serializers.BooleanField(required=False, help_text="Only devices that are (not) online.")
    name = serializers.CharField(required=False, max_length=63, help_text="Only the device of this name.")
    gone = serializers.BooleanField(required=False, help_text="true: also devices that left.")


@example({"name": "till-7"})
class ChangedDevice(Fields):
    name = serializers.CharField(max_length=63)


@example({"tags": ["tag:web"]})
class DeviceTags(Fields):
    tags = TagsField()


class GrantShape(ModelShape[Grant]):
    cluster_id = serializers.CharField()
    enrolment_key = serializers.UUIDField(source="enrolment_key_id")
    registration_id = serializers.CharField(source="slot.registration_id", allow_null=True)

    class Meta:
        model = Grant
        fields = [
            "id",
            "state",
            "cluster_id",
            "enrolment_key",
            "registration_id",
            "hostname",
            "os",
            "created_at",
            "expires_at",
            "redeemed_at",
            "settled_at",
        ]
        read_only_fields = fields


class BindingShape(ModelShape[Binding]):
    account = serializers.CharField(source="tenant.account")
    cluster_id = serializers.CharField()
    region = serializers.CharField(source="cluster.region")

    class Meta:
        model = Binding
        fields = ["account", "cluster_id", "region", "expected_load", "reason", "created_at"]
        read_only_fields = fields


class AuditEventShape(ModelShape[AuditEvent]):
    class Meta:
        model = AuditEvent
        fields = ["id", "at", "actor", "verb", "target", "detail", "request_id"]
        read_only_fields = fields
