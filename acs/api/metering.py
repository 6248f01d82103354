"""What a tenant used: its series, for its own programs and for operators'. They only read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from acs.api.bodies import Fields
from acs.api.documents import answers
from acs.api.pages import CursorPages
from acs.api.scoped import View
from billing.metering import usage
from billing.metering.errors import EvidenceGone, SumsGone
from tenants.errors import MalformedRequest

LONGEST = {"hour": timedelta(days=31), "day": timedelta(days=366), "device": timedelta(days=31)}


class UsageFilters(Fields):
    """`from` is a word of Python's: serializers are told its name."""

    by = serializers.ChoiceField(choices=["hour", "day", "device"], required=False, default="day", help_text="What the series goes by.")
    to = serializers.DateTimeField(required=False, help_text="Where it ends, not included; now, if it is not said.")

    def get_fields(self) -> dict[str, Any]:
        start = serializers.DateTimeField(
            required=False, help_text="Where the series begins; at the start of the month, if it is not said."
        )
        return {"from": start, **super().get_fields()}


class HourShape(serializers.Serializer[Any]):
    hour = serializers.DateTimeField(help_text="When it begins, UTC.")
    cluster_id = serializers.CharField()
    device_seconds = serializers.IntegerField(help_text="Seconds online of all devices.")


class DayShape(serializers.Serializer[Any]):
    day = serializers.DateField(help_text="UTC.")
    active_devices = serializers.IntegerField(help_text="Devices that were seen online at least once.")
    device_seconds = serializers.IntegerField(help_text="Seconds online of all devices.")


class DeviceUseShape(serializers.Serializer[Any]):
    device_id = serializers.UUIDField(help_text="Also of a device that has left.")
    days = serializers.IntegerField(help_text="On how many days it was seen online.")
    last_day = serializers.DateField(help_text="The last of them.")
    device_seconds = serializers.IntegerField(help_text="Its seconds online.")


class UsageShape(serializers.Serializer[Any]):
    """A whole period and its series; which of the three is there, `by` tells. Hours and days without use are left out."""

    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    by = serializers.CharField()
    active_devices = serializers.IntegerField(help_text="Devices that were seen online at least once in the period.")
    device_seconds = serializers.IntegerField(help_text="Seconds online of all devices in the period.")
    seconds_by_cluster = serializers.DictField(child=serializers.IntegerField())
    hours = HourShape(many=True, required=False)
    days = DayShape(many=True, required=False)
    devices = DeviceUseShape(many=True, required=False)
    next = serializers.CharField(required=False, allow_null=True, help_text="The next page of devices.")


class Usage(View):
    """What the tenant's devices used: the sums of a period, exact up to the last poll, and a series, as of the last roll-up (minutes ago)."""

    scope, ordering, filters = "billing", ("device_id",), UsageFilters
    http_method_names = ["get", "head"]

    @extend_schema(operation_id="usage_read", parameters=[UsageFilters], responses=answers({200: UsageShape}, 400, 401, 403, 404))
    def get(self, request: Request, account: str) -> Response:  # noqa: ARG002 - DRF's signature
        tenant = self.tenant()
        asked = self.filters.of_query(request, besides=CursorPages.parameters)
        start, end = _period(asked)
        by = asked["by"]
        try:
            used = usage.used(tenant, start, end)
        except EvidenceGone as error:
            hint = "" if isinstance(error, SumsGone) else ": ask for whole days"
            raise MalformedRequest({"from": f"{error}{hint}"}) from error
        told: dict[str, Any] = {"start": start, "end": end, "by": by, "active_devices": used.active_devices}
        told |= {"device_seconds": used.device_seconds, "seconds_by_cluster": used.seconds_by_cluster}
        if by == "device":
            told["devices"] = self.paginate_queryset(usage.by_device(tenant, start, end))
            told["next"] = self.paginator.get_next_link()  # type: ignore[union-attr]
        else:
            told[f"{by}s"] = usage.hourly(tenant, start, end) if by == "hour" else usage.daily(tenant, start, end)
        return Response(UsageShape(told).data)


def _period(asked: dict[str, Any]) -> tuple[datetime, datetime]:
    """It ends now at the latest. Raises: MalformedRequest for one that is empty or too long."""
    now = timezone.now()
    end = min(asked.get("to") or now, now).astimezone(UTC).replace(microsecond=0)
    start = (asked.get("from") or end.replace(day=1, hour=0, minute=0, second=0)).astimezone(UTC).replace(microsecond=0)
    longest = LONGEST[asked["by"]]
    if not start < end:
        raise MalformedRequest({"from": "must lie before `to`, and before now"})
    if end - start > longest:
        raise MalformedRequest({"from": f"at most {longest.days} days before `to`, by {asked['by']}"})
    return start, end
