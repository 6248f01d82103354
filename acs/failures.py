"""What Django says when no view answers: problem documents under /api, plain pages elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views import defaults
from rest_framework import exceptions as rest

from acs import errors


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_api(request):
        return errors.respond(errors.PROBLEMS[rest.ParseError])
    return defaults.bad_request(request, exception)


def denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_api(request):
        return errors.respond(errors.PROBLEMS[rest.PermissionDenied])
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_api(request):
        return errors.respond(errors.PROBLEMS[rest.NotFound])
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest, *_: Any) -> HttpResponse:
    """Called while the error is being handled: an outage that struck outside of the views (sessions, say) is 503 like inside."""
    error = sys.exc_info()[1]
    if error is not None and (foreseen := errors.answer(error)) is not None:
        return foreseen
    if _is_api(request):
        return errors.respond(errors.INTERNAL)
    return defaults.server_error(request)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")
