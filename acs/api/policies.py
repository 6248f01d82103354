"""The network policy of a tenant: read, checked, previewed, stored, rolled back, compared, and asked who reaches what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api import policy_shapes as shapes
from acs.api.bodies import Fields, StrictJsonParser
from acs.api.documents import answers
from acs.api.hujson import HUJSON, HujsonParser, HujsonRenderer, PolicyParser
from acs.api.scoped import View
from placement.policies import explaining, matrix, storing
from placement.policies.preview import preview
from tenants import netpolicy
from tenants.errors import MalformedRequest, StaleMatch, StaleVersion, VersionRequired
from tenants.models import PolicyVersion

NOTHING = PolicyVersion(number=0)
MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description='The ETag of the version that you saw, such as "7"; "0": none yet.'
)
TAGGED = OpenApiParameter("ETag", str, OpenApiParameter.HEADER, response=[200], description="The number of the version, in quotes.")
REFUSED = (400, 401, 403, 404, 409, 422, 502)


class PolicyView(View):
    scope = "policy_file"
    parser_classes: Any = (PolicyParser, HujsonParser)

    def version(self, number: int) -> PolicyVersion | None:
        """None for 0, what was before the first version. Raises: NotFound."""
        found = netpolicy.version(self.tenant(), number)
        if found is None and number != 0:
            raise NotFound
        return found


class Policy(PolicyView):
    """The version that counts, as JSON or as the HuJSON that it is."""

    renderer_classes = (JSONRenderer, HujsonRenderer)
    http_method_names = ["get", "head", "put"]

    @extend_schema(
        operation_id="policy_read",
        parameters=[TAGGED],
        responses=answers({(200, "application/json"): shapes.PolicyShape, (200, HUJSON): OpenApiTypes.STR}, 401, 403, 404, 406),
    )
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002 - DRF's signature
        version = netpolicy.current(self.tenant()) or NOTHING
        return _tagged(Response(shapes.PolicyShape(version).data), version)

    @extend_schema(
        operation_id="policy_store",
        parameters=[MATCH, TAGGED],
        request={"application/json": shapes.NewPolicy, HUJSON: OpenApiTypes.STR},
        responses=answers({(200, "application/json"): shapes.StoredShape, (200, HUJSON): OpenApiTypes.STR}, *REFUSED, 406, 412, 415, 428),
    )
    def put(self, request: Request, account: str) -> Response:  # noqa: ARG002
        expected = _matched(request)
        if expected is None:
            raise VersionRequired
        with _by_header():
            stored = storing.store(self.tenant(), **self.body(shapes.NewPolicy), expected=expected, **self.acted)
        return _tagged(Response(shapes.StoredShape(stored).data), stored.version)


class Validate(PolicyView):
    """Whether a text could be stored: everything that storing asks, the tenant's server too. Refusals are those of storing."""

    only_reads = True

    @extend_schema(
        operation_id="policy_validate",
        request={"application/json": shapes.PolicyText, HUJSON: OpenApiTypes.STR},
        responses=answers({200: shapes.VerdictShape}, *REFUSED, 415),
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        verdict = storing.check(self.tenant(), self.body(shapes.PolicyText)["text"], timezone.now())
        return Response(shapes.VerdictShape(verdict).data)


class Preview(PolicyView):
    """Who would reach what, what of it is new and what is lost, what the text says in vain, what it costs. No server is asked."""

    only_reads = True

    @extend_schema(
        operation_id="policy_preview",
        request={"application/json": shapes.PolicyText, HUJSON: OpenApiTypes.STR},
        responses=answers({200: shapes.PreviewShape}, 400, 401, 403, 404, 409, 415, 422),
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return Response(shapes.PreviewShape(preview(self.tenant(), self.body(shapes.PolicyText)["text"])).data)


class Versions(PolicyView):
    """Every version, the newest first, without their texts."""

    ordering = "-number"

    @extend_schema(operation_id="policy_versions_list", responses=answers({200: shapes.VersionShape(many=True)}, 400, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        return self.page(netpolicy.versions(self.tenant()).defer("text"), shapes.VersionShape)


class OneVersion(PolicyView):
    """One version with its text."""

    renderer_classes = (JSONRenderer, HujsonRenderer)

    @extend_schema(
        operation_id="policy_versions_read",
        responses=answers({(200, "application/json"): shapes.PolicyShape, (200, HUJSON): OpenApiTypes.STR}, 401, 403, 404, 406),
    )
    def get(self, request: Request, account: str, number: int) -> Response:  # noqa: ARG002
        return Response(shapes.PolicyShape(self.version(number) or NOTHING).data)


class Against(Fields):
    against = serializers.IntegerField(
        required=False, min_value=0, max_value=2_000_000_000, help_text="Usually the version before. 0: nothing."
    )


class Diff(PolicyView):
    """What one version changed."""

    filters = Against

    @extend_schema(
        operation_id="policy_versions_diff", parameters=[Against], responses=answers({200: shapes.DiffShape}, 400, 401, 403, 404)
    )
    def get(self, request: Request, account: str, number: int) -> Response:  # noqa: ARG002
        new = self.version(number)
        if new is None:
            raise NotFound
        against = self.filters.of_query(request).get("against", number - 1)
        told = {"old": against, "new": number, "diff": netpolicy.diff(self.version(against), new)}
        return Response(shapes.DiffShape(told).data)


class RollBack(PolicyView):
    """An earlier version's text stored again, as a new version."""

    parser_classes = (StrictJsonParser,)

    @extend_schema(
        operation_id="policy_rollback",
        parameters=[OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, description="In place of expected.")],
        request=shapes.RollBack,
        responses=answers({200: shapes.StoredShape}, *REFUSED, 412, 428),
    )
    def post(self, request: Request, account: str) -> Response:  # noqa: ARG002
        asked, matched = self.body(shapes.RollBack), _matched(request)
        expected = asked.get("expected") if matched is None else matched
        if expected is None:
            raise VersionRequired
        wish = {"to_number": asked.get("to"), "note": asked.get("note", "")}
        with _by_header() if matched is not None else nullcontext():
            stored = storing.roll_back(self.tenant(), expected=expected, **wish, **self.acted)
        return Response(shapes.StoredShape(stored).data)


class ReachOf(PolicyView):
    """Who reaches what now."""

    @extend_schema(operation_id="policy_reach", responses=answers({200: shapes.MatrixShape}, 400, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        self.filters.of_query(request)
        return Response(shapes.MatrixShape(matrix.matrix(storing.world_of(self.tenant()).reach)).data)


class Asked(Fields):
    src = serializers.CharField(max_length=300, help_text="A word of the policy: a device, tag, group, person, address, autogroup.")
    dst = serializers.CharField(max_length=300, help_text="The same; autogroup:internet and routed prefixes too.")
    service = serializers.CharField(required=False, allow_blank=True, max_length=30, help_text="Such as tcp:22 or 443; without it, any.")


class Explain(PolicyView):
    """Why the one reaches the other, or why not."""

    filters = Asked

    @extend_schema(operation_id="policy_explain", parameters=[Asked], responses=answers({200: shapes.ExplanationShape}, 400, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002
        asked = self.filters.of_query(request)
        service = explaining.service_of(asked.get("service", ""))
        told = explaining.explain(storing.world_of(self.tenant()).reach, asked["src"], asked["dst"], service)
        return Response(shapes.ExplanationShape(told).data)


def _tagged(response: Response, version: PolicyVersion) -> Response:
    response["ETag"] = f'"{version.number}"'
    return response


def _matched(request: Request) -> int | None:
    """The version that the request names as its condition; `*`, any, names none. Raises: MalformedRequest."""
    told = request.headers.get("If-Match", "").strip()
    if told in ("", "*"):
        return None
    found = re.fullmatch(r'"([0-9]{1,9})"', told)
    if found is None:
        raise MalformedRequest({"If-Match": 'one version, such as "7"'})
    return int(found[1])


@contextmanager
def _by_header() -> Iterator[None]:
    """A version that is a condition of the request fails as one."""
    try:
        yield
    except StaleVersion as stale:
        raise StaleMatch(stale.current) from stale
