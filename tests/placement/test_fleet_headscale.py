"""The fleet under real headscale servers: two on one schema, each with its own, and the shipped tables against the binary's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psycopg
import pytest
from psycopg import sql

from placement.headscale.fleet import binary, catalogue, check, fleets, roles, schema
from placement.headscale.fleet.binary import free_ports
from tests.conftest import DATABASE, WORKER, clusters_to_drop, fresh_cluster_id, manage, superuser, url_as
from tests.servers import Server, run_headscale

pytestmark = pytest.mark.headscale


def added(folder: Path) -> tuple[str, Path]:
    cluster_id = fresh_cluster_id()
    listen, metrics = (f"127.0.0.1:{port}" for port in free_ports(2))
    words = [
        "--region",
        "eu",
        "--listen",
        listen,
        "--metrics-listen",
        metrics,
        "--client-url",
        f"http://{listen}",
        "--batch-timeout",
        "20ms",
    ]
    manage("fleet", "add-cluster", cluster_id, *words, "--out", str(folder))
    clusters_to_drop.append(cluster_id)
    return cluster_id, folder


def names(server: Server) -> list[str]:
    return [user["name"] for user in server_get(server, "user")["users"]]


def server_get(server: Server, what: str) -> dict:
    answer = httpx2.get(f"{server.url}/api/v1/{what}", headers={"Authorization": f"Bearer {server.api_key}"}, timeout=10, trust_env=False)
    answer.raise_for_status()
    return answer.json()


def server_post(server: Server, what: str, **body: object) -> dict:
    answer = httpx2.post(
        f"{server.url}/api/v1/{what}", json=body, headers={"Authorization": f"Bearer {server.api_key}"}, timeout=10, trust_env=False
    )
    answer.raise_for_status()
    return answer.json()


def put_node(folder_server: Server, user: str, number: int, ipv4: str) -> None:
    """A node's row, written under the server's own login; the server learns of it at its next start."""
    words = folder_server.database["postgres"]
    with psycopg.connect(host=words["host"], dbname=words["name"], user=words["user"], autocommit=True) as connection:
        connection.execute(
            "insert into nodes (machine_key, node_key, disco_key, endpoints, host_info, ipv4, hostname, given_name, user_id, register_method, tags, created_at)"
            " select %s, %s, %s, '[]', '{}', %s, 'laptop', 'laptop', id, 'authkey', '[]', now() from users where name = %s",
            [f"mkey:{number:064x}", f"nodekey:{number:064x}", f"discokey:{number:064x}", ipv4, user],
        )


def test_two_servers_on_one_fleet_show_their_own_and_restart(tmp_path: Path, django_db_setup: None) -> None:
    (one, folder_one), (two, folder_two) = added(tmp_path / "one"), added(tmp_path / "two")
    with run_headscale(folder_one) as first, run_headscale(folder_two) as second:
        for server, user, number in ((first, "acme", 1), (second, "bolt", 2)):
            server_post(server, "user", name=user)
            server_post(server, "user", name="shared-name")
            with superuser() as connection:
                (prefix,) = connection.execute(
                    "select host(prefix) from headscale.prefix where cluster_id = %s and family(prefix) = 4",
                    [one if server is first else two],
                ).fetchone()
            put_node(server, user, number, prefix[:-1] + "7")
        assert names(first) == ["acme", "shared-name"]
        assert names(second) == ["bolt", "shared-name"]
        with superuser() as connection:
            told = {
                row[0]
                for row in connection.execute("select noise_public_key from placement_cluster where cluster_id = any(%s)", [[one, two]])
            }
        shown = {httpx2.get(f"{server.url}/key?v=130", trust_env=False).json()["publicKey"] for server in (first, second)}
        assert shown == told
        refused = manage("fleet", "upgrade", check=False)
        assert refused.returncode == 1
        assert f"hs_{one}" in refused.stderr
        assert f"hs_{two}" in refused.stderr
        assert "is sound" in manage("fleet", "check").stdout
    with run_headscale(folder_one) as first, run_headscale(folder_two) as second:
        assert [node["user"]["name"] for node in server_get(first, "node")["nodes"]] == ["acme"]
        assert [node["user"]["name"] for node in server_get(second, "node")["nodes"]] == ["bolt"]
        assert names(first) == ["acme", "shared-name"]


@contextmanager
def database(name: str) -> Iterator[psycopg.Connection]:
    with superuser("postgres") as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("create database {} owner acs_owner").format(sql.Identifier(name)))
    with psycopg.connect(url_as("acs_owner", name), autocommit=True) as owner:
        yield owner
    with superuser("postgres") as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def rows(owner: psycopg.Connection) -> tuple[set[str], list[tuple[int, str]]]:
    with schema.acting_as_owner(owner):
        migrations = {row[0] for row in owner.execute("select id from headscale.migrations")}
        return migrations, owner.execute("select id, version from headscale.database_versions").fetchall()


def test_the_shipped_tables_are_those_that_the_binary_makes(django_db_setup: None) -> None:
    headscale = binary.find()
    assert headscale
    with database(f"acs_contract_{WORKER}") as owner, database(f"acs_shipped_{WORKER}") as shipped:
        for connection in (owner, shipped):
            roles.make(connection)
            roles.close_database(connection)
            schema.make_schema(connection)
        binary.run_once(headscale, url_as(roles.SCHEMA_OWNER, owner.info.dbname))
        schema.make_shipped_tables(shipped)
        assert catalogue.shipped_differences(owner) == []
        assert rows(owner) == rows(shipped)


@pytest.mark.parametrize("with_binary", [True, False])
def test_a_binary_accepts_the_fleet_and_leaves_it_sound(with_binary: bool, django_db_setup: None) -> None:
    """Made by the binary or from the shipped tables, then upgraded by the binary: nothing of what was added is lost."""
    headscale = binary.find()
    with database(f"acs_accept_{WORKER}") as owner:
        url = url_as("acs_owner", owner.info.dbname)
        fleets.init(owner, conninfo=url, own=False, headscale=headscale if with_binary else None)
        assert catalogue.differences(owner) == []
        assert fleets.upgrade(owner, conninfo=url, own=False, headscale=headscale).changes == []
        assert check.check(owner, conninfo=url, own=False).broken == []


def test_a_binary_that_does_not_come_up_is_told_with_its_last_words(django_db_setup: None) -> None:
    with pytest.raises(binary.HeadscaleFailed, match="database"):
        binary.run_once(binary.find() or "", url_as("acs_nobody", DATABASE))
