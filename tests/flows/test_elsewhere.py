"""A fleet in a database of its own, and an external server: the promise is committed here, the key made there, and a repeat is safe."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings
from django.utils import timezone
from psycopg import sql

from acs.sweep import sweep
from placement import events, external, grants
from placement.headscale import keys
from placement.headscale.fleet import connect
from placement.models import Binding, Cluster, Device, Fleet, Grant
from tenants import lifecycle
from tests import factories
from tests.cluster_servers import serve_external
from tests.conftest import WORKER, clusters_to_drop, fresh_cluster_id, manage, superuser, url_as
from tests.doors import bootstrap
from tests.flows.test_events_and_polls import use_key
from tests.servers import machine

pytestmark = pytest.mark.django_db(transaction=True)


class There:
    """A cluster of the fleet elsewhere, as its server sees it."""

    def __init__(self, cluster_id: str, database: str) -> None:
        row = Cluster.objects.get(pk=cluster_id)
        self.cluster_id, self.prefix_v4, self.prefix_v6 = cluster_id, row.prefix_v4, row.prefix_v6
        self.url = url_as(f"hs_{cluster_id}", database)


@contextmanager
def fleet_elsewhere(folder):
    database, name = f"acs_elsewhere_{WORKER}", f"elsewhere-{WORKER}"
    with superuser("postgres") as admin:
        admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database)))
        admin.execute(sql.SQL("create database {} owner acs_owner").format(sql.Identifier(database)))
    owner, cluster_id = url_as("acs_owner", database), fresh_cluster_id()
    manage("fleet", "init", "--without-binary", "--name", name, "--database-url", owner)
    words = ["--region", "asia", "--listen", "127.0.0.1:1", "--metrics-listen", "127.0.0.1:2", "--client-url", "http://127.0.0.1:1"]
    manage("fleet", "add-cluster", cluster_id, "--name", name, "--database-url", owner, *words, "--out", str(folder))
    clusters_to_drop.append(cluster_id)
    Cluster.objects.filter(pk=cluster_id).update(state="active", registered_at="2026-01-01T00:00:00Z")
    try:
        yield There(cluster_id, database)
    finally:
        with superuser() as admin:
            admin.execute("set session_replication_role = replica")
            admin.execute("delete from placement_fleet where name = %s", [name])


def move_database(fleet: Fleet, sealed: str) -> None:
    with superuser() as admin:
        admin.execute("update placement_fleet set database_url_sealed = %s where name = %s", [sealed, fleet.name])


def keys_there(there: There) -> list[tuple]:
    with psycopg.connect(there.url) as server:
        return server.execute("select prefix, used from pre_auth_keys order by id").fetchall()


def test_a_fleet_elsewhere_gets_the_derived_key_and_the_replay_puts_it_once(tmp_path, db):
    customer = factories.customer()
    with fleet_elsewhere(tmp_path / "c") as there:
        first = bootstrap(customer.secret, idempotency_key="k").json()
        assert first["cluster_id"] == there.cluster_id
        assert bootstrap(customer.secret, idempotency_key="k").json() == first
        assert [(prefix, used) for prefix, used in keys_there(there)] == [(first["auth_key"][11:23], False)]
        assert Grant.objects.of(customer.tenant).get().state == "issued"


def test_a_fleet_elsewhere_that_is_down_is_503_and_the_repeat_gets_the_same_key(tmp_path, db):
    customer = factories.customer()
    with fleet_elsewhere(tmp_path / "c") as there:
        bootstrap(customer.secret)
        fleet = Fleet.objects.get(clusters=there.cluster_id)
        move_database(fleet, connect.seal(fleet.name, "host=127.0.0.1 port=1 dbname=none", ""))
        answer = bootstrap(customer.secret, {"registration_id": "till-7"})
        assert (answer.status_code, answer.json()["code"]) == (503, "cluster-busy")
        assert customer.quota().used == 2, "the place is kept"
        move_database(fleet, fleet.database_url_sealed)
        assert bootstrap(customer.secret, {"registration_id": "till-7"}).status_code == 200
        assert customer.quota().used == 2
        assert len(keys_there(there)) == 2


def test_events_of_a_fleet_elsewhere_are_heard_and_deleted_after_their_effect(tmp_path, db):
    customer = factories.customer()
    with fleet_elsewhere(tmp_path / "c") as there:
        bootstrap(customer.secret)
        use_key(there, customer.account, 1)
        fleet = Fleet.objects.get(clusters=there.cluster_id)
        assert events.consume(fleet) >= 2
        assert Device.objects.of(customer.tenant).get().unexpected == ""
        assert Grant.objects.of(customer.tenant).get().state == "redeemed"
        assert events.consume(fleet) == 0


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=[pytest.mark.headscale, pytest.mark.tailscale])])
def test_a_device_joins_an_external_server_with_the_key_that_bootstrap_minted_there(real, tmp_path, db):
    from acs.poll import poll

    customer = factories.customer("acme-inc")
    with serve_external(tmp_path / "x", real=real) as (cluster_id, server), machine(server, tmp_path / "device") as device:
        device.join(bootstrap(customer.secret).json()["auth_key"], "till-7")
        assert poll(cluster_id, now=timezone.now()).outcome == "ok"
        assert Grant.objects.of(customer.tenant).get().state == "redeemed"
        seen = Device.objects.of(customer.tenant).get()
        assert (seen.name, seen.online, seen.unexpected, customer.quota().used) == ("till-7", True, "", 1)
        assert Binding.objects.of(customer.tenant).get().cluster_id == cluster_id


def test_a_fleet_elsewhere_that_is_away_for_a_moment_is_asked_again_by_the_same_request(tmp_path, db):
    """Its database says no to the first connections, as one that restarts: the device does not notice."""
    customer = factories.customer()
    with fleet_elsewhere(tmp_path / "c") as there:
        bootstrap(customer.secret)
        database = there.url.split("/")[-1].split("?")[0]
        closed = sql.SQL("alter database {} with allow_connections {}")
        with superuser("postgres") as admin:
            admin.execute(closed.format(sql.Identifier(database), sql.SQL("false")))
            reopen = threading.Timer(0.4, lambda: opened(database))
            reopen.start()
            answer = bootstrap(customer.secret, {"registration_id": "till-7"})
            reopen.join()
        assert answer.status_code == 200, answer.json()
        assert len(keys_there(there)) == 2


def opened(database: str) -> None:
    with superuser("postgres") as admin:
        admin.execute(sql.SQL("alter database {} with allow_connections true").format(sql.Identifier(database)))


def test_a_fleet_elsewhere_that_hangs_keeps_nobody_for_long(tmp_path, db):
    customer = factories.customer()
    with fleet_elsewhere(tmp_path / "c") as there:
        bootstrap(customer.secret)
        with psycopg.connect(url_as("postgres", there.url.split("/")[-1].split("?")[0])) as holder:
            holder.execute("lock table headscale.pre_auth_keys in access exclusive mode")
            begun = time.monotonic()
            answer = bootstrap(customer.secret, {"registration_id": "till-7"})
            took = time.monotonic() - begun
            holder.rollback()
        assert (answer.status_code, answer.json()["code"]) == (503, "cluster-busy")
        assert took < 4
        assert bootstrap(customer.secret, {"registration_id": "till-7"}).status_code == 200
        assert len(keys_there(there)) == 2


def test_what_no_request_could_put_into_a_fleet_elsewhere_the_sweeper_puts(tmp_path, db):
    customer, suspended = factories.customer(), factories.customer()
    with fleet_elsewhere(tmp_path / "c") as there:
        for each in (customer, suspended):
            bootstrap(each.secret)
        fleet = Fleet.objects.get(clusters=there.cluster_id)
        move_database(fleet, connect.seal(fleet.name, "host=127.0.0.1 port=1 dbname=none", ""))
        for each in (customer, suspended):
            assert bootstrap(each.secret, {"registration_id": "till-7"}).status_code == 503
        move_database(fleet, fleet.database_url_sealed)
        lifecycle.suspend(suspended.tenant, reason="unpaid", now=timezone.now(), actor="system:tests")
        sweep(there.cluster_id, now=timezone.now() + timedelta(minutes=1))
        told = bootstrap(customer.secret, {"registration_id": "till-7"}).json()
        prefixes = [prefix for prefix, _ in keys_there(there)]
        assert len(prefixes) == 3
        assert told["auth_key"][11:23] in prefixes
        assert not Grant.objects.of(customer.tenant).filter(state="reserved").exists()
        assert Grant.objects.of(suspended.tenant).filter(state="reserved").count() == 1, "not for who is suspended"


def test_a_key_that_was_put_after_its_slot_got_another_one_is_expired_there(tmp_path, db):
    customer, device = factories.customer(), {"registration_id": "till-7"}
    _key, other = factories.enrolment_key(customer.tenant)
    with fleet_elsewhere(tmp_path / "c") as there:
        bootstrap(customer.secret)
        fleet = Fleet.objects.get(clusters=there.cluster_id)
        move_database(fleet, connect.seal(fleet.name, "host=127.0.0.1 port=1 dbname=none", ""))
        assert bootstrap(customer.secret, device).status_code == 503
        late = Grant.objects.of(customer.tenant).get(slot__registration_id="till-7")
        assert bootstrap(other, device).status_code == 503
        move_database(fleet, fleet.database_url_sealed)
        now, cluster = timezone.now(), Cluster.objects.select_related("fleet").get(pk=there.cluster_id)
        key, user_id = keys.derive(settings.KEYRING, late.keyring_id, late.pk), Binding.objects.of(customer.tenant).get().headscale_user_id
        key_id = external.put(cluster, key, headscale_user_id=user_id, expires_at=late.expires_at, ephemeral=False, now=now)
        assert not grants.mark_put(late.pk, key_id=key_id, expires_at=late.expires_at, now=now)
        sweep(there.cluster_id, now=now)
        with psycopg.connect(there.url) as server:
            (ends,) = server.execute("select expiration from pre_auth_keys where id = %s", [key_id]).fetchone()
        assert ends <= now
        assert bootstrap(other, device).status_code == 200
