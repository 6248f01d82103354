"""Devices, grants and bindings, and the clusters they live on."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import cluster_shapes, shapes
from acs.api.documents import answers
from acs.api.pages import CursorPages
from acs.api.scoped import View
from placement import clusters, device_verbs
from placement.models import Binding, Cluster, Device, Grant
from tenants.errors import WrongState


class Devices(View):
    """A tenant's devices."""

    scope, ordering, filters = "devices:core", ("-joined_at", "id"), shapes.DeviceFilters

    @extend_schema(
        operation_id="devices_list",
        parameters=[shapes.DeviceFilters],
        responses=answers({200: shapes.DeviceShape(many=True)}, 400, 401, 403, 404),
    )
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        asked = self.filters.of_query(self.request, besides=CursorPages.parameters)
        devices = Device.objects.of(self.tenant()).select_related("slot", "brought_by")
        if not asked.pop("gone", False):
            devices = devices.filter(gone_at=None)
        return self.page(devices.filter(**asked), shapes.DeviceShape)


class OneDevice(View):
    """One device: read, rename, delete."""

    scope = "devices:core"

    @extend_schema(operation_id="devices_read", responses=answers({200: shapes.DeviceShape}, 401, 403, 404))
    def get(self, request: Request, account: str, device_id: UUID) -> Response:  # noqa: ARG002
        return Response(shapes.DeviceShape(self.device(device_id)).data)

    @extend_schema(
        operation_id="devices_rename",
        request=shapes.ChangedDevice,
        responses=answers({200: shapes.DeviceShape}, 400, 401, 403, 404, 409, 502, 503),
    )
    def patch(self, request: Request, account: str, device_id: UUID) -> Response:  # noqa: ARG002
        device = self.device(device_id)
        device_verbs.rename(device, self.body(shapes.ChangedDevice)["name"], **self.acted)
        return Response(shapes.DeviceShape(self.device(device_id)).data)

    @extend_schema(operation_id="devices_delete", responses=answers({200: shapes.DeviceShape}, 401, 403, 404, 502, 503))
    def delete(self, request: Request, account: str, device_id: UUID) -> Response:  # noqa: ARG002
        device_verbs.delete(self.device(device_id), **self.acted)
        return Response(shapes.DeviceShape(self.device(device_id)).data)

    def device(self, device_id: UUID) -> Any:
        return self.one(Device.objects.of(self.tenant()).select_related("slot", "tenant", "cluster", "brought_by"), pk=device_id)


class ExpireDevice(OneDevice):
    """End a device's login: it is offline until it signs in again."""

    http_method_names = ["post"]

    @extend_schema(operation_id="devices_expire", request=None, responses=answers({200: shapes.DeviceShape}, 401, 403, 404, 409, 502, 503))
    def post(self, request: Request, account: str, device_id: UUID) -> Response:  # noqa: ARG002
        device_verbs.expire(self.device(device_id), **self.acted)
        return Response(shapes.DeviceShape(self.device(device_id)).data)


class TagsOfDevice(OneDevice):
    """What a device belongs to in place of a person."""

    http_method_names = ["put"]

    @extend_schema(
        operation_id="devices_set_tags",
        request=shapes.DeviceTags,
        responses=answers({200: shapes.DeviceShape}, 400, 401, 403, 404, 409, 502, 503),
    )
    def put(self, request: Request, account: str, device_id: UUID) -> Response:  # noqa: ARG002
        device_verbs.set_tags(self.device(device_id), self.body(shapes.DeviceTags)["tags"], **self.acted)
        return Response(shapes.DeviceShape(self.device(device_id)).data)


class Grants(View):
    """The keys that were promised to devices, without the keys."""

    scope, ordering = "auth_keys", ("-created_at", "id")

    @extend_schema(operation_id="grants_list", responses=answers({200: shapes.GrantShape(many=True)}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return self.page(Grant.objects.of(self.tenant()).select_related("slot"), shapes.GrantShape)


class BindingOf(View):
    """The cluster that a tenant lives on; 404 until its first device."""

    scope = "tenants"

    @extend_schema(operation_id="binding_read", responses=answers({200: shapes.BindingShape}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return Response(shapes.BindingShape(self.one(Binding.objects.of(self.tenant()).select_related("tenant", "cluster"))).data)


class Bindings(View):
    """Who lives where."""

    scope, operator_only, ordering = "clusters", True, "tenant_id"

    @extend_schema(operation_id="bindings_list", responses=answers({200: shapes.BindingShape(many=True)}, 401, 403, 404))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(Binding.objects.across_tenants().select_related("tenant", "cluster"), shapes.BindingShape)


class Clusters(View):
    """The fleet."""

    scope, operator_only, ordering = "clusters", True, "cluster_id"

    @extend_schema(operation_id="clusters_list", responses=answers({200: cluster_shapes.ClusterShape(many=True)}, 401, 403, 404))
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return self.page(Cluster.objects.select_related("watch"), cluster_shapes.ClusterShape)


class OneCluster(View):
    """One cluster: its state is changed here, everything else by the operators' commands."""

    scope, operator_only = "clusters", True
    verbs = {"cordoned": clusters.cordon, "active": clusters.uncordon, "draining": clusters.drain, "offline": clusters.offline}

    @extend_schema(operation_id="clusters_read", responses=answers({200: cluster_shapes.ClusterShape}, 401, 403, 404))
    def get(self, request: Request, cluster_id: str) -> Response:  # noqa: ARG002
        return Response(cluster_shapes.ClusterShape(self._cluster(cluster_id)).data)

    @extend_schema(
        operation_id="clusters_change",
        request=cluster_shapes.ChangedCluster,
        responses=answers({200: cluster_shapes.ClusterShape}, 400, 401, 403, 404, 409),
    )
    def patch(self, request: Request, cluster_id: str) -> Response:  # noqa: ARG002
        cluster, state = self._cluster(cluster_id), self.body(cluster_shapes.ChangedCluster)["state"]
        if cluster.registered_at is None:
            raise WrongState("the cluster is not registered yet: manage.py cluster register")
        self.verbs[state](cluster, **self.acted)
        return Response(cluster_shapes.ClusterShape(self._cluster(cluster_id)).data)

    def _cluster(self, cluster_id: str) -> Any:
        return self.one(Cluster.objects.select_related("watch"), pk=cluster_id)
