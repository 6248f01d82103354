"""How a simulated device comes in, stays and leaves: the checks of headscale's registration, without its protocol."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from acs.demo.simulator import keys, redeeming
from acs.demo.simulator.addresses import Exhausted
from acs.demo.simulator.config import Config
from acs.demo.simulator.labels import label_of
from acs.demo.simulator.nodes import Node, Nodes, random_key
from acs.demo.simulator.redeeming import JoinRefused
from acs.demo.simulator.store import Failure, Row

AUTH_KEY, CLI = "authkey", "cli"
_NO_DISCO = "discokey:" + "0" * 64


@dataclass(frozen=True)
class Device:
    """What a device says about itself."""

    machine_key: str
    node_key: str
    hostname: str
    host: dict[str, Any] = field(default_factory=dict)

    @property
    def tags(self) -> list[str]:
        """Those that it asks for."""
        return list(self.host.get("RequestTags") or [])


@dataclass(frozen=True)
class PendingLogin:
    """A device that waits for a person: registered by the admin API under its id."""

    device: Device
    until: float


class Door:
    """Joins, logins, sessions. One device registers at a time, as one machine does in headscale."""

    def __init__(self, nodes: Nodes, config: Config) -> None:
        self._nodes, self._config = nodes, config
        self._pending: dict[str, PendingLogin] = {}
        self.may_have: Callable[[Row, Node | None, str], bool] = lambda *_: (
            False
        )  # whether a user's device may ask for a tag: the policy's answer
        self._timers: dict[int, threading.Timer] = {}
        for node in nodes.all():
            self._end_if_idle(node)

    def join(self, device: Device, auth_key: str) -> Node:
        """Raises: JoinRefused."""
        try:
            with self._nodes.store.transaction() as run:
                key = keys.find_auth_key(run, auth_key)
                key["user"] = redeeming.owner(run, key["user_id"])
        except keys.UnknownKey as error:
            raise JoinRefused(str(error)) from error
        with self._nodes.lock:
            known = self._known(device, key)
            if known is None or self._needs_valid_key(known, device, key):
                redeeming.check(key)
            self._check_node_key(device)
            try:
                if known is None:
                    _refuse_tags(device.tags)  # a key's device has the key's tags
                return self._again(known, device, key) if known else self._anew(device, key["user"], AUTH_KEY, key)
            except (Exhausted, *Failure) as error:
                raise JoinRefused(str(error)) from error

    def ask(self, device: Device) -> str:
        """A device without a key: the id under which a person may let it in."""
        auth_id = "hskey-authreq-" + secrets.token_urlsafe(18)
        self._pending[auth_id] = PendingLogin(device, time.monotonic() + self._config.pending_logins_live.total_seconds())
        return auth_id

    def is_waiting(self, auth_id: str) -> bool:
        pending = self._pending.get(auth_id)
        return pending is not None and pending.until > time.monotonic()

    def admit(self, auth_id: str, user: Row) -> Node:
        """Let a waiting device in as `user`. Raises: JoinRefused."""
        if not self.is_waiting(auth_id):
            raise JoinRefused("node not found in registration cache")
        device = self._pending[auth_id].device
        with self._nodes.lock:
            same_machine = self._nodes.of_machine(device.machine_key)
            own = next((node for node in same_machine if node.user and node.user["id"] == user["id"]), None)
            tagged = next((node for node in same_machine if node.tags), None)
            self._check_node_key(device)
            _refuse_tags([tag for tag in device.tags if not self.may_have(user, own or tagged, tag)])
            try:
                node = self._let_in_again(own or tagged, device, user) if own or tagged else self._anew(device, user, CLI, None)
            except (Exhausted, *Failure) as error:
                raise JoinRefused(str(error)) from error
        self._pending.pop(auth_id, None)
        return node

    def connect(self, node: Node) -> None:
        with self._nodes.lock:
            timer = self._timers.pop(node.id, None)
            if timer:
                timer.cancel()
            node.sessions += 1
            node.online = True
            if node.disco_key == _NO_DISCO:
                node.disco_key = random_key("discokey")
            self._nodes.save(node)

    def disconnect(self, node: Node) -> None:
        with self._nodes.lock:
            node.sessions = max(0, node.sessions - 1)
            if node.sessions:
                return
            node.online, node.last_seen = False, datetime.now(UTC)
            self._nodes.save(node)
        self._end_if_idle(node)

    def log_out(self, node: Node) -> None:
        """The device ends its login: an ephemeral one is deleted, another one expires."""
        if node.is_ephemeral:
            self._nodes.delete(node)
            return
        with self._nodes.lock:
            node.expiry = datetime.now(UTC)
            self._nodes.save(node, expiry=True)

    def close(self) -> None:
        for timer in list(self._timers.values()):
            timer.cancel()

    def _known(self, device: Device, key: Row) -> Node | None:
        same_machine = self._nodes.of_machine(device.machine_key)
        tagged = next((node for node in same_machine if node.tags), None)
        if key["user"]:
            own = next((node for node in same_machine if node.user and node.user["id"] == key["user_id"]), None)
            return own or tagged
        owned = [node for node in same_machine if not node.tags]
        if tagged or not owned:
            return tagged
        if len(owned) > 1:
            raise JoinRefused("machine key maps to more than one node")
        return owned[0]

    def _needs_valid_key(self, known: Node, device: Device, key: Row) -> bool:
        return known.node_key != device.node_key or known.is_expired or (bool(redeeming.tags_of(key)) and not known.tags)

    def _check_node_key(self, device: Device) -> None:
        holder = self._nodes.with_node_key(device.node_key)
        if holder and holder.machine_key != device.machine_key:
            raise JoinRefused("node key already in use by another machine")

    def _again(self, node: Node, device: Device, key: Row) -> Node:
        """The same machine for the same owner: the row, its name and its addresses stay."""
        before, node = node, replace(node)
        if bool(redeeming.tags_of(key)) and not node.tags:
            node.tags, node.user, node.expiry = redeeming.tags_of(key), None, None
        if not node.tags:
            node.expiry = self._first_expiry()
        node.node_key, node.hostname, node.host = device.node_key, device.hostname, _host(device)
        node.register_method, node.auth_key, node.last_seen = AUTH_KEY, key, datetime.now(UTC)
        with self._nodes.store.transaction() as run:
            self._nodes.save(node, run=run, expiry=True)
            if not key["reusable"] and not key["used"]:
                redeeming.use(run, key)
        self._nodes.by_id[before.id] = node
        return node

    def _let_in_again(self, node: Node | None, device: Device, user: Row) -> Node:
        if node is None:
            raise JoinRefused("node not found")
        if node.tags or device.tags:
            node.tags, node.user, node.register_method = sorted(set(device.tags)), None if device.tags else user, CLI
        node.node_key, node.hostname, node.host = device.node_key, device.hostname, _host(device)
        node.last_seen, node.expiry = datetime.now(UTC), None if node.tags else self._first_expiry()
        self._nodes.save(node, expiry=True)
        return node

    def _anew(self, device: Device, user: Row | None, method: str, key: Row | None) -> Node:
        tags = redeeming.tags_of(key) if key else sorted(set(device.tags))
        node = Node(
            id=0,
            machine_key=device.machine_key,
            node_key=device.node_key,
            disco_key=_NO_DISCO,
            host=_host(device),
            ipv4=self._nodes.v4.next() if self._nodes.v4 else None,
            ipv6=self._nodes.v6.next() if self._nodes.v6 else None,
            hostname=device.hostname,
            name=label_of(device.hostname),
            user=None if tags else user,
            register_method=method,
            tags=tags,
            auth_key=key,
            expiry=None if tags else self._first_expiry(),
            last_seen=datetime.now(UTC),
            approved_routes=[],
            created_at=datetime.now(UTC),
        )
        with self._nodes.store.transaction() as run:
            node.id = self._nodes.insert(node, run)
            if key and not key["reusable"]:
                redeeming.use(run, key)
        return self._nodes.put(node)

    def _first_expiry(self) -> datetime | None:
        return datetime.now(UTC) + self._config.node_expiry if self._config.node_expiry else None

    def _end_if_idle(self, node: Node) -> None:
        """An ephemeral node that stays offline for the configured time is deleted."""
        if not node.is_ephemeral or node.id not in self._nodes.by_id:
            return
        timer = threading.Timer(self._config.ephemeral_timeout / timedelta(seconds=1), self._nodes.delete, [node])
        timer.daemon = True
        self._timers[node.id] = timer
        timer.start()


def _host(device: Device) -> dict[str, Any]:
    return {**device.host, "Hostname": device.hostname}


def _refuse_tags(tags: list[str]) -> None:
    if tags:
        raise JoinRefused(f"requested tags [{' '.join(tags)}] are invalid or not permitted")
