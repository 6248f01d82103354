"""What the doors of a network policy read and show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from acs.api.bodies import Fields
from acs.api.shapes import ModelShape, example
from placement.policies.compiling import Statement
from placement.policies.explaining import Explanation
from placement.policies.matrix import Alike, Change, Matrix
from placement.policies.preview import Preview
from placement.policies.storing import Stored
from tenants.models import PolicyVersion
from tenants.policies.document import Service
from tenants.policies.hujson import LONGEST

TEXT = "The whole policy as HuJSON. Empty: the default, every device of the network reaches every other."
MOST_CHANGES = 500  # pairs of kinds of devices that a preview lists
SERVICES = "As grants write them: *, 443, tcp:80-90, icmp:*."


class VersionShape(ModelShape[PolicyVersion]):
    version = serializers.IntegerField(source="number", help_text="0: none was ever stored, which is the default policy.")

    class Meta:
        model = PolicyVersion
        fields = ["version", "digest", "restores", "note", "author", "created_at"]
        read_only_fields = fields


class PolicyShape(serializers.Serializer[Any]):
    """The version that counts. Without any it is version 0, and nobody's."""

    version = serializers.IntegerField(source="number", help_text="0: none was ever stored, which is the default policy.")
    text = serializers.CharField(allow_blank=True, help_text=TEXT)
    digest = serializers.CharField(help_text="SHA-256 of the text.")
    restores = serializers.IntegerField(allow_null=True)
    note = serializers.CharField(allow_blank=True)
    author = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField(allow_null=True)


class FaultShape(serializers.Serializer[Any]):
    line = serializers.IntegerField(source="place.line")
    column = serializers.IntegerField(source="place.column")
    path = serializers.CharField(allow_blank=True, help_text="The part of the document, such as acls[2].dst[0].")
    reason = serializers.CharField()


class AdviceShape(FaultShape):
    code = serializers.CharField(help_text="idle-rule, idle-tag, unrouted-prefix or unused-group.")


class VerdictShape(serializers.Serializer[Any]):
    proven_on = serializers.CharField(
        allow_blank=True, help_text="The cluster whose server was asked; empty: the tenant lives nowhere yet."
    )
    passed = serializers.IntegerField(help_text="Destinations of the policy's own tests that are as the tests want them.")
    unproven = FaultShape(many=True, help_text="Tests about what has no device now.")


class StoredShape(PolicyShape):
    verdict = VerdictShape()

    def to_representation(self, instance: Stored) -> dict[str, Any]:
        told: dict[str, Any] = PolicyShape(instance.version).data
        return {**told, "verdict": VerdictShape(instance.verdict).data}


class DiffShape(serializers.Serializer[Any]):
    old = serializers.IntegerField()
    new = serializers.IntegerField()
    diff = serializers.CharField(allow_blank=True, help_text="Unified; empty: nothing changed.")


class ClassShape(serializers.Serializer[Alike]):
    """Points that no rule tells apart."""

    kind = serializers.ChoiceField(choices=["device", "prefix", "internet", "peering"])
    word = serializers.CharField(allow_blank=True, help_text="A word of the policy that means just these; empty: there is none.")
    members = serializers.SerializerMethodField()

    @extend_schema_field(
        {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}}}
    )
    def get_members(self, alike: Alike) -> list[dict[str, str]]:
        return [{"id": point.key, "name": point.label} for point in alike.points]


class Services(serializers.ListField):
    """Services in the words of grants."""

    child = serializers.CharField()

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"help_text": SERVICES, **options})

    def to_representation(self, services: Sequence[Service]) -> list[str]:
        return [str(service) for service in services]


class CellShape(serializers.Serializer[Any]):
    src = serializers.IntegerField(help_text="Number of the class in classes, from 0.")
    dst = serializers.IntegerField()
    services = Services()


class MatrixShape(serializers.Serializer[Matrix]):
    """Who reaches what. Pairs of classes that are not among the cells do not reach each other; a class's cell with itself is about its members."""

    classes = ClassShape(many=True)
    cells = serializers.SerializerMethodField()

    @extend_schema_field(CellShape(many=True))
    def get_cells(self, found: Matrix) -> list[dict[str, Any]]:
        cells = [{"src": src, "dst": dst, "services": services} for (src, dst), services in sorted(found.cells.items())]
        return CellShape(cells, many=True).data  # type: ignore[return-value]


class ChangeShape(serializers.Serializer[Change]):
    src = ClassShape()
    dst = ClassShape()
    services = Services()


def _changes(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [dict(ChangeShape(change).data) for change in changes[:MOST_CHANGES]]


class CostShape(serializers.Serializer[Any]):
    form = serializers.CharField(help_text="Of two equivalent forms of the server's document, self or literal, the cheaper one.")
    seconds = serializers.FloatField(help_text="Estimated, of one peer calculation of the tenant's server, all its tenants together.")
    form_now = serializers.CharField()
    seconds_now = serializers.FloatField()
    rules = serializers.IntegerField(help_text="That the server makes of this policy.")


class TestsShape(serializers.Serializer[Any]):
    passed = serializers.IntegerField()
    failed = FaultShape(many=True)
    unproven = FaultShape(many=True)


class PreviewShape(serializers.Serializer[Preview]):
    matrix = MatrixShape()
    gained = serializers.SerializerMethodField(help_text=f"What can be reached then and cannot now; at most {MOST_CHANGES} pairs.")
    lost = serializers.SerializerMethodField(help_text=f"At most {MOST_CHANGES} pairs.")
    changes = serializers.SerializerMethodField(help_text="How many pairs gain and lose, listed or not.")
    warnings = AdviceShape(many=True)
    tests = TestsShape()
    cost = CostShape(allow_null=True, help_text="null: the tenant lives nowhere yet.")

    @extend_schema_field(ChangeShape(many=True))
    def get_gained(self, found: Preview) -> Any:
        return _changes(found.difference.gained)

    @extend_schema_field(ChangeShape(many=True))
    def get_lost(self, found: Preview) -> Any:
        return _changes(found.difference.lost)

    @extend_schema_field({"type": "object", "properties": {"gained": {"type": "integer"}, "lost": {"type": "integer"}}})
    def get_changes(self, found: Preview) -> dict[str, int]:
        return {"gained": len(found.difference.gained), "lost": len(found.difference.lost)}


class RuleShape(serializers.Serializer[Statement]):
    path = serializers.CharField(help_text="Such as acls[2]; default: no rules were written; or the peering.")
    line = serializers.IntegerField(source="place.line")
    column = serializers.IntegerField(source="place.column")
    services = Services()


class ExplanationShape(serializers.Serializer[Explanation]):
    src = serializers.CharField()
    dst = serializers.CharField()
    service = serializers.SerializerMethodField(help_text="Empty: any.")
    admitted = serializers.BooleanField()
    reason = serializers.CharField(
        help_text="Stable: rule, itself, other-services, not-joined, no-rule-names-source, ...-destination, ...-either."
    )
    meaning = serializers.CharField()
    services = Services()
    rules = RuleShape(many=True, help_text="They let it pass.")
    near = RuleShape(many=True, help_text="They join the two, on other services.")
    from_source = RuleShape(many=True, help_text="They name the source and not the destination.")
    to_destination = RuleShape(many=True, help_text="They name the destination and not the source.")

    def get_service(self, told: Explanation) -> str:
        return str(told.service) if told.service else ""


@example({"text": '{"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["tag:web:443"]}], "tagOwners": {"tag:web": []}}'})
class PolicyText(Fields):
    text = serializers.CharField(allow_blank=True, trim_whitespace=False, max_length=LONGEST, help_text=TEXT)


class NewPolicy(PolicyText):
    note = serializers.CharField(required=False, allow_blank=True, max_length=200, help_text="Why, for those who come later.")


@example({"expected": 7, "to": 5, "note": "the printers were cut off"})
class RollBack(Fields):
    expected = serializers.IntegerField(
        required=False, min_value=0, max_value=2_000_000_000, help_text="The version that you saw; If-Match says the same."
    )
    to = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=2_000_000_000,
        help_text="The version to restore; without it the one before. 0: the default policy.",
    )
    note = serializers.CharField(required=False, allow_blank=True, max_length=200)
