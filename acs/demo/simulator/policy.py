"""The part of headscale's policy language that fleets are run with: rules, grants, groups, hosts, tags, and `tests`.

Not imitated: SSH, auto-approvers, node attributes, `via` (accepted, without effect). As there: no document, or one without rules
and grants, allows all to all; rules with `autogroup:self` are left out of what the tests see; a user that nobody knows matches
nothing; one that two users answer to rejects the document.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from acs.demo.simulator import hujson
from acs.demo.simulator.config import Network
from acs.demo.simulator.nodes import Node
from acs.demo.simulator.store import Row

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
_EVERYWHERE: list[Network] = [ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48")]
_ALL_PORTS: Ports = [(0, 65535)]
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
            _known(owner, policy)
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
    return Rule(_texts(words.get("src") or []), [_with_ports(target) for target in _texts(words.get("dst") or [])])


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
        _known(name, policy)
    for name, _ in rule.to:
        if name.startswith("autogroup:") and name not in _DESTINATIONS:
            raise PolicyFault(f'autogroup not supported for ACL destinations: "{name}", can be {list(_DESTINATIONS)}')
        _known(name, policy)


def _known(name: str, policy: Policy) -> None:
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


def _with_ports(target: str) -> tuple[str, Ports]:
    name, colon, ports = target.rpartition(":")
    if not colon:
        raise PolicyFault(f'hostport must contain a colon: "{target}"')
    return name.strip("[]"), _ports(ports)


def _ports(text: str) -> Ports:
    if text == "*":
        return _ALL_PORTS
    try:
        spans = [part.partition("-") for part in text.split(",")]
        return [(int(first), int(last or first)) for first, _, last in spans]
    except ValueError as error:
        raise PolicyFault(f'invalid port: "{text}"') from error


def check(policy: Policy, users: Sequence[Row], nodes: Iterable[Node]) -> None:
    """Resolve every name and run the tests, as on a change by an operator. Raises: PolicyFault."""
    world = _World(policy, users, list(nodes))
    rules = world.compiled()
    faults = [fault for test in policy.tests for fault in world.run(test, rules)]
    if faults:
        raise PolicyFault("test(s) failed:\n" + "\n".join(faults))


class _World:
    """A policy among the users and nodes of a server."""

    def __init__(self, policy: Policy, users: Sequence[Row], nodes: list[Node]) -> None:
        self.policy, self.users, self.nodes = policy, users, nodes

    def compiled(self) -> list[tuple[list[Network], list[tuple[list[Network], Ports]]]]:
        if self.policy.rules is None:
            anything: list[Network] = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
            return [(anything, [(anything, _ALL_PORTS)])]
        return [
            (
                [network for name in rule.src for network in self.resolve(name)],
                [(self.resolve(name), ports) for name, ports in rule.to if name not in ("autogroup:self", "autogroup:internet")],
            )
            for rule in self.policy.rules
        ]

    def resolve(self, name: str) -> list[Network]:
        if name == "*":
            return _EVERYWHERE
        if name.startswith("group:"):
            return [network for member in self.policy.groups[name] for network in self.resolve(member)]
        if name in self.policy.hosts:
            return [self.policy.hosts[name]]
        if name.startswith("tag:"):
            return _addresses(node for node in self.nodes if name in node.tags)
        if name.startswith("autogroup:"):
            return _addresses(node for node in self.nodes if bool(node.tags) == (name == "autogroup:tagged"))
        if "@" in name:
            return self._of_user(name)
        return [ipaddress.ip_network(name, strict=False)]

    def _of_user(self, token: str) -> list[Network]:
        name = token.removesuffix("@")
        found = {user["id"] for user in self.users if name in (user["name"], user["email"], user["provider_identifier"])}
        if len(found) > 1:
            raise PolicyFault(f'multiple users found: token "{token}"')
        return _addresses(node for node in self.nodes if not node.tags and node.user and node.user["id"] in found)

    def run(self, test: Mapping[str, Any], rules: list[tuple[list[Network], list[tuple[list[Network], Ports]]]]) -> list[str]:
        """What is wrong, a line each."""
        src = str(test.get("src", ""))
        try:
            _known(src, self.policy)
            sources = self.resolve(src)
        except PolicyFault as fault:
            return [f'{src}: failed to resolve source "{src}": {fault}']
        if not sources:
            return [f'{src}: source "{src}" resolved to no IP addresses']
        faults = []
        for wanted, targets in ((True, test.get("accept") or []), (False, test.get("deny") or [])):
            for target in targets:
                faults += self._try(src, sources, str(target), rules, wanted=wanted)
        return faults

    def _try(self, src: str, sources: list[Network], target: str, rules: list[Any], *, wanted: bool) -> list[str]:
        try:
            name, ports = _with_ports(target)
            _known(name, self.policy)
            targets = self.resolve(name)
        except PolicyFault as fault:
            return [f'{src}: error testing "{target}": {fault}']
        if not targets:
            return [f'{src}: error testing "{target}": destination resolved to no IP addresses: "{target}"']
        allowed = all(_reaches(source, targets, ports, rules) for source in sources)
        if allowed == wanted:
            return []
        return [f"{src} -> {target}: expected {'ALLOWED, got DENIED' if wanted else 'DENIED, got ALLOWED'}"]


def _reaches(source: Network, targets: list[Network], ports: Ports, rules: list[Any]) -> bool:
    return any(
        _within(source, sources)
        and any(_within(target, networks) and all(_open(span, spans) for span in ports) for target in targets for networks, spans in to)
        for sources, to in rules
    )


def _within(network: Network, networks: Iterable[Network]) -> bool:
    return any(network.version == other.version and network.subnet_of(other) for other in networks)  # type: ignore[arg-type]


def _open(span: tuple[int, int], spans: Ports) -> bool:
    return any(first <= span[0] and span[1] <= last for first, last in spans)


def _addresses(nodes: Iterable[Node]) -> list[Network]:
    return [ipaddress.ip_network(address) for node in nodes for address in node.addresses]


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
