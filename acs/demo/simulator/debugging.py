"""The debug views of headscale's metrics port, as far as an auditor looks at them: what the server runs, whatever it was told.

They need no setting and no key; they answer loopback, Tailscale's and private addresses, and nobody who came through a proxy.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections import defaultdict
from collections.abc import Callable
from email.message import Message
from typing import Any

from acs.demo.simulator import filters, protocol
from acs.demo.simulator.filters import Compiler
from acs.demo.simulator.nodes import Node
from acs.demo.simulator.peers import NetMaps
from acs.demo.simulator.state import State
from acs.demo.simulator.store import Row

Page = tuple[int, bytes, str]  # status, body, media type

_PLAIN, _TEXT, _JSON = "text/plain; charset=utf-8", "text/plain", "application/json"
_PRIVATE = [
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "100.64.0.0/10")
]


def page(state: State, path: str, headers: Message, caller: str) -> Page:
    """`caller`: the address that asks."""
    view = _VIEWS.get(path)
    if view is None:
        return 404, b"404 page not found\n", _PLAIN
    address = ipaddress.ip_address(caller)
    if headers.get("X-Forwarded-For") or not any(address in network for network in _PRIVATE):
        return 403, b"debug access denied\n", _PLAIN
    return view(state, wants_json="application/json" in headers.get("Accept", ""))


def _filter(state: State, *, wants_json: bool) -> Page:  # noqa: ARG001 - it is JSON always
    return _json(filters.document(Compiler(state.world()).for_all()) or None)


def _policy(state: State, *, wants_json: bool) -> Page:
    stored = state.stored_policy()
    document = stored["data"] if stored else state.policy_file
    if document is None:
        return 500, b"internal server error\n", _PLAIN
    return 200, document.encode(), _JSON if wants_json else _TEXT


def _store(state: State, *, wants_json: bool) -> Page:
    if wants_json:
        return _json({str(node.id): _node(node) for node in state.nodes.all()})
    nodes, maps = state.nodes.all(), NetMaps(state.world(), state.nodes.primaries)
    by_user: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        by_user[node.user["id"] if node.user else 0].append(node)
    paired = {node.id: len(maps.paired(node)) for node in nodes}
    met = {number: count for number, count in paired.items() if count}
    names = {node.id: node.hostname for node in nodes}
    lines = [
        "=== NodeStore Debug Information ===\n",
        f"Total Nodes: {len(nodes)}",
        f"Users with Nodes: {len(by_user)}\n",
        "Nodes by Internal User ID:",
        *(f"  - User {number} ({own[0].user['name'] if own[0].user else 'unknown'}): {len(own)} nodes" for number, own in by_user.items()),
        "\nPeer Relationships:",
        *(f"  - Node {number} ({names[number]}): {count} peers" for number, count in met.items()),
        *([f"  - Average peers per node: {sum(met.values()) / len(met):.1f}"] if met else []),
        f"\nNodeKey Index: {len(nodes)} entries\n\n",
    ]
    return 200, "\n".join(lines).encode(), _TEXT


def _routes(state: State, *, wants_json: bool) -> Page:
    primaries = dict(sorted(state.nodes.primaries.items()))
    if not wants_json:
        return 200, "".join(f"{route}: {number}\n" for route, number in primaries.items()).encode(), _TEXT
    offered = {str(node.id): [*node.subnet_routes, *map(str, node.exits)] for node in state.nodes.all() if node.online}
    return _json({"available_routes": {number: routes for number, routes in offered.items() if routes}, "primary_routes": primaries})


def _map_responses(state: State, *, wants_json: bool) -> Page:  # noqa: ARG001 - the views' signature
    return 200, b"HEADSCALE_DEBUG_DUMP_MAPRESPONSE_PATH not set", _PLAIN


_VIEWS: dict[str, Callable[..., Page]] = {
    "/debug/filter": _filter,
    "/debug/policy": _policy,
    "/debug/nodestore": _store,
    "/debug/routes": _routes,
    "/debug/mapresponses": _map_responses,
}


def _json(words: Any) -> Page:
    return 200, json.dumps(words, indent=2, ensure_ascii=False).encode(), _JSON


def _node(node: Node) -> dict[str, Any]:
    return {
        "ID": node.id,
        "MachineKey": node.machine_key,
        "NodeKey": node.node_key,
        "DiscoKey": node.disco_key,
        "Endpoints": None,
        "Hostinfo": node.host,
        "IPv4": node.ipv4,
        "IPv6": node.ipv6,
        "Hostname": node.hostname,
        "GivenName": node.name,
        "UserID": node.user["id"] if node.user else None,
        "User": _user(node.user),
        "RegisterMethod": node.register_method,
        "Tags": node.tags or None,
        "AuthKeyID": node.auth_key["id"] if node.auth_key else None,
        "AuthKey": _key(node.auth_key) if node.auth_key else None,
        "Expiry": protocol.moment(node.expiry),
        "LastSeen": protocol.moment(node.last_seen),
        "ApprovedRoutes": node.approved_routes or None,
        "CreatedAt": protocol.moment(node.created_at),
        "UpdatedAt": protocol.moment(node.created_at),
        "DeletedAt": None,
        "IsOnline": node.online,
        "Unhealthy": False,
        "ActiveSessions": node.sessions,
        "SessionEpoch": node.sessions,
    }


def _user(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "ID": row["id"],
        "CreatedAt": protocol.moment(row["created_at"]),
        "UpdatedAt": protocol.moment(row["updated_at"]),
        "DeletedAt": None,
        "Name": row["name"] or "",
        "DisplayName": row["display_name"] or "",
        "Email": row["email"] or "",
        "ProviderIdentifier": {"String": row["provider_identifier"] or "", "Valid": row["provider_identifier"] is not None},
        "Provider": row["provider"] or "",
        "ProfilePicURL": row["profile_pic_url"] or "",
    }


def _key(row: Row) -> dict[str, Any]:
    return {
        "ID": row["id"],
        "Key": row["key"] or "",
        "Prefix": row["prefix"] or "",
        "Hash": base64.b64encode(bytes(row["hash"] or b"")).decode() or None,
        "UserID": row["user_id"],
        "User": _user(row.get("user")),
        "Reusable": bool(row["reusable"]),
        "Ephemeral": bool(row["ephemeral"]),
        "Used": bool(row["used"]),
        "Tags": json.loads(row["tags"] or "null"),
        "CreatedAt": protocol.moment(row["created_at"]),
        "Expiration": protocol.moment(row["expiration"]),
    }
