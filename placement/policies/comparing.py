"""What a server shows beside what ACS meant: users, nodes, their tags, owners and routes, memory. Pure; packet filters are crossing.py's.

A fault is what one look shows; a race could explain it, so placement/policies/auditing.py looks twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from placement import routerules
from placement.headscale.answers import Node

# the kinds of models.AuditFinding that come of a comparison here
FILTER, STRANGER_USER, USER_MISSING, STRANGER_NODE = "filter", "stranger-user", "user-missing", "stranger-node"
TAG, OWNER, ROUTE, MEMORY = "tag", "owner", "route", "memory"

STRANGER = ""  # whose devices are no tenant's
MOST_ROUTES = 40  # that are kept as evidence

Pair = tuple[str, str]


@dataclass(frozen=True)
class Fault:
    """Something that ACS did not mean. `account`: whose tenant it concerns, if anybody's; `node_id` where it is about a node."""

    kind: str
    subject: str
    evidence: Mapping[str, Any]
    account: str = ""
    node_id: int | None = None

    @property
    def key(self) -> Pair:
        return self.kind, self.subject


@dataclass(frozen=True)
class Known:
    """A device as ACS knows it: `tags` are those that ACS gave or took for its tenant's own, in the server's words; `routes` those that may be approved."""

    account: str
    machine_key: str
    tags: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Meant:
    """What ACS means a cluster to hold.

    `users`: the id of each tenant's user by account; `tags`: the server's tags that each tenant declares or still has; `homeless`: accounts of tenants
    that are being placed; `silent`: accounts whose devices reach nobody; `peered`: pairs (guest, host).
    """

    users: Mapping[str, int]
    devices: Mapping[int, Known]
    tags: Mapping[str, Collection[str]] = field(default_factory=dict)
    homeless: Collection[str] = ()
    silent: Collection[str] = ()
    peered: Collection[Pair] = ()


def users(found: Iterable[tuple[str, int]], meant: Meant) -> list[Fault]:
    """Users of no tenant of the cluster, and tenants without theirs. `found`: the server's users, names and ids."""
    there = {(name, number) for name, number in found}
    strangers = [
        Fault(STRANGER_USER, name or f"#{number}", {"user": name, "id": number})
        for name, number in sorted(there)
        if name not in meant.users and name not in meant.homeless
    ]
    missing = [
        Fault(USER_MISSING, account, {"user": account, "id": number, "there": sorted(i for name, i in there if name == account)}, account)
        for account, number in sorted(meant.users.items())
        if (account, number) not in there
    ]
    return [*strangers, *missing]


def whose(node: Node, meant: Meant) -> str:
    """Whose device a node is: its tenant's as ACS knows it, else by its tags or user; STRANGER where it is no tenant's of the cluster."""
    if (known := device_of(node, meant)) is not None:
        return known.account
    account = shown(node)
    return account if account in meant.users else STRANGER


def device_of(node: Node, meant: Meant) -> Known | None:
    known = meant.devices.get(node.id)
    return known if known is not None and known.machine_key == node.machine_key else None


def shown(node: Node) -> str:
    return owner_of(node.user_name, node.tags)


def owner_of(user_name: str, tags: Collection[str]) -> str:
    """The tenant that a server takes for a node's owner: the one that all its tags name (none, where they name several), or its user."""
    accounts = {tag.removeprefix("tag:").partition("--")[0] if "--" in tag else "" for tag in tags}
    if not accounts:
        return user_name
    return accounts.pop() if len(accounts) == 1 else STRANGER


def nodes(found: Iterable[Node], meant: Meant) -> list[Fault]:
    """Nodes of no tenant; tags, owners and routes that ACS did not give."""
    faults: list[Fault] = []
    for node in found:
        known = device_of(node, meant)
        if known is None:
            if whose(node, meant) == STRANGER:
                faults.append(Fault(STRANGER_NODE, f"node {node.id}", evidence_of(node), node_id=node.id))
            continue
        faults += _of_device(node, known, meant.tags.get(known.account, ()))
    return faults


def _of_device(node: Node, known: Known, declared: Collection[str]) -> Iterator[Fault]:
    name, was = f"node {node.id}", {"meant": {"tenant": known.account, "tags": list(known.tags)}}
    if not node.tags and node.user_name != known.account:
        yield Fault(OWNER, name, evidence_of(node) | was, known.account, node.id)
    elif odd := sorted(tag for tag in node.tags if tag not in declared and tag not in known.tags):
        yield Fault(TAG, name, evidence_of(node) | was | {"odd": odd}, known.account, node.id)
    if odd := sorted(routerules.whole(node.approved_routes) - routerules.whole(known.routes)):
        yield Fault(ROUTE, name, evidence_of(node) | {"odd": odd, "meant": list(known.routes)}, known.account, node.id)


def memory(found: Iterable[Node], rows: Mapping[int, tuple[str, Collection[str]]], meant: Meant) -> list[Fault]:
    """Nodes that the server's memory gives another owner or other tags than its database. `rows`: the user's name and the tags by node id."""
    faults = []
    for node in found:
        row = rows.get(node.id)
        if row is None or owner_of(*row) != shown(node) or set(row[1]) != set(node.tags):
            told = {"row": {"user": row[0], "tags": sorted(row[1])} if row else None}
            faults.append(Fault(MEMORY, f"node {node.id}", evidence_of(node) | told, whose(node, meant), node.id))
    return faults


def evidence_of(node: Node) -> dict[str, Any]:
    """A node as its server shows it."""
    return {
        "node_id": node.id,
        "name": node.name,
        "hostname": node.hostname,
        "machine_key": node.machine_key,
        "addresses": [address for address in (node.ipv4, node.ipv6) if address],
        "user": node.user_name,
        "tags": list(node.tags),
        "approved_routes": list(node.approved_routes),
        "available_routes": list(node.available_routes[:MOST_ROUTES]),
        "online": node.online,
        "registered_by": node.registered_by,
        "key_id": node.key_id,
        "created_at": node.created_at.isoformat(),
    }


def has_ended(node: Node, *, now: datetime) -> bool:
    """Whether its login is over already."""
    return node.expiry is not None and node.expiry <= now
