"""Programs that call /api/v1 with a token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from tenants import tokens
from tenants.models import Tenant

FULL = [*tokens.OPERATOR_SCOPES, *tokens.TENANT_SCOPES]


@dataclass(frozen=True)
class Program:
    """The holder of one token (None: nobody's)."""

    secret: str | None

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """`path` below /api/v1/, or an address that a page gave."""
        if self.secret is not None:
            headers.setdefault("Authorization", f"Bearer {self.secret}")
        url = path.removeprefix("http://testserver") if path.startswith("http") else f"/api/v1/{path}"
        data = b"" if body is None else json.dumps(body).encode()
        return Client(raise_request_exception=False).generic(method, url, data, content_type="application/json", headers=headers)

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return self.call("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self.call("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)


def operator(*scopes: str) -> Program:
    return Program(_token(None, list(scopes) or FULL))


def program_of(tenant: Tenant, *scopes: str) -> Program:
    return Program(_token(tenant, list(scopes) or list(tokens.TENANT_SCOPES)))


def _token(tenant: Tenant | None, scopes: list[str]) -> str:
    return tokens.issue(tenant, scopes=scopes, now=timezone.now(), lifetime=timedelta(hours=1), actor="system:tests")[1]


def said(answer: Any) -> tuple[int, str]:
    """Status and code of a problem document."""
    assert answer["Content-Type"] == "application/problem+json", (answer.status_code, answer.content[:300])
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["type"] == f"http://testserver/problems/{body['code']}"
    return answer.status_code, body["code"]
