"""The outbox: what a server writes, ACS hears, with the transaction that wrote it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.conftest import url_as
from tests.placement.fleet_rows import Lived, lived_in


@pytest.fixture
def heard(django_db_setup: None) -> Any:
    """The worker's connection, listening."""
    with psycopg.connect(url_as("acs_worker"), autocommit=True) as worker:
        worker.execute("listen fleet")
        yield worker


def events(worker: Any, of: Lived) -> list[tuple[Any, ...]]:
    """Taken as the consumer takes them."""
    taken = worker.execute(
        "delete from headscale.event where id in (select id from headscale.event where cluster_id = %s order by id for update skip locked)"
        " returning id, kind, node_id, key_id, user_id",
        [of.cluster_id],
    ).fetchall()
    return [row[1:] for row in sorted(taken)]


def test_a_node_is_heard_when_it_joins_changes_and_goes(heard: Any) -> None:
    lived = lived_in()
    assert events(heard, lived) == [("node.insert", lived.node, lived.key, lived.user)]
    with lived.login() as server:
        server.execute(b"update nodes set given_name = 'renamed'")
        server.execute(b"update nodes set last_seen = now(), host_info = '{}', endpoints = '[]'")
        server.execute(b"delete from nodes")
    assert events(heard, lived) == [(kind, lived.node, lived.key, lived.user) for kind in ("node.update", "node.delete")]
    assert any(True for _ in heard.notifies(timeout=2, stop_after=1))


def test_a_used_key_is_heard_once(heard: Any) -> None:
    lived = lived_in()
    events(heard, lived)
    with lived.login() as server:
        server.execute(b"update pre_auth_keys set used = true")
        server.execute(b"update pre_auth_keys set used = true, tags = '[]'")
    assert events(heard, lived) == [("key.used", None, lived.key, lived.user)]


def test_what_is_rolled_back_is_not_heard(heard: Any) -> None:
    lived = lived_in()
    events(heard, lived)
    with lived.login() as server, server.transaction(force_rollback=True):
        server.execute(b"delete from nodes")
    assert events(heard, lived) == []
