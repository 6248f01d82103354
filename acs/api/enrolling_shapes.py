"""What the API reads and writes about credentials: bearer keys, enrolment groups, single enrolments."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rest_framework import serializers

from acs.api.bodies import Fields
from acs.api.shapes import ModelShape, Seconds, TagsField, example
from tenants.models import Enrolment, EnrolmentGroup, EnrolmentKey

COMMON = [
    *(
        "description",
        "max_devices",
        "devices",
        "ephemeral",
        "tags",
        "key_lifetime",
        "approval",
        "re_enrolment",
        "want_region",
        "want_cluster",
    ),
]
TIMES = ["created_at", "expires_at", "revoked_at", "last_used_at"]


class EnrolmentKeyShape(ModelShape[EnrolmentKey]):
    key_lifetime = Seconds(help_text="Seconds.")

    class Meta:
        model = EnrolmentKey
        fields = ["id", "hint", "max_uses", "uses", *COMMON, *TIMES]
        read_only_fields = fields


class EnrolmentGroupShape(ModelShape[EnrolmentGroup]):
    id = serializers.UUIDField(source="key_id", help_text="What devices sign as `group`.")

    class Meta:
        model = EnrolmentGroup
        fields = ["id", "name", "allowed", "denied", "primary_made_at", "secondary_made_at"]
        read_only_fields = fields

    def to_representation(self, instance: EnrolmentGroup) -> dict[str, Any]:
        """The group's own facts, and its credential's."""
        return {**super().to_representation(instance), **CredentialShape(instance.key).data}


class CredentialShape(ModelShape[EnrolmentKey]):
    key_lifetime = Seconds(help_text="Seconds.")

    class Meta:
        model = EnrolmentKey
        fields = ["uses", *COMMON, *TIMES]
        read_only_fields = fields


class GroupShape(CredentialShape):
    """How the document shows a group: `EnrolmentGroupShape` and `CredentialShape` are one object."""

    id = serializers.UUIDField(help_text="What devices sign as `group`.")
    name = serializers.CharField()
    allowed = serializers.ListField(child=serializers.CharField())
    denied = serializers.ListField(child=serializers.CharField())
    primary_made_at = serializers.DateTimeField()
    secondary_made_at = serializers.DateTimeField()

    class Meta(CredentialShape.Meta):
        fields = ["id", "name", "allowed", "denied", "primary_made_at", "secondary_made_at", *CredentialShape.Meta.fields]
        read_only_fields = fields


class ShownGroup(GroupShape):
    primary = serializers.CharField(help_text="The first secret, shown this once.")
    secondary = serializers.CharField(help_text="The second secret, shown this once.")

    class Meta(GroupShape.Meta):
        fields = [*GroupShape.Meta.fields, "primary", "secondary"]
        read_only_fields = fields


class CredentialWish(Fields):
    """What every credential may be asked to be. What is left out keeps its value, or gets the default."""

    description = serializers.CharField(max_length=200, required=False, allow_blank=True)
    max_devices = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=2_000_000_000, help_text="At once, through this credential; null: no limit."
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    ephemeral = serializers.BooleanField(required=False)
    key_lifetime = Seconds(required=False, max_value=86400, min_value=120, help_text="Seconds, 120 to 86400; without it an hour.")
    approval = serializers.BooleanField(required=False, help_text="A device waits until an admin accepts it.")
    re_enrolment = serializers.ChoiceField(
        choices=EnrolmentKey.ReEnrolment.choices, required=False, help_text="What a device gets that asks again."
    )
    want_region = serializers.CharField(max_length=32, required=False, allow_blank=True, help_text="Guides the tenant's first placement.")
    want_cluster = serializers.CharField(
        max_length=32, required=False, allow_blank=True, help_text="Guides the tenant's first placement, if it has room."
    )
    tags = TagsField(required=False)


@example({"description": "tills of store 12", "max_uses": 40, "key_lifetime": 3600})
class NewEnrolmentKey(CredentialWish):
    max_uses = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=2_000_000_000)
    key_lifetime = Seconds(required=False, default=timedelta(hours=1), max_value=86400, min_value=120, help_text="Seconds, 120 to 86400.")


class ShownEnrolmentKey(EnrolmentKeyShape):
    secret = serializers.CharField(help_text="Shown this once.")

    class Meta(EnrolmentKeyShape.Meta):
        fields = [*EnrolmentKeyShape.Meta.fields, "secret"]
        read_only_fields = fields


@example({"allowed": ["till-*"], "max_devices": 200, "re_enrolment": "keep"})
class ChangedGroup(CredentialWish):
    allowed = serializers.ListField(
        child=serializers.CharField(max_length=128), max_length=500, required=False, help_text="Registration ids, with * and ?; empty: all."
    )
    denied = serializers.ListField(child=serializers.CharField(max_length=128), max_length=500, required=False)


@example({"name": "tills", "allowed": ["till-*"], "max_devices": 200, "approval": False})
class NewGroup(ChangedGroup):
    name = serializers.SlugField(max_length=40)


@example({"which": "secondary"})
class Rotation(Fields):
    which = serializers.ChoiceField(
        choices=["primary", "secondary"], help_text="The secret that is replaced. Device keys derived from it end."
    )


class RotatedSecret(serializers.Serializer[Any]):
    which = serializers.CharField()
    secret = serializers.CharField(help_text="Shown this once.")


class EnrolmentShape(ModelShape[Enrolment]):
    key_lifetime = Seconds(allow_null=True, help_text="Seconds; null: as its credential says.")
    enrolment_key = serializers.UUIDField(source="key_id", allow_null=True, help_text="The credential that it asked with last.")
    re_enrolment = serializers.ChoiceField(
        choices=EnrolmentKey.ReEnrolment.choices, allow_blank=True, help_text="Empty: as its credential says."
    )

    class Meta:
        model = Enrolment
        fields = [
            *["registration_id", "state", "reason", "ephemeral", "key_lifetime", "re_enrolment", "tags", "enrolment_key", "hostname", "os"],
            *["asked", "asked_at", "created_at", "decided_at", "decided_by"],
        ]
        read_only_fields = fields


class EnrolmentFilters(Fields):
    state = serializers.ChoiceField(choices=Enrolment.State.choices, required=False, help_text="Only enrolments in this state.")


@example({"state": "disabled", "reason": "stolen on 2026-11-20"})
class PutEnrolment(Fields):
    state = serializers.ChoiceField(choices=["enabled", "disabled"])
    reason = serializers.CharField(max_length=300, required=False, allow_blank=True, help_text="The device is never told.")
    ephemeral = serializers.BooleanField(required=False, allow_null=True, help_text="null: as its credential says.")
    key_lifetime = Seconds(required=False, allow_null=True, max_value=86400, min_value=120)
    re_enrolment = serializers.ChoiceField(choices=EnrolmentKey.ReEnrolment.choices, required=False, allow_blank=True)
    tags = TagsField(required=False, allow_null=True, help_text="null: as its credential says.")
