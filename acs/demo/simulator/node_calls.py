"""Calls about nodes."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

from acs.demo.simulator import names, protocol
from acs.demo.simulator.ipsets import EXITS
from acs.demo.simulator.labels import label_fault
from acs.demo.simulator.protocol import INVALID, Answer, Refusal, Words, check_tag
from acs.demo.simulator.redeeming import JoinRefused
from acs.demo.simulator.state import State, gone


def list_nodes(state: State, words: Words) -> Answer:
    found = state.nodes.all()
    if words.text("user"):
        user = state.user_named(words.text("user"))
        found = [node for node in found if node.user and node.user["id"] == user["id"]]
    return {"nodes": [protocol.node(node, listed=True, served=state.nodes.served_by(node)) for node in found]}


def get_node(state: State, _: Words, node_id: str) -> Answer:
    return {"node": protocol.node(state.node(node_id))}


def delete_node(state: State, _: Words, node_id: str) -> Answer:
    state.nodes.delete(state.node(node_id))
    return {}


def expire_node(state: State, words: Words, node_id: str) -> Answer:
    expiry, never = words.moment("expiry"), words.flag("disableExpiry")
    if expiry and never:
        raise Refusal("cannot set both disable_expiry and expiry", INVALID)
    with state.nodes.lock:
        node = state.node(node_id, gone)
        node.expiry = None if never else expiry or datetime.now(UTC)
        state.store.all("UPDATE nodes SET expiry = %s WHERE id = %s", node.expiry, node.id)  # nothing else of the row, as there
    state.nodes.written()
    return {"node": protocol.node(node)}


def rename_node(state: State, _: Words, node_id: str, name: str) -> Answer:
    fault = label_fault(name)
    if fault:
        raise Refusal(f'renaming node: "{name}" is not a valid DNS label: {fault}')
    with state.nodes.lock:
        node = state.node(node_id, gone)
        if state.nodes.is_taken(name, but=node.id):
            raise Refusal(f"node name is not unique: {name}")
        node.name = name
        state.nodes.save(node)
    return {"node": protocol.node(node)}


def set_tags(state: State, words: Words, node_id: str) -> Answer:
    tags = words.texts("tags")
    if not tags:
        raise Refusal("cannot remove all tags from a node - tagged nodes must have at least one tag", INVALID)
    for tag in tags:
        check_tag(tag, protocol.UNKNOWN)
    with state.nodes.lock:
        node = state.node(node_id)
        unknown = [tag for tag in tags if tag not in state.policy.tag_owners]
        if unknown:
            raise Refusal(f"requested tags [{' '.join(unknown)}] are invalid or not permitted", INVALID)
        node.tags, node.user = sorted(set(tags)), None
        state.nodes.save(node)
    return {"node": protocol.node(node)}


def approve_routes(state: State, words: Words, node_id: str) -> Answer:
    routes = _routes(words.texts("routes"))
    with state.nodes.lock:
        node = state.node(node_id, lambda wanted: Refusal(f"node no longer exists in NodeStore: {wanted}", INVALID))
        node.approved_routes = routes
        state.nodes.save(node)
    served = [route for route in state.nodes.served_by(node) if route not in EXITS]
    return {"node": protocol.node(node, served=served)}


def backfill(state: State, words: Words) -> Answer:
    if not words.flag("confirmed"):
        raise Refusal("not confirmed, aborting")
    return {"changes": state.nodes.backfill()}


def register(state: State, words: Words) -> Answer:
    auth_id = words.text("authId")
    if not auth_id.startswith("hskey-authreq-"):
        raise Refusal('auth ID has invalid prefix: expected prefix "hskey-authreq-"')
    if len(auth_id) != 38:
        raise Refusal(f"auth ID has invalid length: expected 38, got {len(auth_id)}")
    try:
        user = state.user_named(words.text("user"))
    except Refusal as refusal:
        raise Refusal(f"looking up user: {refusal}") from refusal
    try:
        return {"node": protocol.node(state.door.admit(auth_id, user))}
    except JoinRefused as error:
        raise Refusal(str(error)) from error


def _routes(texts: list[str]) -> list[str]:
    """Sorted as there; an exit route is one for both versions. Bits beyond the length stay, and match nothing that a client announces."""
    found = set()
    for text in texts:
        if "/" not in text or names.network_of(text) is None:
            raise Refusal(f'parsing route: netip.ParsePrefix("{text}"): no prefix')
        found.add(ipaddress.ip_interface(text))
    exits = {ipaddress.ip_interface(text) for text in EXITS}
    if found & exits:
        found |= exits
    return [
        str(route)
        for route in sorted(found, key=lambda route: (route.version, route.network.network_address.packed, route.network.prefixlen))
    ]
