"""JSON with comments and trailing commas, as policies are written."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKENS = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.DOTALL)


def loads(text: str) -> Any:
    """Raises: ValueError, also for a name that an object has twice."""
    return json.loads(_TOKENS.sub(lambda token: token[0] if token[0].startswith('"') else "", text), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    words = dict(pairs)
    if len(words) < len(pairs):
        raise ValueError("duplicate object member name")
    return words
