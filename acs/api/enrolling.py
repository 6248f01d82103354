"""With what devices ask to join: enrolment keys, enrolment groups, and decisions about single devices."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import enrolling_shapes as shapes
from acs.api.documents import answers
from acs.api.pages import CursorPages
from acs.api.scoped import View
from tenants import credentials, enrolments, groups
from tenants.models import Enrolment, EnrolmentGroup, EnrolmentKey


class EnrolmentKeys(View):
    """The keys with which a tenant's devices ask to join."""

    scope, ordering = "auth_keys", ("-created_at", "id")

    @extend_schema(operation_id="enrolment_keys_list", responses=answers({200: shapes.EnrolmentKeyShape(many=True)}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002 - DRF's signature
        return self.page(EnrolmentKey.objects.of(self.tenant()).filter(kind=EnrolmentKey.Kind.BEARER), shapes.EnrolmentKeyShape)

    @extend_schema(
        operation_id="enrolment_keys_create",
        request=shapes.NewEnrolmentKey,
        responses=answers({201: shapes.ShownEnrolmentKey}, 400, 401, 403, 404, 409),
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        key, secret = credentials.issue(self.tenant(), **self.body(shapes.NewEnrolmentKey), **self.acted)
        return Response({**shapes.EnrolmentKeyShape(key).data, "secret": secret}, status=201)


class OneEnrolmentKey(View):
    """One enrolment key; deleting revokes it."""

    scope = "auth_keys"

    @extend_schema(operation_id="enrolment_keys_read", responses=answers({200: shapes.EnrolmentKeyShape}, 401, 403, 404))
    def get(self, request: Request, account: str, key_id: UUID) -> Response:  # noqa: ARG002
        return Response(shapes.EnrolmentKeyShape(self._key(key_id)).data)

    @extend_schema(operation_id="enrolment_keys_revoke", responses=answers({200: shapes.EnrolmentKeyShape}, 401, 403, 404, 409))
    def delete(self, request: Request, account: str, key_id: UUID) -> Response:  # noqa: ARG002
        credentials.revoke(self._key(key_id), **self.acted)
        return Response(shapes.EnrolmentKeyShape(self._key(key_id)).data)

    def _key(self, key_id: UUID) -> Any:
        return self.one(EnrolmentKey.objects.of(self.tenant()).select_related("tenant").filter(kind=EnrolmentKey.Kind.BEARER), pk=key_id)


class GroupView(View):
    """What the addresses of enrolment groups share."""

    scope, ordering = "auth_keys", ("name", "key_id")

    def groups(self) -> QuerySet[EnrolmentGroup]:
        return EnrolmentGroup.objects.of(self.tenant()).select_related("key__tenant", "tenant")

    def group(self, group_id: UUID) -> EnrolmentGroup:
        found: EnrolmentGroup = self.one(self.groups(), pk=group_id)
        return found

    def shown(self, group_id: UUID) -> Response:
        return Response(shapes.EnrolmentGroupShape(self.group(group_id)).data)


class EnrolmentGroups(GroupView):
    """Devices that sign their requests with keys derived from a group's secret."""

    @extend_schema(operation_id="enrolment_groups_list", responses=answers({200: shapes.GroupShape(many=True)}, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return self.page(self.groups(), shapes.EnrolmentGroupShape)

    @extend_schema(
        operation_id="enrolment_groups_create",
        request=shapes.NewGroup,
        responses=answers({201: shapes.ShownGroup}, 400, 401, 403, 404, 409),
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        group, made = groups.make(self.tenant(), **self.body(shapes.NewGroup), **self.acted)
        shown = shapes.EnrolmentGroupShape(group).data
        return Response({**shown, "primary": made.primary, "secondary": made.secondary}, status=201)


class OneEnrolmentGroup(GroupView):
    """One group; deleting revokes it."""

    @extend_schema(operation_id="enrolment_groups_read", responses=answers({200: shapes.GroupShape}, 401, 403, 404))
    def get(self, request: Request, account: str, group_id: UUID) -> Response:  # noqa: ARG002
        return self.shown(group_id)

    @extend_schema(
        operation_id="enrolment_groups_change",
        request=shapes.ChangedGroup,
        responses=answers({200: shapes.GroupShape}, 400, 401, 403, 404, 409),
    )
    def patch(self, request: Request, account: str, group_id: UUID) -> Response:  # noqa: ARG002
        groups.change(self.group(group_id), **self.body(shapes.ChangedGroup), **self.acted)
        return self.shown(group_id)

    @extend_schema(operation_id="enrolment_groups_revoke", responses=answers({200: shapes.GroupShape}, 401, 403, 404, 409))
    def delete(self, request: Request, account: str, group_id: UUID) -> Response:  # noqa: ARG002
        credentials.revoke(self.group(group_id).key, **self.acted)
        return self.shown(group_id)


class RotateEnrolmentGroup(GroupView):
    """Another secret in the place of one of the two."""

    @extend_schema(
        operation_id="enrolment_groups_rotate",
        request=shapes.Rotation,
        responses=answers({200: shapes.RotatedSecret}, 400, 401, 403, 404, 409),
    )
    def post(self, request: Request, account: str, group_id: UUID) -> Response:  # noqa: ARG002
        group, which = self.group(group_id), self.body(shapes.Rotation)["which"]
        return Response({"which": which, "secret": groups.rotate(group, which, **self.acted)})


class EnrolmentView(View):
    """What the addresses of single devices share."""

    scope, ordering = "auth_keys", ("registration_id", "id")

    def enrolment(self, registration_id: str) -> Enrolment:
        rows = Enrolment.objects.of(self.tenant()).select_related("tenant")
        found: Enrolment = self.one(rows, registration_id=registration_id.lower())
        return found


class Enrolments(EnrolmentView):
    """Devices that wait for an admin, and those about which one has decided."""

    filters = shapes.EnrolmentFilters

    @extend_schema(
        operation_id="enrolments_list",
        parameters=[shapes.EnrolmentFilters],
        responses=answers({200: shapes.EnrolmentShape(many=True)}, 400, 401, 403, 404),
    )
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        wish = self.filters.of_query(request, besides=CursorPages.parameters)
        return self.page(Enrolment.objects.of(self.tenant()).filter(**wish), shapes.EnrolmentShape)


class OneEnrolment(EnrolmentView):
    """One device by its registration id. Putting accepts, enables or disables it; deleting leaves it to its credential's settings."""

    http_method_names = ["get", "head", "put", "delete"]

    @extend_schema(operation_id="enrolments_read", responses=answers({200: shapes.EnrolmentShape}, 401, 403, 404))
    def get(self, request: Request, account: str, registration_id: str) -> Response:  # noqa: ARG002
        return Response(shapes.EnrolmentShape(self.enrolment(registration_id)).data)

    @extend_schema(
        operation_id="enrolments_put", request=shapes.PutEnrolment, responses=answers({200: shapes.EnrolmentShape}, 400, 401, 403, 404)
    )
    def put(self, request: Request, account: str, registration_id: str) -> Response:  # noqa: ARG002
        made = enrolments.put(self.tenant(), registration_id, **self.body(shapes.PutEnrolment), **self.acted)
        return Response(shapes.EnrolmentShape(made).data)

    @extend_schema(operation_id="enrolments_forget", responses=answers({204: None}, 401, 403, 404))
    def delete(self, request: Request, account: str, registration_id: str) -> Response:  # noqa: ARG002
        enrolments.forget(self.enrolment(registration_id), **self.acted)
        return Response(status=204)
