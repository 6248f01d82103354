"""The part of headscale's policy language that fleets are run with: rules, grants, groups, hosts, tags, and `tests`.

Not imitated: SSH, auto-approvers, node attributes, `via` (accepted, without effect).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from acs.demo.simulator import hujson
from acs.demo.simulator.config import Network

Ports = list[tuple[int, int]]

_FIELDS = {
    "groups",
    "hosts",
    "tagOwners",
    "acls",
    "grants",
    "nodeAttrs",
    "autoApprovers",
    "ssh",
    "tests",
    "sshTests",
    "randomizeClientPort",
}
EVERYWHERE: list[Network] = [ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48")]
ALL_PORTS: Ports = [(0, 65535)]
_SOURCES = ("autogroup:member", "autogroup:tagged", "autogroup:danger-all")
_DESTINATIONS = ("autogroup:internet", "autogroup:member", "autogroup:tagged", "autogroup:self")


class PolicyFault(Exception):
    """The document is refused; the text says why, near to headscale's words."""


@dataclass(frozen=True)
class Rule:
    """Who may reach what: names, not yet addresses. `to`: (name, ports)."""

    src: list[str]
    to: list[tuple[str, Ports]]


@dataclass(frozen=True)
class Policy:
    """A document that can be read. `rules` None: everything is allowed."""

    groups: dict[str, list[str]] = field(default_factory=dict)
    hosts: dict[str, Network] = field(default_factory=dict)
    tag_owners: dict[str, list[str]] = field(default_factory=dict)
    rules: list[Rule] | None = None
    tests: list[dict[str, Any]] = field(default_factory=list)


def parse(document: str) -> Policy:
    """Raises: PolicyFault."""
    if not document.strip():
        return Policy()
    try:
        words = hujson.loads(document)
    except (ValueError, RecursionError) as error:
        raise PolicyFault(f"parsing policy: parsing HuJSON: hujson: {error}") from error
    try:
        return _policy(_object(words))
    except PolicyFault as fault:
        raise PolicyFault(f"parsing policy: {fault}") from fault


def _policy(words: Mapping[str, Any]) -> Policy:
    _only(words, _FIELDS)
    policy = Policy(
        groups={name: _texts(members) for name, members in _object(words.get("groups") or {}).items()},
        hosts={name: _network(address, name) for name, address in _object(words.get("hosts") or {}).items()},
        tag_owners={tag: _texts(owners) for tag, owners in _object(words.get("tagOwners") or {}).items()},
        rules=_rules(words),
        tests=[_test(test) for test in words.get("tests") or []],
    )
    for group, members in policy.groups.items():
        if not group.startswith("group:"):
            raise PolicyFault(f"group must start with 'group:', got: \"{group}\"")
        for member in members:
            if "@" not in member:
                raise PolicyFault(f'username must contain @, got: "{member}"')
    for tag, owners in policy.tag_owners.items():
        if not tag.startswith("tag:"):
            raise PolicyFault(f"tag must start with 'tag:', got: \"{tag}\"")
        for owner in owners:
            known(owner, policy)
    for rule in policy.rules or []:
        _check_names(rule, policy)
    return policy


def _rules(words: Mapping[str, Any]) -> list[Rule] | None:
    if "acls" not in words and "grants" not in words:
        return None
    return [_acl(acl) for acl in words.get("acls") or []] + [_grant(grant) for grant in words.get("grants") or []]


def _acl(words: Any) -> Rule:
    _only(_object(words), {"action", "proto", "src", "dst", "#ha-meta"})
    if words.get("action") != "accept":
        raise PolicyFault(f'action="{words.get("action")}" is not supported: invalid ACL action')
    return Rule(_texts(words.get("src") or []), [with_ports(target) for target in _texts(words.get("dst") or [])])


def _grant(words: Any) -> Rule:
    _only(_object(words), {"src", "dst", "ip", "app", "via", "srcPosture"})
    if not words.get("ip") and not words.get("app"):
        raise PolicyFault("ip and app can not both be empty")
    ports = [span for entry in _texts(words.get("ip") or []) for span in _ports(entry.rpartition(":")[2])]
    return Rule(_texts(words.get("src") or []), [(target, ports) for target in _texts(words.get("dst") or [])])


def _test(words: Any) -> dict[str, Any]:
    _only(_object(words), {"src", "proto", "accept", "deny"})
    if not words.get("accept") and not words.get("deny"):
        raise PolicyFault('test entry must have at least one of "accept" or "deny"')
    return dict(words)


def _check_names(rule: Rule, policy: Policy) -> None:
    for name in rule.src:
        if name == "autogroup:self":
            raise PolicyFault('"autogroup:self" not valid on the src side of a rule')
        if name.startswith("autogroup:") and name not in _SOURCES:
            raise PolicyFault(f'autogroup not supported for ACL sources: "{name}", can be {list(_SOURCES)}')
        known(name, policy)
    for name, _ in rule.to:
        if name.startswith("autogroup:") and name not in _DESTINATIONS:
            raise PolicyFault(f'autogroup not supported for ACL destinations: "{name}", can be {list(_DESTINATIONS)}')
        known(name, policy)


def known(name: str, policy: Policy) -> None:
    if name == "*" or "@" in name or name in policy.hosts or name in (*_SOURCES, *_DESTINATIONS):
        return
    if name.startswith("group:"):
        if name not in policy.groups:
            raise PolicyFault(f'group not defined in policy: "{name}"')
    elif name.startswith("tag:"):
        if name not in policy.tag_owners:
            raise PolicyFault(f'tag not found: "{name}"')
    else:
        _network(name, name)


def _network(text: Any, name: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise PolicyFault(f'host not defined in policy: "{name}"') from error


def with_ports(target: str) -> tuple[str, Ports]:
    name, colon, ports = target.rpartition(":")
    if not colon:
        raise PolicyFault(f'hostport must contain a colon: "{target}"')
    return name.strip("[]"), _ports(ports)


def _ports(text: str) -> Ports:
    if text == "*":
        return ALL_PORTS
    try:
        spans = [part.partition("-") for part in text.split(",")]
        return [(int(first), int(last or first)) for first, _, last in spans]
    except ValueError as error:
        raise PolicyFault(f'invalid port: "{text}"') from error


def _object(words: Any) -> Mapping[str, Any]:
    if not isinstance(words, dict):
        raise PolicyFault("expected an object")
    return words


def _only(words: Mapping[str, Any], fields: set[str]) -> None:
    unknown = next((name for name in words if name not in fields), None)
    if unknown is not None:
        raise PolicyFault(f'unknown field: "{unknown}"')


def _texts(words: Any) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise PolicyFault("expected a list of names")
    return words
