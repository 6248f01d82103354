"""Policies as bodies: the HuJSON text itself, or a JSON object around it; both may be longer than the bodies of other doors."""

from __future__ import annotations

from typing import Any

from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

from acs.api.bodies import StrictJsonParser, read_body
from tenants.errors import MalformedRequest
from tenants.policies.hujson import LONGEST

HUJSON = "application/hujson"
MOST_BYTES = 8 * LONGEST  # a character takes up to four in UTF-8, and six or twelve where JSON escapes it


class PolicyParser(StrictJsonParser):
    most = MOST_BYTES


class HujsonParser(BaseParser):
    """The text itself, without JSON around it."""

    media_type = HUJSON

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:  # noqa: ARG002 - DRF's signature
        try:
            return {"text": read_body(stream, most=MOST_BYTES).decode("utf-8")}
        except UnicodeDecodeError:
            raise MalformedRequest({"body": "not a text in UTF-8"}) from None


class HujsonRenderer(BaseRenderer):
    """The text of a policy and nothing else."""

    media_type, format, charset = HUJSON, "hujson", "utf-8"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:  # noqa: ARG002 - DRF's signature
        return str(data["text"]).encode() or b"\n"  # an empty answer would lose its type; both are the default policy
