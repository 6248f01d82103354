"""The DERP map that a cluster's clients use: public, for devices ask before they are anybody."""

from __future__ import annotations

import hashlib
import json

from django.http import HttpRequest, HttpResponse
from django.utils.http import parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.views import APIView

from acs.api.documents import answers
from placement import derp
from placement.models import Cluster

AGE = 300  # seconds a client may keep it


class DerpMapView(APIView):
    """The relays of one cluster, the same map that its server hands to clients."""

    authentication_classes = ()
    permission_classes = ()
    http_method_names = ["get", "head"]

    @extend_schema(operation_id="derp_map_read", tags=["derp"], auth=[], responses=answers({200: OpenApiTypes.OBJECT}, 404, token=False))
    def get(self, request: Request, cluster_id: str) -> HttpResponse:
        cluster = Cluster.objects.filter(pk=cluster_id).first()
        if cluster is None:
            raise NotFound
        body = json.dumps(derp.map_for(cluster), sort_keys=True).encode()
        return cached(request._request, body)


def cached(request: HttpRequest, body: bytes) -> HttpResponse:
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    fresh = tag in parse_etags(request.headers.get("If-None-Match", ""))
    response = HttpResponse(b"" if fresh else body, status=304 if fresh else 200, content_type="application/json")
    response["ETag"], response["Cache-Control"] = tag, f"public, max-age={AGE}"
    return response
