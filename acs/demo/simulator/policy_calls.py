"""Calls about the policy."""

from __future__ import annotations

from datetime import UTC, datetime

from acs.demo.simulator import protocol, reach, validation
from acs.demo.simulator.names import PolicyFault
from acs.demo.simulator.protocol import INVALID, Answer, Refusal, Words
from acs.demo.simulator.state import State


def get_policy(state: State, _: Words) -> Answer:
    if state.policy_file is not None:
        return {"policy": state.policy_file, "updatedAt": None}
    stored = state.stored_policy()
    if stored is None:
        raise Refusal("loading ACL from database: acl policy not found")
    return {"policy": stored["data"], "updatedAt": protocol.moment(stored["updated_at"])}


def put_policy(state: State, words: Words) -> Answer:
    if state.policy_file is not None:
        raise Refusal("update is disabled for modes other than 'database'")
    document, now = words.text("policy"), datetime.now(UTC)
    try:
        _take(state, document)
    except PolicyFault as fault:
        raise Refusal(f"setting policy: {fault}") from fault
    state.store.all("INSERT INTO policies (data, created_at, updated_at) VALUES (%s, %s, %s)", document, now, now)
    state.approve_routes(state.nodes.all())
    return {"policy": document, "updatedAt": protocol.moment(now)}


def _take(state: State, document: str) -> None:
    """As there: an empty document leaves the one in force in force until the next start, and one whose node attributes speak of
    an unknown user is refused when it is in force already.
    """
    if not document:
        return
    found = validation.parse(document)
    reach.check(state.world(found))
    state.policy = found
    state.nodes.written()
    reach.check_attributes(state.world(found))


def check_policy(state: State, words: Words) -> Answer:
    try:
        world = state.world(validation.parse(words.text("policy")))
        reach.check(world)
        reach.check_attributes(world)
    except PolicyFault as fault:
        raise Refusal(str(fault), INVALID) from fault
    return {}
