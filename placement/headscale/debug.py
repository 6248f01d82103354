"""What a headscale server says that it runs, on the debug views of its metrics port: the rules in force and the nodes in memory.

For an audit: stored documents and rows say what was meant. The views need no key and no setting; a server answers callers with a loopback, private
or Tailscale address that came straight to it, and refuses others. They show hashes of keys: never open that port to the world.

The rules are those that hold for all nodes alike. What `autogroup:self` and routers (`via`) add for single nodes is in no view.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx2

from placement.errors import ClusterRefused, ClusterSilent, ClusterUnreachable
from placement.headscale.wire import Answer, NoAnswer, NotSent, exchange, new_client

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """Where a rule leads: `address` is an address, a prefix or `*`; ports from `first` to `last`, 0 to 65535 for all."""

    address: str
    first: int
    last: int


@dataclass(frozen=True)
class CapabilityGrant:
    """Capabilities (by name, with their values) towards `targets` (prefixes)."""

    targets: tuple[str, ...]
    capabilities: Mapping[str, tuple[Any, ...]] = field(hash=False)


@dataclass(frozen=True)
class FilterRule:
    """One compiled rule: `sources` (addresses, prefixes, ranges `a-b`, `*`) may reach `targets` under `protocols` (IANA's numbers; none: any).

    A rule with `grants` gives capabilities instead and opens no port.
    """

    sources: tuple[str, ...]
    targets: tuple[Target, ...]
    protocols: tuple[int, ...]
    grants: tuple[CapabilityGrant, ...]


@dataclass(frozen=True)
class StoredNode:
    """A node in the server's memory. `hostname` is the device's own word; `user_id` is None for a tagged node.

    `routes`: those that it announces; they work where `approved_routes` has them too.
    """

    id: int
    hostname: str
    name: str
    ipv4: str | None
    ipv6: str | None
    user_id: int | None
    user_name: str
    tags: tuple[str, ...]
    routes: tuple[str, ...]
    approved_routes: tuple[str, ...]
    online: bool
    expiry: datetime | None


def filter_rules(cluster_id: str, metrics_url: str, timeout: float, *, transport: httpx2.BaseTransport | None = None) -> list[FilterRule]:
    """The compiled rules in force. `metrics_url`: of the server's metrics, with its path; `timeout`: seconds.

    Raises: ClusterRefused, ClusterUnreachable, ClusterSilent.
    """
    return _view(
        cluster_id, metrics_url, "filter", lambda rules: [_rule(rule) for rule in rules or []], timeout=timeout, transport=transport
    )


def store(cluster_id: str, metrics_url: str, timeout: float, *, transport: httpx2.BaseTransport | None = None) -> list[StoredNode]:
    """All nodes in the server's memory, by id. Arguments and errors as of `filter_rules`."""
    return _view(
        cluster_id,
        metrics_url,
        "nodestore",
        lambda nodes: sorted(map(_node, nodes.values()), key=lambda node: node.id),
        timeout=timeout,
        transport=transport,
    )


def _view(
    cluster_id: str, metrics_url: str, name: str, parse: Callable[[Any], T], *, timeout: float, transport: httpx2.BaseTransport | None
) -> T:
    parts = urlsplit(metrics_url)
    url = urlunsplit((parts.scheme, parts.netloc, f"{parts.path.removesuffix('/').removesuffix('/metrics')}/debug/{name}", "", ""))
    answer = _fetch(cluster_id, url, timeout, transport)
    if 400 <= answer.status < 500:
        raise ClusterRefused(cluster_id, answer.body[:200].decode("utf-8", "replace").strip(), status=answer.status)
    if answer.status != 200:
        raise ClusterSilent(cluster_id, f"/debug/{name} answered {answer.status}")
    try:
        return parse(json.loads(answer.body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ClusterSilent(cluster_id, f"/debug/{name} answered something else than headscale would") from error


def _fetch(cluster_id: str, url: str, timeout: float, transport: httpx2.BaseTransport | None) -> Answer:
    with new_client("", headers={"Accept": "application/json"}, transport=transport) as client:
        try:
            return exchange(client, client.build_request("GET", url), deadline=time.monotonic() + timeout)
        except NotSent as error:
            raise ClusterUnreachable(cluster_id, str(error)) from error
        except NoAnswer as error:
            raise ClusterSilent(cluster_id, str(error)) from error


def _rule(words: Mapping[str, Any]) -> FilterRule:
    return FilterRule(
        sources=_texts(words["SrcIPs"]),
        targets=tuple(_target(target) for target in words.get("DstPorts") or []),
        protocols=tuple(_number(number) for number in words.get("IPProto") or []),
        grants=tuple(_grant(grant) for grant in words.get("CapGrant") or []),
    )


def _target(words: Mapping[str, Any]) -> Target:
    (address,) = _texts([words["IP"]])
    return Target(address, _number(words["Ports"]["First"]), _number(words["Ports"]["Last"]))


def _grant(words: Mapping[str, Any]) -> CapabilityGrant:
    targets = _texts(words.get("Dsts"))
    for target in targets:
        ipaddress.ip_network(target)
    return CapabilityGrant(targets, {str(name): tuple(values or ()) for name, values in (words.get("CapMap") or {}).items()})


def _node(words: Mapping[str, Any]) -> StoredNode:
    tags, user, host = _texts(words["Tags"]), words["User"], words["Hostinfo"] or {}
    hostname, name = _texts([words["Hostname"], words["GivenName"]])
    return StoredNode(
        id=_number(words["ID"]),
        hostname=hostname,
        name=name,
        ipv4=_address(words["IPv4"]),
        ipv6=_address(words["IPv6"]),
        user_id=None if tags or words["UserID"] is None else _number(words["UserID"]),
        user_name="" if tags or user is None else _texts([user["Name"]])[0],
        tags=tags,
        routes=_texts(host.get("RoutableIPs")),
        approved_routes=_texts(words["ApprovedRoutes"]),
        online=words["IsOnline"] is True,
        expiry=_moment(words["Expiry"]),
    )


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"not a number: {value!r}")
    return value


def _address(value: Any) -> str | None:
    return None if value is None else str(ipaddress.ip_address(value))


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"not a list of texts: {value!r}")
    return tuple(value)


def _moment(value: Any) -> datetime | None:
    """None also for Go's zero time, which means that the login does not expire."""
    if value is None:
        return None
    moment = datetime.fromisoformat(value)
    return None if moment.year == 1 else moment.astimezone(UTC)
