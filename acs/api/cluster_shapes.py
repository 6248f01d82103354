"""What the API reads and writes of clusters, as serializers."""

from __future__ import annotations

from rest_framework import serializers

from acs.api.bodies import Fields
from acs.api.shapes import ModelShape, example
from placement.models import Cluster


class ClusterShape(ModelShape[Cluster]):
    fleet = serializers.CharField(source="fleet_id", allow_null=True)
    complete_at = serializers.DateTimeField(
        source="watch.complete_at", allow_null=True, default=None, help_text="Start of the last complete poll."
    )
    derp_map = serializers.SerializerMethodField()

    class Meta:
        model = Cluster
        fields = [
            *["cluster_id", "fleet", "state", "region", "service_class", "residency", "kind", "client_url", "capacity", "committed"],
            *[
                "tenants",
                "max_tenants",
                "max_sessions",
                "prefix_v4",
                "prefix_v6",
                "version",
                "noise_public_key",
                "registered_at",
                "complete_at",
                "derp_map",
            ],
        ]
        read_only_fields = fields

    def get_derp_map(self, cluster: Cluster) -> str:
        return f"/api/v1/derp/{cluster.cluster_id}.json"


@example({"state": "cordoned"})
class ChangedCluster(Fields):
    state = serializers.ChoiceField(choices=Cluster.State.choices)
