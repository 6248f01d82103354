"""The OpenAPI document keeps its word: whatever comes, to any operation and from anybody, is answered as it says, and never by a fault of ours.

Schemathesis makes the requests, those that fit the document and those that do not, with the ids of things that exist and of things that do not.
`ACS_EXAMPLES=20` looks twenty times as long, and elsewhere every time.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from django.test import Client
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from tenants import groups, signing
from tests import factories
from tests.api.callers import operator, program_of
from tests.api.test_isolation import victim  # noqa: F401 - a tenant that has one of everything
from tests.fakes.fleet_server import serving

pytestmark = pytest.mark.django_db
TIMES = int(os.environ.get("ACS_EXAMPLES", "0"))
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
patient = settings(
    max_examples=8 * max(TIMES, 1),
    derandomize=not TIMES,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@cache
def document() -> Any:
    written = OpenApiJsonRenderer().render(SchemaGenerator().get_schema(request=None, public=True), renderer_context={})
    return schemathesis.openapi.from_dict(json.loads(written))


def labels() -> list[str]:
    return [found.ok().label for found in document().get_all_operations()]


def operation_of(label: str) -> Any:
    return next(found.ok() for found in document().get_all_operations() if found.ok().label == label)


@pytest.fixture
def fleet_cluster(fleet_clusters) -> Iterator[Any]:
    """A cluster that is served: before the test's own transaction holds its row."""
    cluster = fleet_clusters()
    with serving(cluster):
        yield cluster


@pytest.fixture
def callers(victim, settings) -> dict[str, Any]:  # noqa: F811 - the fixture
    """Who may call, as what makes the Authorization header of a request."""
    for name in ("ANONYMOUS", "ADDRESS", "CREDENTIAL", "ACCOUNT", "BAD_CREDENTIAL"):
        setattr(settings, f"{name}_LIMIT", "1000000/second")
    customer = factories.customer(max_devices=3)
    group, told = groups.make(customer.tenant, "signers", now=timezone.now(), actor="system:tests")
    tenant = type(customer.tenant).objects.get(account=victim["account"])

    def signature(request: requests.PreparedRequest, path: str) -> str:
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        key = signing.derive_key(told.primary, "till-7")
        fields = {"at": timezone.now(), "nonce": secrets.token_urlsafe(18), "group": str(group.pk), "registration_id": "till-7"}
        return signing.header(key, method=str(request.method), path=path, body=body, **fields)

    bearers = {
        "operator": operator().secret,
        "reader": operator("tenants:read").secret,
        "tenant": program_of(tenant).secret,
        "stranger": program_of(customer.tenant).secret,
        "enrolment key": customer.secret,
        "key that needs approval": factories.enrolment_key(customer.tenant, approval=True)[1],
        "single-use key": factories.enrolment_key(customer.tenant, max_uses=1)[1],
        "nonsense": "x",
    }
    return {"nobody": None, "signed": signature} | {name: f"Bearer {secret}" for name, secret in bearers.items()}


def send(case: Any, caller: Any) -> schemathesis.Response:
    """The case over Django's own handler, as the answer that schemathesis checks."""
    request = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
    request.headers.pop("Authorization", None)
    parts = urlsplit(request.url)
    headers = {name: value for name, value in request.headers.items() if name.lower() not in ("content-type", "content-length")}
    if caller is not None:
        headers["Authorization"] = caller(request, parts.path) if callable(caller) else caller
    came = Client(raise_request_exception=False).generic(
        str(request.method),
        parts.path + (f"?{parts.query}" if parts.query else ""),
        request.body or b"",
        content_type=request.headers.get("Content-Type", "application/json"),
        headers=headers,
    )
    told = {name.lower(): [value] for name, value in came.headers.items()}
    return schemathesis.Response(came.status_code, told, came.content, request, elapsed=0.0, verify=False, message=came.reason_phrase)


def likely(operation: Any, ids: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Requests with ids of what there is, else of what may be; that fit the document, else not."""
    wanted = {parameter.name for parameter in operation.path_parameters}
    there = {name: str(ids[name]) for name in wanted if name in ids}
    fitting = operation.as_strategy(generation_mode=GenerationMode.POSITIVE, path_parameters=there or None)
    kinds = [fitting, fitting]
    if wanted:
        kinds.append(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    if wanted != set(there) or operation.body or len(list(operation.iter_parameters())) > len(wanted):
        kinds.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE, path_parameters=there or None))
    return st.one_of(kinds)


@pytest.mark.parametrize("label", labels())
def test_every_answer_is_as_the_document_says(label, victim, callers):  # noqa: F811 - the fixture
    operation = operation_of(label)
    usual = ["enrolment key", "signed", "nobody"] if "/bootstrap" in label else ["operator", "operator", "tenant"]

    @patient
    @given(case=likely(operation, victim), who=st.sampled_from([*usual, *usual, *callers]))
    def answers(case: Any, who: str) -> None:
        answer = send(case, callers[who])
        assert answer.status_code != 500, (who, answer.content)
        if answer.status_code == 503:
            assert answer.json()["code"] in ("no-cluster-available", "cluster-busy", "no-seller"), answer.content
        case.validate_response(answer, checks=CHECKS)

    answers()
