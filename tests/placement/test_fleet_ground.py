"""The tests' own ground: the database is the fleet's, and each login has no more than its role."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest

from placement import pollruns
from placement.models import Cluster, Fleet, PollRun
from tests.conftest import FleetCluster


@pytest.mark.django_db
def test_a_test_sees_the_fleet_and_a_cluster_that_was_committed_before_it(fleet_cluster: FleetCluster) -> None:
    assert Fleet.objects.get().name == "default"
    assert fleet_cluster.row.fleet.is_own
    assert Cluster.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_test_that_commits_leaves_nothing_but_the_fleet(fleet_cluster: FleetCluster) -> None:
    pollruns.write(fleet_cluster.cluster_id, started_at=datetime(2026, 1, 1, tzinfo=UTC), seconds=1, outcome="ok")


@pytest.mark.django_db
def test_the_next_test_starts_empty() -> None:
    assert (Cluster.objects.count(), PollRun.objects.count(), Fleet.objects.count()) == (0, 0, 1)


def test_each_login_is_the_one_its_name_says(database_urls: dict[str, str], fleet_cluster: FleetCluster) -> None:
    for role in ("owner", "web", "worker", "mover"):
        with psycopg.connect(database_urls[role]) as connection:
            assert connection.execute("select session_user").fetchone() == (f"acs_{role}",)
    with psycopg.connect(fleet_cluster.url) as connection:
        assert connection.execute("select session_user, current_schema").fetchone() == (f"hs_{fleet_cluster.cluster_id}", "headscale")
