"""Two clusters of one fleet with rows of their own, for tests that try to get from one to the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.conftest import FleetCluster, make_fleet_cluster, superuser


@dataclass(frozen=True)
class Lived:
    """A cluster with one user, one key, one node, one policy and one admin key; the numbers are their ids."""

    cluster: FleetCluster
    user: int
    key: int
    node: int
    ipv4: str

    @property
    def cluster_id(self) -> str:
        return self.cluster.cluster_id

    def login(self) -> Any:
        return psycopg.connect(self.cluster.url, autocommit=True)


def address(prefix: str, number: int = 9) -> str:
    return prefix.split("/", maxsplit=1)[0].rsplit(".", 1)[0] + f".{number}"


def lived_in(name: str = "tenant") -> Lived:
    """Rows as the server itself writes them, logged in as it."""
    cluster = make_fleet_cluster()
    ipv4 = address(cluster.prefix_v4)
    with psycopg.connect(cluster.url, autocommit=True) as server:

        def insert(query: str, *values: Any) -> int:
            return server.execute(query.encode() + b" returning id", values).fetchone()[0]

        user = insert("insert into users (name, provider, created_at) values (%s, '', now())", name)
        key = insert(
            "insert into pre_auth_keys (prefix, hash, user_id, reusable, used, tags, created_at, expiration)"
            " values (%s, 'hash', %s, false, false, '[]', now(), now() + interval '1 hour')",
            f"p{cluster.cluster_id}",
            user,
        )
        node = insert(
            "insert into nodes (user_id, auth_key_id, hostname, given_name, ipv4, tags, node_key, created_at) values (%s, %s, 'host', 'host', %s, '[]', %s, now())",
            user,
            key,
            ipv4,
            f"nodekey:{cluster.cluster_id}",
        )
        insert("insert into policies (data, created_at) values ('{}', now())")
        insert("insert into api_keys (prefix, hash, created_at) values (%s, 'hash', now())", cluster.cluster_id)
    return Lived(cluster, user, key, node, ipv4)


@contextmanager
def undone(connection: Any) -> Iterator[Any]:
    """A transaction that leaves nothing."""
    with connection.transaction(force_rollback=True):
        yield connection


def everything_of(cluster_id: str) -> dict[str, list[Any]]:
    """Every row of a cluster, as the superuser sees it."""
    with superuser() as connection:
        return {
            table: connection.execute(
                f"select to_jsonb(t) from headscale.{table} t where cluster_id = %s order by id".encode(), [cluster_id]
            ).fetchall()
            for table in ("users", "nodes", "pre_auth_keys", "policies", "api_keys")
        }
