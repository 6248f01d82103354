"""The floor: the same gunicorn and the same number of SQL statements as a bootstrap, and nothing else. Loaded as `benchmarks.floor:application`."""

from __future__ import annotations

import os
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "acs.settings")
service = get_wsgi_application()

from django.db import connection, transaction  # noqa: E402 - Django must be set up first
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

from acs import urls  # noqa: E402

STATEMENTS = int(os.environ.get("FLOOR_STATEMENTS", "2"))


@csrf_exempt
def floor(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - a view's signature
    """A read, and writes of one row each, in one transaction: what any admission has to pay."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select id, account, state from tenants_tenant where account = 'acme-inc'")
        cursor.fetchone()
        for _ in range(STATEMENTS - 1):
            cursor.execute("update tenants_quota set used = used")
    return JsonResponse({"statements": STATEMENTS})


urls.urlpatterns.insert(0, path("floor", floor))


def application(environ: dict[str, Any], start_response: Any) -> Any:
    return service(environ, start_response)
