"""/healthz: this process answers. /readyz: it can also do its work; which part cannot is named."""

from __future__ import annotations

from collections.abc import Callable

import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from psycopg_pool import PoolTimeout

from placement import outbox

log = structlog.get_logger(__name__)
FAULTS = (DatabaseError, PoolTimeout, redis.RedisError, OSError)


class NotReady(Exception):
    """A part answers, but is not fit for work; the text says why."""


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Touches nothing: a process is not to be restarted because its database is away."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """200 when every part is fit, else 503; the body has a line of JSON for each part."""
    found = {name: _try(name, check) for name, check in CHECKS.items()}
    is_ready = all(state == "ok" for state in found.values())
    response = JsonResponse({"ready": is_ready, "parts": found}, status=200 if is_ready else 503)
    response["Cache-Control"] = "no-store"
    return response


def _try(name: str, check: Callable[[], None]) -> str:
    """Strangers may ask: they are told which part, and the logs why."""
    try:
        check()
    except NotReady as reason:
        return str(reason)
    except FAULTS as fault:
        log.warning("not_ready", part=name, error=str(fault))
        return "no answer"
    return "ok"


def database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("select 1")


def valkey() -> None:
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1) as link:
        link.ping()


class Migrations:
    """Reading all migrations takes a while and the answer only ever changes to yes: remembered then."""

    applied = False

    def __call__(self) -> None:
        if not self.applied:
            executor = MigrationExecutor(connection)
            missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
            if missing:
                raise NotReady(f"{missing} not applied")
            self.applied = True


def events() -> None:
    lag = outbox.look().lag(timezone.now())
    if lag > settings.READY_OUTBOX_SECONDS:
        raise NotReady(f"the oldest unconsumed event is {lag:.0f} s old")


CHECKS: dict[str, Callable[[], None]] = {"database": database, "valkey": valkey, "migrations": Migrations(), "events": events}
