"""The OpenAPI document, and the page that lets people read and try it."""

from __future__ import annotations

import functools
from typing import Any

from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.views import SpectacularSwaggerSplitView

from acs.api.derp import cached


@require_safe
def openapi(request: HttpRequest) -> HttpResponse:
    """The document: made once per process, for it depends on the code alone."""
    return cached(request, _document())


@functools.cache
def _document() -> bytes:
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return bytes(OpenApiJsonRenderer().render(schema, renderer_context={}))


@method_decorator(csp_update({"style-src": ["'unsafe-inline'"]}), name="dispatch")
class Docs(SpectacularSwaggerSplitView):
    """Swagger UI from our own address. Its page has an inline style sheet, hence the one wider rule; its script comes as a file."""

    authentication_classes = ()
    permission_classes = ()
    url = "/api/openapi.json"
