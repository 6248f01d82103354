"""POST /api/v1/bootstrap: reads the request strictly, calls the flow, renders the answer."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.views import APIView

from acs import admission, callers, errors, metrics, refusals, throttle
from acs.admission import Admission, BootstrapRequest
from acs.api import documents
from acs.api.bodies import parse, read_body
from acs.door import Trail
from tenants.errors import MalformedRequest
from tenants.signing import REGISTRATION_ID

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,128}\Z")
SHAPES: dict[str, tuple[re.Pattern[str], str]] = {
    "account": (re.compile(r"[a-z0-9-]{1,63}\Z"), "an account name"),
    "plan": (re.compile(r"[A-Za-z0-9_-]{1,40}\Z"), "a plan's name"),
    "want_region": (re.compile(r"[A-Za-z0-9_-]{1,32}\Z"), "a region's name"),
    "registration_id": (REGISTRATION_ID, "1 to 128 letters, digits and . _ : -, the first one a letter or digit"),
    "hostname": (re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z"), "a host name"),
    "os": (re.compile(r"[\x20-\x7e]{1,40}\Z"), "up to 40 printable characters"),
}

MOST_LATENCIES, LONGEST_LATENCY = 64, 60_000  # regions; milliseconds
COUNTRY = re.compile(r"[A-Z]{2}\Z")

DIRECTED = {
    "cluster_id": "eu1",
    "headscale_url": "https://acme-inc.net.example.com",
    "derp_map": "https://acs.example.com/api/v1/derp/eu1.json",
    "auth_mode": "oidc",
    "note": "Run tailscale up with this login server and sign in as a person.",
}
ADMITTED = DIRECTED | {
    "auth_mode": "authkey",
    "note": "Run the command on the device.",
    "auth_key": "hskey-auth-...",
    "auth_key_expires_at": "2026-11-24T13:00:00+00:00",
    "command": "tailscale up --login-server=https://acme-inc.net.example.com --auth-key=hskey-auth-... --hostname=till-7",
}


class BootstrapView(APIView):
    """Ask to join: where to go and, with a credential, the key that lets the device in."""

    authentication_classes = ()
    permission_classes = ()
    http_method_names = ["post"]
    trail = Trail()

    @extend_schema(
        operation_id="bootstrap",
        tags=["bootstrap"],
        request=documents.BootstrapRequest,
        responses=documents.answers({200: documents.BootstrapAnswer}, 202, 400, 401, 403, 404, 422, 429, 502, 503, token=False),
        auth=[{"enrolmentKey": []}, {"deviceSignature": []}, {}],  # type: ignore[list-item]
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                str,
                OpenApiParameter.HEADER,
                description="A repeat with the same key and body gets the same answer, for 24 hours.",
            ),
        ],
        examples=[
            OpenApiExample(
                "A device with a registration id",
                {"registration_id": "till-7.store-12", "hostname": "till-7", "os": "linux"},
                request_only=True,
            ),
            OpenApiExample(
                "The first device of a tenant, with what it measured", {"latencies": {"eu": 21.5, "us": 104}}, request_only=True
            ),
            OpenApiExample("A person's device, without a credential", {"account": "acme-inc"}, request_only=True),
            OpenApiExample("Admitted", ADMITTED, response_only=True, status_codes=["200"]),
            OpenApiExample("Where to sign in", DIRECTED, response_only=True, status_codes=["200"]),
        ],
    )
    def post(self, request: HttpRequest) -> JsonResponse:
        with metrics.bootstrap() as outcome:
            asked, now = read(request), timezone.now()
            self.trail = asked.trail
            with refusals.noted(asked, now=now):
                admitted = admission.bootstrap(asked, now=now)
            outcome.cluster_id = admitted.cluster_id
        structlog.contextvars.bind_contextvars(cluster_id=admitted.cluster_id)
        return render(admitted)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Without DRF's negotiation, authentication and permissions: this door has its own, and answers JSON whatever was asked for."""
        if request.method != "POST":
            return super().dispatch(request, *args, **kwargs)
        response = self._answer(request)
        for name, value in throttle.headers(self.trail.spent).items():  # refusals tell the limits too
            response[name] = value
        return response

    def _answer(self, request: HttpRequest) -> HttpResponse:
        try:
            return self.post(request)
        except Exception as error:
            refused = errors.answer(error)
            if refused is None:
                raise
            return refused


def read(request: HttpRequest) -> BootstrapRequest:
    """Raises: MalformedRequest naming each field that is wrong."""
    body = read_body(request)
    fields = parse(body)
    wrong: dict[str, str] = {name: "unknown field" for name in fields if name not in SHAPES and name != "latencies"}
    for name, (shape, meaning) in SHAPES.items():
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            wrong[name] = "must be a text"
        elif value is not None and not shape.match(value):
            wrong[name] = f"must be {meaning}"
    latencies = {} if fields.get("latencies") is None else fields["latencies"]
    if reason := _wrong_latencies(latencies):
        wrong["latencies"] = reason
    idempotency_key = request.headers.get("Idempotency-Key")
    if idempotency_key is not None and not IDEMPOTENCY_KEY.match(idempotency_key):
        wrong["Idempotency-Key"] = "1 to 128 printable ASCII characters without spaces"
    if wrong:
        raise MalformedRequest(wrong)
    told = {name: value for name in SHAPES if (value := fields.get(name)) is not None}
    registration_id = told.get("registration_id")
    return BootstrapRequest(
        proof=callers.proof_of(request, body),
        account=told.get("account", ""),
        plan=told.get("plan", ""),
        want_region=told.get("want_region", ""),
        latencies=latencies,
        country=_country(request),
        registration_id=registration_id.lower() if registration_id else None,
        hostname=told.get("hostname", ""),
        os=told.get("os", ""),
        idempotency_key=idempotency_key,
        digest=hashlib.sha256(json.dumps(told | ({"latencies": latencies} if latencies else {}), sort_keys=True).encode()).digest(),
        address=callers.address_of(request),
    )


def _wrong_latencies(told: Any) -> str:
    """What is wrong with them, or nothing."""
    if not isinstance(told, dict):
        return "must be an object of milliseconds by region"
    if len(told) > MOST_LATENCIES:
        return f"at most {MOST_LATENCIES} regions"
    for region, ms in told.items():
        if not SHAPES["want_region"][0].match(region):
            return "must name regions"
        if isinstance(ms, bool) or not isinstance(ms, int | float) or not 0 <= ms <= LONGEST_LATENCY:
            return f"must be milliseconds from 0 to {LONGEST_LATENCY}"
    return ""


def _country(request: HttpRequest) -> str:
    """Where a proxy of ours says that the caller is; two capital letters, or nothing."""
    told = request.headers.get(settings.COUNTRY_HEADER, "") if settings.COUNTRY_HEADER else ""
    return told if COUNTRY.match(told) else ""


def render(admitted: Admission) -> JsonResponse:
    body: dict[str, Any] = {
        "cluster_id": admitted.cluster_id,
        "headscale_url": admitted.headscale_url,
        "derp_map": admitted.derp_map,
        "auth_mode": admitted.auth_mode,
        "note": admitted.note,
    }
    if admitted.auth_key and admitted.expires_at:
        body |= {"auth_key": admitted.auth_key, "auth_key_expires_at": admitted.expires_at.isoformat(), "command": admitted.command}
    response = JsonResponse(body)
    response["Cache-Control"] = "no-store"
    return response
