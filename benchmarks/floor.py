"""The floor: the same gunicorn and the very SQL statements of a bootstrap, and nothing else. Loaded as `benchmarks.floor:application`.

`/floor/<way>` executes what a bootstrap by that way does, with ids of its own: no credential is checked, no limit counted, no key derived.
`/floor/<way>-hash` also hashes one key, as every server of the fleet will want to read it: what is left of the difference is the door's own.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
import struct
import termios
import uuid
from datetime import timedelta
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "acs.settings")
service = get_wsgi_application()

from django.db import connection, transaction  # noqa: E402 - Django must be set up first
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

from acs import middleware, urls  # noqa: E402
from placement.grants import STATEMENTS  # noqa: E402
from placement.headscale import ahead, hashing  # noqa: E402
from placement.headscale.keys import AuthKey  # noqa: E402
from placement.standing import HOME, STANDING  # noqa: E402
from tenants.groups import GROUP, USE_NONCE  # noqa: E402

KEY = AuthKey("x" * 12, "x" * 64)
FACTS: list[dict[str, Any]] = json.loads(os.environ.get("FLOOR_FACTS", "[]"))


def _signed(cursor: Any, fact: dict[str, Any]) -> None:
    now = timezone.now()
    cursor.execute(GROUP, {"group": fact["group_id"], "now": now})
    cursor.fetchone()
    cursor.execute(USE_NONCE, {"key": fact["group_id"], "nonce": secrets.token_hex(16), "until": now})


def _admit(cursor: Any, fact: dict[str, Any], digest: bytes, key_id: str) -> None:
    now = timezone.now()
    registration_id = secrets.token_hex(8)
    asked = {"digest": digest, "account": "", "idempotency_key": None, "registration_id": registration_id, "now": now}
    cursor.execute(STANDING, asked)
    cursor.fetchall()
    facts = {
        "now": now,
        "expires_at": now + timedelta(hours=1),
        "enrolment_key_id": key_id,
        "tenant_id": fact["tenant_id"],
        "cluster_id": fact["cluster_id"],
        "headscale_user_id": fact["headscale_user_id"],
        "ephemeral": False,
        "slot_id": uuid.uuid4(),
        "proves": False,
        "registration_id": registration_id,
        "grant_id": uuid.uuid4(),
        "idempotency_key": None,
        "digest": bytes(32),
        "hostname": "",
        "os": "",
        "keyring_id": "b1",
        "prefix": secrets.token_hex(6),
        "hash": b"$2b$04$" + b"x" * 53,
    }
    cursor.execute(STATEMENTS[True, True], facts)
    assert cursor.fetchone()[3] is not None


@csrf_exempt
def floor(request: HttpRequest, way: str) -> JsonResponse:  # noqa: ARG001 - a view's signature
    fact = random.choice(FACTS)
    way, _dash, hashes = way.partition("-")
    if hashes:
        KEY.hashed()
    with connection.cursor() as cursor:
        if way == "anonymous":
            cursor.execute(HOME, {"account": fact["account"]})
            cursor.fetchone()
            return JsonResponse({"way": way})
        if way == "signed":
            _signed(cursor, fact)
        with transaction.atomic():
            if way == "signed":
                _admit(cursor, fact, bytes.fromhex(fact["group_digest"]), fact["group_id"])
            else:
                _admit(cursor, fact, bytes.fromhex(fact["digest"]), fact["key_id"])
    return JsonResponse({"way": way})


@csrf_exempt
def stock(request: HttpRequest) -> JsonResponse:
    """How many keys are hashed ahead; asked with POST, none any more."""
    assert ahead.stock is not None
    if request.method == "POST":
        while ahead.stock.take():
            pass
    waiting = fcntl.ioctl(ahead.stock.reads, termios.FIONREAD, bytes(4))
    return JsonResponse({"keys": struct.unpack("i", waiting)[0] // hashing.RECORD.size})


urls.urlpatterns.insert(0, path("floor/<slug:way>", floor))
urls.urlpatterns.insert(0, path("floor-stock", stock))


# The floor has nothing of what the door goes without either.
middleware.DEVICES_DOORS.update(f"/floor/{way}" for way in ("bearer", "signed", "anonymous", "bearer-hash", "signed-hash"))


def application(environ: dict[str, Any], start_response: Any) -> Any:
    return service(environ, start_response)
