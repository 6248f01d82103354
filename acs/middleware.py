"""What surrounds every request: its id in the logs, in the audit and in the answer; one line when it is done; 503 when the database is away."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from django.urls import ResolverMatch, resolve
from rest_framework.exceptions import NotFound

from acs import errors
from tenants.errors import MalformedRequest

log = structlog.get_logger(__name__)
USABLE = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")  # an id from outside ends up in logs and in the audit
SECRET = re.compile(r"(/register/|/accounts/password/reset/key/|/accounts/confirm-email/)[^/]+")  # whoever reads these ends could use them
QUIET = ("/healthz", "/readyz", "/metrics")
DEVICES_DOORS = {"/api/v1/bootstrap"}  # where devices knock by the thousand: JSON in and out, no cookie, no session, no page


class RequestContext:
    """The outermost middleware. Paths are logged without their query and what is secret in them, and never a header or a body."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        told = request.headers.get("X-Request-ID", "")
        request_id = told if USABLE.match(told) else uuid.uuid4().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        begun = time.monotonic()
        try:
            response = _unnamable(request) or self.get_response(request)
            response["X-Request-ID"] = request_id
            tell = log.debug if request.path in QUIET and response.status_code < 400 else log.info
            milliseconds = round((time.monotonic() - begun) * 1000, 1)
            tell(
                "request",
                method=request.method,
                path=SECRET.sub(r"\1…", request.path),
                status=response.status_code,
                milliseconds=milliseconds,
            )
            return response
        finally:
            structlog.contextvars.clear_contextvars()

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:  # noqa: ARG002 - Django's signature
        """Views without DRF: what the table foresees is answered by it, all else goes the way of a 500."""
        return errors.answer(error)


class DevicesLane:
    """Answers at the devices' doors without what stands after it in the list, and what only pages need: it cost a sixth of a bootstrap."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.found: dict[str, ResolverMatch] = {}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info not in DEVICES_DOORS:
            return self.get_response(request)
        if request.path_info not in self.found:
            self.found[request.path_info] = resolve(request.path_info)
        view, args, kwargs = self.found[request.path_info]
        return view(request, *args, **kwargs)


def _unnamable(request: HttpRequest) -> HttpResponse | None:
    """PostgreSQL keeps no NUL in a text: nothing has a name with one, and no query of ours could ask for it."""
    if "\0" in request.path:
        return errors.answer(NotFound())
    if "%00" in request.META.get("QUERY_STRING", ""):
        return errors.answer(MalformedRequest({"query": "no NUL belongs into it"}))
    return None
