"""What the operators' API of the placement engine reads and writes, as serializers. They translate; whatever decides is a verb elsewhere."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from acs.api.bodies import Fields
from acs.api.shapes import ModelShape, example
from placement import explaining
from placement.models import Alert, Decision, MovePlan, Waiting

Shape = serializers.Serializer[Any]


class Count(serializers.IntegerField):
    """How many there are of what the source names."""

    def to_representation(self, value: Any) -> int:
        return len(value)


class FullestShape(Shape):
    cluster_id = serializers.CharField()
    utilisation = serializers.FloatField()


class PoolShape(Shape):
    pool = serializers.CharField(source="key", help_text="REGION/CLASS/RESIDENCY; * is any residency.")
    region = serializers.CharField(source="key.region")
    service_class = serializers.CharField(source="key.service_class")
    residency = serializers.CharField(source="key.residency")
    clusters = Count(source="members")
    active = Count()
    tenants = serializers.IntegerField()
    mean = serializers.FloatField(source="pool.mean", help_text="Utilisation of the active clusters.")
    bound = serializers.FloatField(help_text="What the ring's own choice must not pass.")
    highest = FullestShape(allow_null=True)
    blind = serializers.BooleanField(source="pool.blind", help_text="More than half of the samples are old: promises alone decide.")
    open_breakers = serializers.ListField(source="breakers", child=serializers.CharField())
    stale = serializers.ListField(child=serializers.CharField(), help_text="Active clusters whose last sample is old.")
    room = serializers.IntegerField(help_text="Devices that may still be promised.")
    ring = serializers.CharField(source="pool.ring.digest")


class DedicatedShape(Shape):
    region = serializers.CharField()
    clusters = Count()
    free = serializers.IntegerField(help_text="Active ones that nobody lives on and that are kept for nobody.")


class StandingShape(Shape):
    pools = PoolShape(many=True)
    dedicated = DedicatedShape(many=True)


class DecisionShape(ModelShape[Decision]):
    account = serializers.CharField(source="tenant.account")
    cluster_id = serializers.CharField(allow_null=True)

    class Meta:
        model = Decision
        fields = ["id", "at", "account", "outcome", "cluster_id", "pool", "load", "reason", "engine", "ring"]
        read_only_fields = fields


class WholeDecisionShape(DecisionShape):
    document = serializers.JSONField(help_text="All that the engine saw, enough to decide again on paper.")

    class Meta(DecisionShape.Meta):
        fields = [*DecisionShape.Meta.fields, "document"]
        read_only_fields = fields


class DecisionFilters(Fields):
    account = serializers.CharField(required=False, max_length=63, help_text="Only decisions about this tenant.")
    outcome = serializers.ChoiceField(required=False, choices=Decision.Outcome.choices)


class WaitingShape(ModelShape[Waiting]):
    account = serializers.CharField(source="tenant.account")
    provision = serializers.SerializerMethodField(help_text="What an operator would have to add.")
    why = serializers.SerializerMethodField()

    class Meta:
        model = Waiting
        fields = ["account", "want", "since", "asked_at", "asked", "regions", "service_class", "residency", "load", "provision", "why"]
        read_only_fields = fields

    def get_provision(self, waiting: Waiting) -> str:
        return explaining.to_provision(waiting)

    def get_why(self, waiting: Waiting) -> str:
        return explaining.why_waits(waiting)


class AlertShape(ModelShape[Alert]):
    class Meta:
        model = Alert
        fields = ["id", "kind", "subject", "opened_at", "last_at", "times", "closed_at", "facts"]
        read_only_fields = fields


class AlertFilters(Fields):
    open = serializers.BooleanField(required=False, help_text="true: only those that are not over.")
    kind = serializers.ChoiceField(required=False, choices=Alert.Kind.choices)


class RegionShape(Shape):
    name = serializers.CharField()
    title = serializers.CharField()
    clusters = serializers.IntegerField()
    neighbours = serializers.ListField(child=serializers.CharField())
    near = serializers.ListField(child=serializers.CharField(), help_text="Networks and countries whose devices are near it.")


class RegionsShape(Shape):
    regions = RegionShape(many=True)


class MovePlanShape(ModelShape[MovePlan]):
    class Meta:
        model = MovePlan
        fields = ["id", "kind", "subject", "state", "moves", "made_at", "made_by", "reviewed_at", "reviewed_by"]
        read_only_fields = fields


class WholeMovePlanShape(MovePlanShape):
    document = serializers.JSONField(help_text="Every move, who cannot go and why, and how the pool stands before and after.")

    class Meta(MovePlanShape.Meta):
        fields = [*MovePlanShape.Meta.fields, "document"]
        read_only_fields = fields


@example({"kind": "drain", "cluster_ids": ["eu1"]})
class NewMovePlan(Fields):
    kind = serializers.ChoiceField(choices=MovePlan.Kind.choices)
    pool = serializers.CharField(
        required=False, default="", max_length=100, allow_blank=True, help_text="Of a rebalance: REGION/CLASS/RESIDENCY."
    )
    cluster_ids = serializers.ListField(
        child=serializers.CharField(max_length=32), required=False, default=list, max_length=100, help_text="Of a drain."
    )
    at_once = serializers.BooleanField(required=False, default=False, help_text="Of a rebalance: as after clusters were added.")


@example({"state": "approved"})
class ReviewedMovePlan(Fields):
    state = serializers.ChoiceField(choices=["approved", "discarded"])


class ChangeOnPaper(Fields):
    verb = serializers.ChoiceField(choices=["add", "remove", "reweight", "tenants", "lose_region"])
    words = serializers.CharField(
        max_length=120,
        help_text="add ID:CAPACITY[:REGION[:CLASS]], remove ID, reweight ID:CAPACITY, tenants N:PLAN[:REGION], lose_region REGION",
    )


@example({"changes": [{"verb": "lose_region", "words": "eu"}, {"verb": "tenants", "words": "100:team"}]})
class Experiment(Fields):
    changes = serializers.ListField(child=ChangeOnPaper(), min_length=1, max_length=50)


class OutcomeShape(Shape):
    pools = serializers.JSONField(help_text="Each pool before and after: active clusters, mean and highest utilisation, and their ratio.")
    landed = serializers.JSONField(help_text="Tenants and devices by cluster.")
    refused = serializers.JSONField(help_text="New tenants that find no place, by plan.")
    rules = serializers.JSONField(help_text="What refused them, counted per cluster that was looked at.")
    moved = serializers.IntegerField(help_text="Tenants of lost clusters that find another one.")
    homeless = serializers.IntegerField(help_text="Tenants of lost clusters that find none.")
    homeless_tenants = serializers.ListField(child=serializers.CharField(), help_text="The first hundred of them.")
