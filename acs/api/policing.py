"""Which policy a cluster runs, and what audits found on it, for operators' programs."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api.bodies import Fields
from acs.api.documents import answers
from acs.api.pages import CursorPages
from acs.api.scoped import View
from acs.api.shapes import ModelShape
from placement.models import AuditFinding, Cluster, PolicyPush
from placement.policies import findings, history, writers
from tenants.errors import WrongState


class PushShape(ModelShape[PolicyPush]):
    class Meta:
        model = PolicyPush
        fields = ["id", "state", "started_at", "finished_at", "document", "digest", "form", "cost", "rules", "versions", "reason"]
        read_only_fields = fields


class ClusterPolicyShape(serializers.Serializer[history.Status]):
    """Whether a cluster runs what it should."""

    cluster_id = serializers.CharField(source="cluster.cluster_id")
    waiting = serializers.IntegerField(help_text="Changes that ask for a push and are not in the running document.")
    waiting_since = serializers.DateTimeField(allow_null=True)
    running = PushShape(allow_null=True, help_text="The document that the server took last.")
    sure = serializers.BooleanField(help_text="False where the server has to be asked what it runs; the next push does.")
    failures = serializers.IntegerField(help_text="In a row.")
    try_at = serializers.DateTimeField(allow_null=True)
    trouble = serializers.CharField(allow_blank=True)
    checked_at = serializers.DateTimeField(allow_null=True, help_text="The last audit.")


class PolicyOfCluster(View):
    """The policy of one cluster: whether it runs what its tenants wish for, and the document. POST pushes now."""

    scope, operator_only = "clusters", True

    @extend_schema(operation_id="clusters_policy_read", responses=answers({200: ClusterPolicyShape}, 401, 403, 404))
    def get(self, request: Request, cluster_id: str) -> Response:  # noqa: ARG002
        return Response(ClusterPolicyShape(history.status(self._cluster(cluster_id))).data)

    @extend_schema(operation_id="clusters_policy_push", request=None, responses=answers({200: ClusterPolicyShape}, 401, 403, 404, 409))
    def post(self, request: Request, cluster_id: str) -> Response:  # noqa: ARG002
        """The server is asked what it runs, and gets what it should run where that is another document; within seconds, not in this request."""
        cluster = self._cluster(cluster_id)
        if cluster.registered_at is None or cluster.state == Cluster.State.OFFLINE:
            raise WrongState("the cluster does not serve: manage.py cluster register")
        writers.demand(cluster, **self.acted)
        return Response(ClusterPolicyShape(history.status(cluster)).data)

    def _cluster(self, cluster_id: str) -> Cluster:
        cluster: Cluster = self.one(Cluster.objects.all(), pk=cluster_id)
        return cluster


class FindingShape(ModelShape[AuditFinding]):
    """Something that a server ran or held and ACS did not mean."""

    account = serializers.CharField(source="tenant.account", default=None, help_text="The tenant that it is about, if any.")
    evidence = serializers.JSONField(help_text="What the server showed, when it was last found.")

    class Meta:
        model = AuditFinding
        fields = [
            *("id", "kind", "subject", "account", "first_at", "last_at", "times", "over_at", "repair", "repaired_at", "evidence"),
        ]
        read_only_fields = fields


class FindingFilters(Fields):
    """Which findings."""

    kind = serializers.ChoiceField(choices=AuditFinding.Kind.choices, required=False)
    over = serializers.BooleanField(required=False, help_text="With true, those that are over too.")


class FindingsOfCluster(View):
    """What audits found on a cluster and is still so, the latest first."""

    scope, operator_only = "clusters", True
    ordering, filters = ("-last_at", "-id"), FindingFilters

    @extend_schema(
        operation_id="clusters_findings_list",
        parameters=[FindingFilters],
        responses=answers({200: FindingShape(many=True)}, 400, 401, 403, 404),
    )
    def get(self, request: Request, cluster_id: str) -> Response:
        asked = self.filters.of_query(request, besides=CursorPages.parameters)
        cluster: Cluster = self.one(Cluster.objects.all(), pk=cluster_id)
        rows = findings.of(cluster.pk, past=asked.pop("over", False))
        return self.page(rows.filter(**asked).select_related("tenant"), FindingShape)
