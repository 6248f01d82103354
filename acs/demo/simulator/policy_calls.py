"""Calls about the policy."""

from __future__ import annotations

from datetime import UTC, datetime

from acs.demo.simulator import policy, protocol, reach
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
        found = policy.parse(document)
        reach.check(found, state.users(), state.nodes.all())
    except policy.PolicyFault as fault:
        raise Refusal(f"setting policy: {fault}") from fault
    state.store.all("INSERT INTO policies (data, created_at, updated_at) VALUES (%s, %s, %s)", document, now, now)
    state.policy = found
    state.nodes.written()
    return {"policy": document, "updatedAt": protocol.moment(now)}


def check_policy(state: State, words: Words) -> Answer:
    try:
        reach.check(policy.parse(words.text("policy")), state.users(), state.nodes.all())
    except policy.PolicyFault as fault:
        raise Refusal(str(fault), INVALID) from fault
    return {}
