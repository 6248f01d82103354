"""A compiled document as the text that a server is given. Pure."""

from __future__ import annotations

import json
from typing import Any

from placement import policy


def render(body: dict[str, Any]) -> str:
    """Canonical text, a rule a line. What says no more than the base policy is the base policy."""
    if body == {"acls": [policy.SELF_RULE, policy.LITERAL_RULE]}:
        return policy.base()
    parts = [f' "{name}": {_lines(part)}' for name, part in body.items()]
    return f"{policy.MARK}\n{{\n" + ",\n".join(parts) + "\n}\n"


def _lines(part: Any) -> str:
    def line(value: Any) -> str:
        return json.dumps(value, sort_keys=True, ensure_ascii=True)

    if isinstance(part, dict):
        return "{\n" + ",\n".join(f"  {line(name)}: {line(value)}" for name, value in part.items()) + "\n }"
    return "[\n" + ",\n".join(f"  {line(value)}" for value in part) + "\n ]"
