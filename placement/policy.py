"""The policy that a cluster gets before its first tenant. Pure.

A server without a policy lets everybody reach everybody. The base policy joins the devices of one headscale user, which is one tenant, and
nothing else. A document of ACS begins with MARK: that is how a policy which somebody else wrote is told apart and never overwritten.
"""

from __future__ import annotations

import json
from typing import Any

MARK = "// Written by ACS: changes made here are overwritten."

SELF_RULE: dict[str, Any] = {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}
# Zero compiled rules fail open on incremental updates: this one always compiles, and matches nobody.
LITERAL_RULE: dict[str, Any] = {"action": "accept", "src": ["100.127.255.255/32"], "dst": ["100.127.255.255/32:1"]}


def base() -> str:
    """The base policy as HuJSON."""
    return f"{MARK}\n{json.dumps({'acls': [SELF_RULE, LITERAL_RULE]}, indent=2)}\n"


def is_ours(document: str) -> bool:
    """Whether ACS wrote this document."""
    return document.lstrip().startswith(MARK)
