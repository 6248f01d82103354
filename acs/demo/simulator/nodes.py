"""The nodes of a server: read from the database once, at the start, and served from memory; every change is written through.

What is read at the start is what headscale reads, in its very words where the fleet's read policies look at them.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from acs.demo.simulator.addresses import Allocator
from acs.demo.simulator.config import Config, Network
from acs.demo.simulator.ipsets import EXITS
from acs.demo.simulator.store import Row, Run, Store, placeholders


@dataclass
class Node:
    """One node in memory. `user` and `auth_key` are the rows as they were when the node was loaded or registered."""

    id: int
    machine_key: str
    node_key: str
    disco_key: str
    host: dict[str, Any]
    ipv4: str | None
    ipv6: str | None
    hostname: str
    name: str
    user: Row | None
    register_method: str
    tags: list[str]
    auth_key: Row | None
    expiry: datetime | None
    last_seen: datetime | None
    approved_routes: list[str]
    created_at: datetime
    online: bool = False
    sessions: int = 0
    changed: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def is_ephemeral(self) -> bool:
        return bool(self.auth_key and self.auth_key["ephemeral"])

    @property
    def is_expired(self) -> bool:
        return self.expiry is not None and self.expiry.year > 1 and self.expiry < datetime.now(UTC)

    @property
    def addresses(self) -> list[str]:
        return [address for address in (self.ipv4, self.ipv6) if address]

    @property
    def available_routes(self) -> list[str]:
        return list(self.host.get("RoutableIPs") or [])

    @property
    def subnet_routes(self) -> list[str]:
        """Announced and approved, exit routes not among them."""
        return [route for route in self.available_routes if route in self.approved_routes and route not in EXITS]

    @property
    def subnets(self) -> list[Network]:
        return [ipaddress.ip_network(route, strict=False) for route in self.subnet_routes]

    @property
    def exits(self) -> list[Network]:
        return [ipaddress.ip_network(route) for route in EXITS if route in self.available_routes and route in self.approved_routes]

    @property
    def is_exit(self) -> bool:
        return bool(self.exits)


class Nodes:
    """All nodes by id. Hold `lock` while reading several or changing one."""

    def __init__(self, store: Store, config: Config) -> None:
        self.lock = threading.RLock()
        self.store = store
        self._taken_v4 = [row["ipv4"] for row in store.all('SELECT "ipv4" FROM "nodes"') if row["ipv4"]]
        self._taken_v6 = [row["ipv6"] for row in store.all('SELECT "ipv6" FROM "nodes"') if row["ipv6"]]
        at_random = config.random_addresses
        self.v4 = Allocator(config.prefix_v4, at_random=at_random, taken=self._taken_v4) if config.prefix_v4 else None
        self.v6 = Allocator(config.prefix_v6, at_random=at_random, taken=self._taken_v6) if config.prefix_v6 else None
        self.by_id: dict[int, Node] = {}
        self.primaries: dict[str, int] = {}  # which node serves a subnet that it and perhaps others advertise
        self.written: Callable[[], None] = lambda: None  # called after every change: metrics
        for node in self._load():
            self.by_id[node.id] = node

    def all(self) -> list[Node]:
        with self.lock:
            return sorted(self.by_id.values(), key=lambda node: node.id)

    def of_machine(self, machine_key: str) -> list[Node]:
        return [node for node in self.by_id.values() if node.machine_key == machine_key]

    def with_node_key(self, node_key: str) -> Node | None:
        return next((node for node in self.by_id.values() if node.node_key == node_key), None)

    def put(self, node: Node) -> Node:
        """Take a node into memory; its name gets a suffix when another has it (the row keeps the wish until the next write, as there)."""
        with self.lock:
            node.name = self._free_name(node.id, node.name or "node")
            self.by_id[node.id] = node
        self._changed()
        return node

    def is_taken(self, name: str, *, but: int) -> bool:
        return any(node.name == name and node.id != but for node in self.by_id.values())

    def served_by(self, node: Node) -> list[str]:
        """The routes that lead through a node: subnets that are its own turn, and exit routes."""
        return [*(route for route, number in self.primaries.items() if number == node.id), *map(str, node.exits)]

    def _changed(self) -> None:
        """A node keeps its turn while it is online and advertises; else the oldest that does has it. Whose tenant it is does not matter."""
        with self.lock:
            able: dict[str, list[int]] = {}
            for node in self.all():
                for route in node.subnet_routes if node.online else []:
                    able.setdefault(route, []).append(node.id)
            kept = self.primaries
            self.primaries = {route: kept[route] if kept.get(route) in ids else ids[0] for route, ids in able.items()}
        self.written()

    def _free_name(self, own: int, wish: str) -> str:
        name, number = wish, 0
        while self.is_taken(name, but=own):
            number += 1
            name = f"{wish}-{number}"
        return name

    def save(self, node: Node, *, run: Run | None = None, expiry: bool = False) -> None:
        """Write the row; `auth_key_id` never, `expiry` only where a call is about it."""
        columns = {**_columns(node), **({"expiry": node.expiry} if expiry else {})}
        sql = f"UPDATE nodes SET {', '.join(f'{name} = %s' for name in columns)} WHERE id = %s"  # noqa: S608 - names of our own
        if run:
            run(sql, *columns.values(), node.id)
        else:
            self.store.all(sql, *columns.values(), node.id)
        self._changed()

    def insert(self, node: Node, run: Run) -> int:
        """Raises: the database's error."""
        columns = {**_columns(node), "expiry": node.expiry, "created_at": node.created_at}
        columns["auth_key_id"] = node.auth_key["id"] if node.auth_key else None
        sql = f"INSERT INTO nodes ({', '.join(columns)}) VALUES ({placeholders(list(columns))}) RETURNING id"  # noqa: S608 - names of our own
        return int(run(sql, *columns.values())[0]["id"])

    def delete(self, node: Node) -> None:
        with self.lock:
            self.by_id.pop(node.id, None)
        self.store.all("DELETE FROM nodes WHERE id = %s", node.id)
        for allocator, address in ((self.v4, node.ipv4), (self.v6, node.ipv6)):
            if allocator and address:
                allocator.release(address)
        self._changed()

    def backfill(self) -> list[str]:
        """Give every row the addresses that it lacks; if there was one, re-read all rows (which is how a move makes nodes known)."""
        changes: list[str] = []
        with self.lock:
            for row in self.store.all('SELECT * FROM "nodes"'):
                for version, allocator in (("4", self.v4), ("6", self.v6)):
                    if allocator and not row[f"ipv{version}"]:
                        address = allocator.next()
                        self.store.all(f"UPDATE nodes SET ipv{version} = %s WHERE id = %s", address, row["id"])  # noqa: S608 - a digit
                        changes.append(f'assigned IPv{version} "{address}" to Node({row["id"]}) "{row["hostname"]}"')
            for fresh in self._load() if changes else []:
                known = self.by_id.get(fresh.id)
                if known:
                    fresh = replace(fresh, online=known.online, host=known.host, changed=known.changed)  # noqa: PLW2901
                self.put(fresh)
        return changes

    def _load(self) -> list[Node]:
        rows = self.store.all('SELECT * FROM "nodes"')
        users = self._rows("users", [row["user_id"] for row in rows])
        keys = self._rows("pre_auth_keys", [row["auth_key_id"] for row in rows])
        key_users = self._rows("users", [key["user_id"] for key in keys.values()])
        for key in keys.values():
            key["user"] = key_users.get(key["user_id"])
        return [_node(row, users.get(row["user_id"]), keys.get(row["auth_key_id"])) for row in rows]

    def _rows(self, table: str, ids: list[int | None]) -> dict[int, Row]:
        wanted = sorted({number for number in ids if number is not None})
        if not wanted:
            return {}
        rows = self.store.all(f"SELECT * FROM {table} WHERE id IN ({placeholders(wanted)})", *wanted)  # noqa: S608 - names of our own
        return {row["id"]: row for row in rows}


def _columns(node: Node) -> dict[str, Any]:
    return {
        "machine_key": node.machine_key,
        "node_key": node.node_key,
        "disco_key": node.disco_key,
        "endpoints": None,
        "host_info": json.dumps(node.host, separators=(",", ":")),
        "ipv4": node.ipv4,
        "ipv6": node.ipv6,
        "hostname": node.hostname,
        "given_name": node.name,
        "user_id": node.user["id"] if node.user else None,
        "register_method": node.register_method,
        "tags": json.dumps(node.tags, separators=(",", ":")) if node.tags else None,
        "last_seen": node.last_seen,
        "approved_routes": json.dumps(node.approved_routes, separators=(",", ":")) if node.approved_routes else None,
        "updated_at": datetime.now(UTC),
    }


def _node(row: Row, user: Row | None, key: Row | None) -> Node:
    return Node(
        id=row["id"],
        machine_key=row["machine_key"],
        node_key=row["node_key"],
        disco_key=row["disco_key"] or "",
        host=json.loads(row["host_info"] or "null") or {},
        ipv4=row["ipv4"] or None,
        ipv6=row["ipv6"] or None,
        hostname=row["hostname"] or "",
        name=row["given_name"] or "",
        user=user,
        register_method=row["register_method"] or "",
        tags=json.loads(row["tags"] or "null") or [],
        auth_key=key,
        expiry=row["expiry"],
        last_seen=row["last_seen"],
        approved_routes=json.loads(row["approved_routes"] or "null") or [],
        created_at=row["created_at"] or datetime.now(UTC),
    )


def random_key(kind: str) -> str:
    """A random public key as text; `kind`: mkey, nodekey or discokey."""
    return f"{kind}:{secrets.token_hex(32)}"
