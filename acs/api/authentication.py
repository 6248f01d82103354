"""Who calls /api/v1: the holder of an API token, a tenant's or an operator's."""

from __future__ import annotations

from typing import Any

import structlog
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from tenants import tokens


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer acs-api-...`. `request.auth` is the caller (tenants.tokens.Caller); there is no Django user."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        secret = words[1].decode("latin-1") if len(words) == 2 else ""
        caller = tokens.authenticate(secret, now=timezone.now())
        structlog.contextvars.bind_contextvars(actor=caller.actor)
        return None, caller

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - DRF's signature
        return "Bearer"


class TokenScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI document names it."""

    target_class = "acs.api.authentication.TokenAuthentication"
    name = "apiToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:  # noqa: ARG002 - spectacular's signature
        return {"type": "http", "scheme": "bearer", "description": "An API token of a tenant or of an operator, `acs-api-...`."}
