"""Who calls /api/v1: the holder of an API token, a tenant's or an operator's."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
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
        return None, tokens.authenticate(secret, now=timezone.now())

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - DRF's signature
        return "Bearer"
