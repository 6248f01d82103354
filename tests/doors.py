"""The doors that tests knock on."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client


def bootstrap(secret: str | None, body: Any = None, *, raw: bytes | None = None, idempotency_key: str = "", **headers: str) -> Any:
    """POST /api/v1/bootstrap in this process."""
    if secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    if idempotency_key:
        headers["Idempotency-Key"] = idempotency_key
    data = raw if raw is not None else json.dumps(body or {}).encode()
    return post("/api/v1/bootstrap", data, **headers)


def post(path: str, data: bytes, **headers: str) -> Any:
    """One POST of JSON in this process."""
    return Client(raise_request_exception=False).post(path, data, content_type="application/json", headers=headers)
