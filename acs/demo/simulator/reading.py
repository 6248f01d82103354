"""A policy document's text, read: what each field may hold. Whether its names belong together is validation.py's question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from acs.demo.simulator import hujson, names
from acs.demo.simulator.config import Network
from acs.demo.simulator.names import PolicyFault
from acs.demo.simulator.policy import Acl, Attributes, Grant, Policy, Ssh, Test

T = TypeVar("T")

_FIELDS = (
    *("groups", "hosts", "tagOwners", "acls", "grants", "nodeAttrs", "autoApprovers"),
    *("ssh", "tests", "sshTests", "randomizeClientPort"),
)


def read(document: str) -> Policy:
    """Raises: PolicyFault."""
    try:
        words = hujson.loads(document)
    except (ValueError, RecursionError) as error:
        raise PolicyFault(f"parsing HuJSON: hujson: {error}") from error
    told = _fields(words, _FIELDS)
    approvers = _fields(told.get("autoApprovers") or {}, ("routes", "exitNode"))
    return Policy(
        groups=_groups(told.get("groups")),
        hosts={name: _host(name, address) for name, address in _object(told.get("hosts")).items()},
        tag_owners={_tag(tag): _approvers(owners) for tag, owners in _object(told.get("tagOwners")).items()},
        acls=_list(told.get("acls"), _acl),
        grants=_list(told.get("grants"), _grant),
        attributes=_list(told.get("nodeAttrs"), _attributes) or [],
        route_approvers={_prefix(route): _approvers(whom) for route, whom in _object(approvers.get("routes")).items()},
        exit_approvers=_approvers(approvers.get("exitNode")),
        ssh=_list(told.get("ssh"), _ssh) or [],
        tests=_list(told.get("tests"), _test) or [],
        ssh_tests=_list(told.get("sshTests"), _ssh_test) or [],
    )


def _groups(words: Any) -> dict[str, list[str]]:
    groups = {}
    for name, members in _object(words).items():
        if not name.startswith("group:"):
            raise PolicyFault(f"group must start with 'group:', got: \"{name}\"")
        if members is None:
            raise PolicyFault(f'group value must be an array of users: group "{name}"')
        groups[name] = _texts(members)
        for member in groups[name]:
            if member.startswith("group:"):
                raise PolicyFault(f'groups["{name}"]: "{member}": group members cannot be recursive')
            if "@" not in member:
                raise PolicyFault(f'username must contain @, got: "{member}"')
    return groups


def _host(name: str, address: Any) -> Network:
    if "@" in name or ":" in name:
        raise PolicyFault(f'invalid hostname: "{name}"')
    network = names.network_of(_text(address))
    if network is None:
        raise PolicyFault(f'hostname contains invalid IP address: hostname "{name}" address "{address}"')
    return network


def _tag(tag: str) -> str:
    names.check_tag_form(tag)
    return tag


def _approvers(words: Any) -> list[str]:
    """Of routes and of tags: users, groups, tags."""
    approvers = _texts(words)
    for name in approvers:
        if "@" not in name and not name.startswith(("group:", "tag:")):
            raise PolicyFault(f'invalid owner format: "{name}"')
    return approvers


def _prefix(text: str) -> Network:
    network = names.network_of(text) if "/" in text else None
    if network is None:
        raise PolicyFault(f'netip.ParsePrefix("{text}"): not a prefix')
    return network


def _acl(words: Any) -> Acl:
    told = _fields({name: value for name, value in _object(words).items() if not name.startswith("#")}, ("action", "proto", "src", "dst"))
    if told.get("action") is not None and told["action"] != "accept":
        raise PolicyFault(f'action="{told["action"]}" is not supported: invalid ACL action')
    return Acl(_names(told.get("src")), [names.with_ports(target) for target in _texts(told.get("dst"))], _protocol(told))


def _grant(words: Any) -> Grant:
    told = _fields(words, ("src", "dst", "ip", "app", "via"))
    via = _texts(told.get("via"))
    if not all(re.match(r"tag:[A-Za-z]", tag) for tag in via):
        raise PolicyFault("via can only be a tag")
    app = told.get("app")
    for value in _object(app).values():
        if value is not None and not isinstance(value, list):
            raise PolicyFault("cannot unmarshal into Go type tailcfg.PeerCapMap")
    services = [names.read_service(text) for text in _texts(told.get("ip"))]
    return Grant(_names(told.get("src")), _names(told.get("dst")), services, None if app is None else dict(_object(app)), via)


def _attributes(words: Any) -> Attributes:
    told = _fields(words, ("target", "attr", "ipPool"))
    return Attributes(_names(told.get("target")), _texts(told.get("attr")), [str(_prefix(pool)) for pool in _texts(told.get("ipPool"))])


def _ssh(words: Any) -> Ssh:
    told = _fields(words, ("action", "src", "dst", "users", "checkPeriod", "acceptEnv"))
    action = _text(told.get("action") or "").strip()
    if action not in ("", "accept", "check"):
        raise PolicyFault(f'"{action}" is not a valid action')
    period = told.get("checkPeriod")
    return Ssh(
        action=action,
        src=_names(told.get("src"), but=(names.ADDRESS, names.ANYONE, names.HOST)),
        dst=_names(told.get("dst"), but=(names.ADDRESS, names.ANYONE, names.GROUP)),
        users=[user.strip() for user in _texts(told.get("users"))],
        environment=_texts(told.get("acceptEnv")),
        check_seconds=None if period in (None, "always") else _duration(str(period)),
        has_period=period is not None,
    )


def _duration(text: str) -> float:
    sign, *parts = re.split(r"([\d.]+(?:ns|us|ms|s|m|h))", text)
    if text in ("0", "-0", "+0"):
        return 0.0
    if sign not in ("", "-", "+") or not parts or any(parts[1::2]):
        raise PolicyFault(f'time: invalid duration "{text}"')
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
    found = [re.fullmatch(r"(\d+\.?\d*|\.\d+)(\D+)", part) for part in parts[::2]]
    if not all(found):
        raise PolicyFault(f'time: invalid duration "{text}"')
    return (-1 if sign == "-" else 1) * sum(float(part[1]) * units[part[2]] for part in found if part)


def _test(words: Any) -> Test:
    told = _fields(words, ("src", "proto", "accept", "deny"))
    return Test(_text(told.get("src") or ""), _protocol(told), _texts(told.get("accept")), _texts(told.get("deny")))


def _ssh_test(words: Any) -> dict[str, Any]:
    told = _fields(words, ("src", "dst", "accept", "deny", "check"))
    src = _text(told.get("src") or "").strip()
    if src:
        names.kind_of(src)
    return {"src": src, "dst": _names(told.get("dst")), **{name: _texts(told.get(name)) for name in ("accept", "deny", "check")}}


def _protocol(told: Mapping[str, Any]) -> str:
    return names.read_protocol(_text(told.get("proto") or ""))


def _names(words: Any, *, but: Iterable[str] = ()) -> list[str]:
    """Names without their outer spaces, of any kind but those."""
    found = [name.strip() for name in _texts(words)]
    for name in found:
        kind = names.kind_of(name)
        if kind in but:
            raise PolicyFault(f'alias not supported here: "{name}" ({kind})')
    return found


def _list(words: Any, read_one: Callable[[Any], T]) -> list[T] | None:
    if words is None:
        return None
    if not isinstance(words, list):
        raise PolicyFault("expected a list")
    return [read_one(word) for word in words]


def _object(words: Any) -> dict[str, Any]:
    if words is None:
        return {}
    if not isinstance(words, dict):
        raise PolicyFault("expected an object")
    return words


def _fields(words: Any, known: Iterable[str]) -> dict[str, Any]:
    """The fields by their right names: case, hyphens and underscores do not matter."""
    by_form = {name.lower(): name for name in known}
    told = {}
    for name, value in _object(words).items():
        form = name.lower().replace("-", "").replace("_", "")
        if form not in by_form:
            raise PolicyFault(f'unknown field: "{name}"')
        told[by_form[form]] = value
    return told


def _text(word: Any) -> str:
    if not isinstance(word, str):
        raise PolicyFault("expected a text")
    return word


def _texts(words: Any) -> list[str]:
    if words is None:
        return []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise PolicyFault("expected a list of names")
    return words
