"""Why a device is not in its network yet; and the reports of a device's own side that help to find out."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from acs import reporting
from acs.api.bodies import Fields, parse, read_body
from acs.api.documents import answers
from acs.api.scoped import View
from acs.api.shapes import example
from acs.callers import address_of, proof_of
from placement.diagnosis import gather, notes, words
from placement.diagnosis.causes import Cause
from placement.diagnosis.gather import Diagnosis
from placement.diagnosis.stages import STAGES
from placement.models import Device


class StepShape(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    stage = serializers.ChoiceField(choices=STAGES)
    outcome = serializers.CharField(help_text="done, refused, expired, released or gone.")
    code = serializers.CharField(help_text="What the device was told, or what is odd about it.")
    detail = serializers.CharField(help_text="For people; no secret is part of it.")
    times = serializers.IntegerField()


class CauseShape(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="Stable.")
    certain = serializers.BooleanField(help_text="Seen by the service; false: likely.")
    detail = serializers.CharField()
    meaning = serializers.SerializerMethodField()
    remedy = serializers.SerializerMethodField()

    def get_meaning(self, cause: Cause) -> str:
        return str(words.CAUSES[cause.code].meaning)

    def get_remedy(self, cause: Cause) -> str:
        return str(words.CAUSES[cause.code].remedy)


class TimelineShape(serializers.Serializer[Any]):
    registration_id = serializers.CharField(source="known.registration_id")
    stage = serializers.CharField(
        source="standing.stage", help_text="The first stage that is not reached; empty: the device is in its network."
    )
    since = serializers.DateTimeField(source="standing.since", allow_null=True)
    stalled = serializers.BooleanField(source="standing.stalled")
    causes = CauseShape(many=True, help_text="Why it stalls, most telling first.")
    hints = CauseShape(many=True, help_text="What will make its connections go through relays.")
    steps = StepShape(many=True)


@example({"netcheck": {"UDP": False, "IPv6": False}, "probes": {"dns": "ok", "tcp": "timed out", "clock_off": -3.5}})
class Report(Fields):
    netcheck = serializers.DictField(required=False, help_text="What `tailscale netcheck --format=json` printed.")
    probes = serializers.DictField(
        required=False, help_text="dns, tcp, tls: ok or what went wrong; clock_off: seconds by which the device's clock is ahead."
    )


class Timeline(View):
    """What happened to a device, by its own name for itself."""

    scope = "auth_keys"

    @extend_schema(operation_id="enrolments_timeline", responses=answers({200: TimelineShape}, 401, 403, 404))
    def get(self, request: Request, account: str, registration_id: str) -> Response:  # noqa: ARG002 - DRF's signature
        operator = self.caller.tenant is None
        return _shown(gather.diagnose(self.tenant(), registration_id, now=timezone.now(), claimed=operator))


class DeviceTimeline(View):
    """The same of a device that joined, also of one without a name for itself."""

    scope = "devices:core"

    @extend_schema(operation_id="devices_timeline", responses=answers({200: TimelineShape}, 401, 403, 404))
    def get(self, request: Request, account: str, device_id: UUID) -> Response:  # noqa: ARG002
        device = self.one(Device.objects.of(self.tenant()).select_related("slot", "tenant"), pk=device_id)
        return _shown(gather.diagnose_device(device, now=timezone.now()))


class ReportOf(View):
    """An admin hands in what a device reports of its own side."""

    scope = "auth_keys"

    @extend_schema(operation_id="enrolments_report", request=Report, responses=answers({204: None}, 400, 401, 403, 404))
    def post(self, request: Request, account: str, registration_id: str) -> Response:  # noqa: ARG002
        tenant, acted = self.tenant(), self.acted
        notes.report(tenant, registration_id, self.body(Report), by=acted["actor"], now=acted["now"])
        return Response(status=204)


@example({"registration_id": "till-7.store-12", "netcheck": {"UDP": False}, "probes": {"dns": "ok"}})
class DeviceReport(Report):
    account = serializers.CharField(
        max_length=63, required=False, help_text="The tenant. Needed with a workload's token; else the credential implies it."
    )
    registration_id = serializers.CharField(
        max_length=128, required=False, help_text="Needed with a bearer key; a signature or a token names it."
    )


class BootstrapReport(APIView):
    """A device hands in its own report, with the credential with which it asks to join."""

    authentication_classes = ()
    permission_classes = ()
    http_method_names = ["post"]

    @extend_schema(
        operation_id="bootstrap_report",
        tags=["bootstrap"],
        request=DeviceReport,
        responses=answers({204: None}, 400, 401, 403, 429, token=False),
        auth=[{"enrolmentKey": []}, {"deviceSignature": []}],  # type: ignore[list-item]
    )
    def post(self, request: Request) -> HttpResponse:
        body = read_body(request._request)
        told = parse(body)
        reporting.take(proof_of(request._request, body), told, address=address_of(request._request), now=timezone.now())
        return HttpResponse(status=204, headers={"Cache-Control": "no-store"})


def _shown(found: Diagnosis | None) -> Response:
    if found is None:
        raise NotFound
    return Response(TimelineShape(found).data)
