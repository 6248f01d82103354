"""A server of our fleet as far as its rows and its admin API go: it lets machines in, forgets them, and tells who is there.

Over the same tables and under the same role as a real one, so that the outbox's triggers and the rights are real; what it lacks is the network.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from placement.clusters import seal_key
from tests.conftest import FleetCluster, url_as
from tests.fakes.headscale_http import FakeHeadscale
from tests.servers import JoinRefused

NODES = """
select jsonb_build_object('id', n.id::text, 'machineKey', n.machine_key, 'nodeKey', n.node_key, 'ipAddresses', jsonb_build_array(n.ipv4, n.ipv6), 'name', n.hostname,
    'givenName', n.given_name, 'user', jsonb_build_object('id', u.id::text, 'name', u.name), 'tags', '[]'::jsonb, 'lastSeen', n.last_seen, 'expiry', n.expiry,
    'createdAt', n.created_at, 'registerMethod', 'REGISTER_METHOD_AUTH_KEY', 'preAuthKey', jsonb_build_object('id', n.auth_key_id::text, 'ephemeral', false))
from nodes n join users u on u.id = n.user_id order by n.id
"""


class FleetServer(FakeHeadscale):
    """`online` are the node ids with a session."""

    def __init__(self, cluster: FleetCluster) -> None:
        super().__init__()
        self.cluster = cluster
        self.rows = psycopg.connect(cluster.url, autocommit=True)
        self.online: set[int] = set()
        self.number = 10
        self.meanwhile: Callable[[], object] | None = None  # happens after the list of nodes was made and before anybody reads it
        self.busy = threading.RLock()  # the server writes one thing after the other

    def join(self, auth_key: str, machine: str) -> int:
        """A machine comes with a key. One that is known registers again: its row stays, and the key is used all the same. Raises: JoinRefused."""
        prefix = auth_key.removeprefix("hskey-auth-")[:12]
        with self.busy, self.rows.transaction():
            key = self.rows.execute(
                "update pre_auth_keys set used = true where prefix = %s and not used and expiration > clock_timestamp() returning id, user_id",
                [prefix],
            ).fetchone()
            if key is None:
                raise JoinRefused("used, expired or unknown")
            again = self.rows.execute(
                "update nodes set node_key = %s, auth_key_id = %s where machine_key = %s and user_id = %s returning id",
                [f"nodekey:{prefix}", key[0], f"mkey:{machine}", key[1]],
            ).fetchone()
            node_id = again[0] if again else self._insert(prefix, machine, *key)
        self.online.add(node_id)
        return int(node_id)

    def _insert(self, prefix: str, machine: str, key_id: int, user_id: int) -> int:
        self.number += 1
        ipv4, ipv6 = (str(ipaddress.ip_network(net)[self.number]) for net in (self.cluster.prefix_v4, self.cluster.prefix_v6))
        row = self.rows.execute(
            "insert into nodes (machine_key, node_key, disco_key, hostname, given_name, user_id, register_method, auth_key_id, created_at,"
            " updated_at, tags, ipv4, ipv6) values (%s, %s, 'discokey:0', %s, %s, %s, 'authkey', %s, now(), now(), '[]', %s, %s) returning id",
            [f"mkey:{machine}", f"nodekey:{prefix}", machine, f"{machine}-{self.number}", user_id, key_id, ipv4, ipv6],
        ).fetchone()
        return int(row[0])

    def node_ids(self) -> list[int]:
        with self.busy:
            return [node_id for (node_id,) in self.rows.execute("select id from nodes order by id").fetchall()]

    def forget(self, node_id: int) -> bool:
        self.online.discard(node_id)
        with self.busy:
            return self.rows.execute("delete from nodes where id = %s", [node_id]).rowcount == 1

    def _handler(self) -> Any:
        handler = super()._handler()
        handler.do_DELETE = lambda request: request._answer(*request._locked(None))  # type: ignore[attr-defined]
        return handler

    def _api(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        words = path.removeprefix("/api/v1/").split("/")
        match method, words:
            case "GET", ["node"]:
                with self.busy:
                    found = [row for (row,) in self.rows.execute(NODES).fetchall()]
                meanwhile, self.meanwhile = self.meanwhile, None
                if meanwhile is not None:
                    meanwhile()
                return 200, {"nodes": [node | {"online": int(node["id"]) in self.online} for node in found]}
            case "DELETE", ["node", node_id]:
                return (200, {}) if self.forget(int(node_id)) else (404, {"code": 5, "message": "node not found", "details": []})
        return super()._api(method, path, body)

    def stop(self) -> None:
        super().stop()
        self.rows.close()


@contextmanager
def serving(cluster: FleetCluster, *, capacity: int = 500) -> Iterator[FleetServer]:
    """The cluster with such a server behind its admin API."""
    with FleetServer(cluster).running() as server, psycopg.connect(url_as("acs_owner"), autocommit=True) as owner:
        owner.execute(
            "update placement_cluster set capacity = %s, admin_url = %s, admin_key_sealed = %s where cluster_id = %s",
            [capacity, server.url, seal_key(cluster.cluster_id, server.key), cluster.cluster_id],
        )
        yield server
