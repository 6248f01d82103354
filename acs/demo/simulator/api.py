"""The admin API v1 as headscale 0.29.2 answers it: which call is which function."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from acs.demo.simulator import node_calls, policy_calls, user_calls
from acs.demo.simulator.protocol import NOT_FOUND, UNIMPLEMENTED, Answer, Refusal, Words
from acs.demo.simulator.state import State


@dataclass(frozen=True)
class Route:
    """A call reads its words from the body or from the query, never from both: the other is not even looked at."""

    method: str
    pattern: re.Pattern[str]
    function: Callable[..., Answer]
    reads_body: bool


def call(state: State, method: str, path: str, query: Words, body: Callable[[], Words]) -> Answer:
    """Raises: Refusal."""
    known_path = False
    for route in ROUTES:
        match = route.pattern.fullmatch(path)
        if match and route.method == method:
            return route.function(state, body() if route.reads_body else query, *match.groups())
        known_path = known_path or bool(match)
    raise Refusal("Method Not Allowed", UNIMPLEMENTED) if known_path else Refusal("Not Found", NOT_FOUND)


def health(state: State, _: Words) -> Answer:
    state.store.one("SELECT 1 AS one")
    return {"databaseConnectivity": True}


def _route(method: str, path: str, function: Callable[..., Answer], *, body: bool = False) -> Route:
    pattern = re.compile("/api/v1" + path.replace("{}", "([^/]+)").replace("{?}", "([^/]*)"))
    return Route(method, pattern, function, body)


ROUTES = [
    _route("GET", "/health", health),
    _route("GET", "/user", user_calls.list_users),
    _route("POST", "/user", user_calls.create_user, body=True),
    _route("DELETE", "/user/{}", user_calls.delete_user),
    _route("GET", "/preauthkey", user_calls.list_keys),
    _route("POST", "/preauthkey", user_calls.create_key, body=True),
    _route("DELETE", "/preauthkey", user_calls.delete_key),
    _route("POST", "/preauthkey/expire", user_calls.expire_key, body=True),
    _route("GET", "/node", node_calls.list_nodes),
    _route("POST", "/node/backfillips", node_calls.backfill),
    _route("GET", "/node/{}", node_calls.get_node),
    _route("DELETE", "/node/{}", node_calls.delete_node),
    _route("POST", "/node/{}/expire", node_calls.expire_node),
    _route("POST", "/node/{}/rename/{?}", node_calls.rename_node),
    _route("POST", "/node/{}/tags", node_calls.set_tags, body=True),
    _route("POST", "/node/{}/approve_routes", node_calls.approve_routes, body=True),
    _route("POST", "/auth/register", node_calls.register, body=True),
    _route("GET", "/policy", policy_calls.get_policy),
    _route("PUT", "/policy", policy_calls.put_policy, body=True),
    _route("POST", "/policy/check", policy_calls.check_policy, body=True),
]
