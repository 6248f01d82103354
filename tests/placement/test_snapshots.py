"""What every web process knows of the fleet: told at once, found out anyway, and never older than it may be."""

from __future__ import annotations

import time

import pytest
from django.utils import timezone

from placement import snapshots
from placement.engine.facts import PoolKey
from placement.models import Cluster
from tests import factories
from tests.conftest import superuser, url_as
from tests.live import run_web, wait_for


def wished(service, customer, region):
    return service.bootstrap(customer.secret, want_region=region).status


@pytest.fixture
def anywhere(fleet_clusters):
    fleet_clusters(region="eu")
    return lambda: factories.customer(plan_fields={"expected_devices": 1})


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
class TestWebProcesses:
    def test_a_new_region_is_known_to_every_worker_within_a_second(self, anywhere, fleet_clusters, tmp_path):
        with run_web(tmp_path, workers=2, ACS_PLACEMENT_REFRESH_SECONDS="600") as service:
            lost = anywhere()
            assert wished(service, lost, "mars") == 403
            fleet_clusters(region="mars")
            time.sleep(1)
            assert [wished(service, anywhere(), "mars") for _ in range(8)] == [200] * 8

    def test_a_change_that_nobody_told_is_found_by_its_version(self, anywhere, fleet_clusters, tmp_path):
        with run_web(tmp_path, workers=1, ACS_PLACEMENT_REFRESH_SECONDS="0.5") as service:
            assert wished(service, anywhere(), "mars") == 403
            with superuser() as connection:
                connection.execute("alter table placement_cluster disable trigger membership_grew_or_shrank")
                try:
                    fleet_clusters(region="mars")
                finally:
                    connection.execute("alter table placement_cluster enable trigger membership_grew_or_shrank")
            wait_for(lambda: wished(service, anywhere(), "mars") == 200, "the new cluster is found", seconds=5)

    def test_a_listener_that_lost_its_connection_listens_again(self, anywhere, fleet_clusters, tmp_path):
        with run_web(tmp_path, workers=1, ACS_PLACEMENT_REFRESH_SECONDS="600") as service:
            assert wished(service, anywhere(), "mars") == 403
            with superuser() as connection:
                ended = connection.execute(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'acs placement' and datname = current_database()"
                ).fetchone()[0]
            assert ended >= 1
            fleet_clusters(region="mars")
            wait_for(lambda: wished(service, anywhere(), "mars") == 200, "it listens again", seconds=5)


@pytest.mark.django_db
class TestInThisProcess:
    def test_rings_are_built_anew_only_when_the_membership_changed(self, fleet_clusters):
        key = PoolKey("eu", "standard")
        cluster = fleet_clusters(capacity=500)
        first = snapshots.current(now=timezone.now())
        Cluster.objects.filter(pk=cluster.cluster_id).update(committed=7, state="cordoned")
        second = snapshots.current(now=timezone.now())
        assert second.pool(key).ring is first.pool(key).ring
        assert second.clusters[cluster.cluster_id].committed == 7
        Cluster.objects.filter(pk=cluster.cluster_id).update(capacity=1000)
        third = snapshots.current(now=timezone.now())
        assert third.version != first.version
        assert third.pool(key).ring.digest != first.pool(key).ring.digest

    def test_a_cluster_is_in_the_pool_of_its_region_and_in_that_of_its_residency(self, fleet_clusters):
        cluster = fleet_clusters(region="us", residency="ca")
        pools = snapshots.current(now=timezone.now()).pools
        assert {key for key, pool in pools.items() if cluster.cluster_id in pool.clusters} == {
            PoolKey("us", "standard"),
            PoolKey("us", "standard", "ca"),
        }

    def test_unregistered_and_dedicated_clusters_are_in_no_pool(self, fleet_clusters):
        fleet_clusters(region="x", registered_at=None, state="offline"), fleet_clusters(region="y", kind="dedicated")
        snapshot = snapshots.current(now=timezone.now())
        assert {key.region for key in snapshot.pools} & {"x", "y"} == set()
        assert [cluster.region for cluster in snapshot.dedicated] == ["y"]


def test_the_version_never_returns(django_db_setup, fleet_clusters):
    import psycopg

    with psycopg.connect(url_as("acs_web"), autocommit=True) as connection:
        read = "select version from placement_topology"
        fleet_clusters()
        first = connection.execute(read).fetchone()[0]
        with superuser() as admin:
            admin.execute("truncate placement_topology")
        fleet_clusters()
        assert connection.execute(read).fetchone()[0] > first
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("update placement_topology set version = 1")
