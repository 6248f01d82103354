"""`fleet check` on a sound fleet, and on one that was broken in one place: it names the place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from placement.headscale.fleet import check, clusters, fleets, roles, schema
from placement.headscale.fleet.check import Findings
from tests.conftest import DATABASE, WORKER, FleetCluster, make_database_of_worker, manage, superuser, url_as
from tests.placement.fleet_rows import lived_in

SCRATCH = f"acs_check_{WORKER}"


@pytest.fixture(scope="module")
def scratch(django_db_setup: None) -> Iterator[str]:
    """A fleet of its own, to be broken, with two clusters."""
    make_database_of_worker(SCRATCH)
    with psycopg.connect(url_as("acs_owner", SCRATCH), autocommit=True) as owner:
        for name in ("one", "two"):
            cluster_id = f"check{WORKER}{name}"
            roles.make_server(owner, cluster_id)
            roles.admit_server(owner, cluster_id)
            clusters.reserve(owner, clusters.Wish(cluster_id, "eu", "", "", "", Path()))
    yield SCRATCH
    with superuser("postgres") as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(SCRATCH)))
        for name in ("one", "two"):
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(f"hs_check{WORKER}{name}")))


def looked(database: str) -> Findings:
    with psycopg.connect(url_as("acs_owner", database), autocommit=True) as owner:
        return check.check(owner, conninfo=url_as("acs_owner", database), own=True)


def test_a_fresh_fleet_is_sound_and_the_check_leaves_nothing(scratch: str) -> None:
    found = looked(scratch)
    assert found.broken == []
    assert "attempts under each of 2 logins: as meant" in found.looked_at[-1]
    with superuser(scratch) as connection:
        for table in ("users", "nodes", "pre_auth_keys", "policies", "api_keys", "event"):
            assert connection.execute(f"select count(*) from headscale.{table}".encode()).fetchone() == (0,)


CLUSTER = f"hs_check{WORKER}one"
BREAKS = {
    "a dropped policy": ("drop policy own_update on headscale.nodes", "policy nodes.own_update is missing"),
    "an extra policy": (
        "create policy extra on headscale.nodes for select to public using (true)",
        "policy nodes.extra should not be there",
    ),
    "a wider policy": ("alter policy own_read on headscale.api_keys using (true)", "policy api_keys.own_read is"),
    "no row security": (
        "alter table headscale.users disable row level security",
        "table users is owner acs_headscale_owner, row security OFF",
    ),
    "a grant too many": ("grant select on headscale.event to acs_headscale", "right acs_headscale on event should not be there"),
    "a grant on a column": (
        "grant select (hash) on headscale.pre_auth_keys to acs_web",
        "right acs_web on pre_auth_keys.hash is insert, select",
    ),
    "a grant to everybody": (
        "grant execute on function headscale.tenant_of(bigint, text) to public",
        "right public on headscale.tenant_of",
    ),
    "a grant to one server": (f"grant select on headscale.adoption to {CLUSTER}", f"right {CLUSTER} on adoption should not be there"),
    "a right that is missing": ("revoke delete on headscale.nodes from acs_headscale", "right acs_headscale on nodes is"),
    "another owner": ("alter table headscale.nodes owner to postgres", "table nodes is owner postgres"),
    "a table that a server owns": (
        f"create table headscale.loot (); alter table headscale.loot owner to {CLUSTER}",
        f"role {CLUSTER} owns table",
    ),
    "a dropped trigger": ("drop trigger keep_to_own on headscale.nodes", "trigger nodes.keep_to_own is missing"),
    "a disabled trigger": ("alter table headscale.nodes disable trigger keep_ids", "NOT ENABLED"),
    "an extra trigger": (
        "create trigger extra after insert on headscale.users for each row execute function headscale.tell()",
        "trigger users.extra should not be there",
    ),
    "a dropped index": ("drop index headscale.one_ipv4", "index one_ipv4 is missing"),
    "a dropped foreign key": (
        "alter table headscale.nodes drop constraint user_of_the_same_cluster",
        "constraint nodes.user_of_the_same_cluster is missing",
    ),
    "a function without its search path": (
        "alter function headscale.node_is_visible(bigint, text, text) reset search_path",
        "no search path",
    ),
    "a function with its caller's rights": ("alter function headscale.keep_to_own() security invoker", "security invoker"),
    "a function of another's": (
        "alter function headscale.this_cluster() owner to postgres",
        "function headscale.this_cluster() is owner postgres",
    ),
    "another body": (
        "create or replace function headscale.this_cluster() returns text language sql stable as $$ select current_setting('app.cluster', true) $$",
        "function headscale.this_cluster() is",
    ),
    "temporary tables": (f"grant temporary on database {SCRATCH} to public", f"role {CLUSTER} may make temporary tables"),
    "objects in the schema": ("grant create on schema headscale to acs_headscale", f"role {CLUSTER} may make objects in headscale"),
    "ACS's own schema": ("grant usage on schema public to public", f"role {CLUSTER} may enter ACS's own schema"),
    "a door that writes clusters": ("grant update on placement_cluster to acs_web", "role acs_web has update on placement_cluster"),
    "an audit that can be changed": ("grant update on tenants_auditevent to acs_mover", "role acs_mover has update on tenants_auditevent"),
    "a door without its right": ("revoke insert on tenants_auditevent from acs_web", "role acs_web lacks insert on tenants_auditevent"),
    "rights on tables to come": (
        "alter default privileges for role acs_headscale_owner grant select on tables to public",
        "default privileges of acs_headscale_owner",
    ),
}
MENDS = {
    "another owner": "alter table headscale.nodes owner to acs_headscale_owner",
    "a table that a server owns": "drop table headscale.loot",
    "an extra trigger": "drop trigger extra on headscale.users",
    "a disabled trigger": "alter table headscale.nodes enable trigger keep_ids",
    "a function of another's": "alter function headscale.this_cluster() owner to acs_headscale_owner",
    "rights on tables to come": "alter default privileges for role acs_headscale_owner revoke select on tables from public",
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_fleet_is_told_and_upgrade_or_the_operator_mends_it(name: str, scratch: str) -> None:
    statement, told = BREAKS[name]
    with superuser(scratch) as connection:
        connection.execute(statement.encode())
        try:
            broken = looked(scratch).broken
        finally:
            if name in MENDS:
                connection.execute(MENDS[name].encode())
    assert any(told in reason for reason in broken), broken
    with psycopg.connect(url_as("acs_owner", scratch), autocommit=True) as owner:
        fleets.upgrade(owner, conninfo=url_as("acs_owner", scratch), own=True, headscale=None)
    assert looked(scratch).broken == []


ROLE_BREAKS = {
    "a server that is a superuser": (f"alter role {CLUSTER} superuser", f"role {CLUSTER} has superuser"),
    "a server past row security": (f"alter role {CLUSTER} bypassrls", f"role {CLUSTER} has bypassrls"),
    "a server that is the worker": (f"grant acs_worker to {CLUSTER}", f"role {CLUSTER} is a member of acs_worker"),
    "a door that is the mover": ("grant acs_mover to acs_web", "role acs_web is a member of acs_mover"),
    "a server without its group": (
        f"revoke acs_headscale from {CLUSTER} granted by acs_owner",
        f"role {CLUSTER} is not a member of acs_headscale",
    ),
    "a guest among the servers": ("grant acs_headscale to acs_tests", "role acs_tests is a member of acs_headscale"),
    "a guest as the schema's owner": ("grant acs_headscale_owner to acs_tests", "role acs_tests is a member of acs_headscale_owner"),
}


@pytest.mark.parametrize("name", ROLE_BREAKS)
def test_a_role_with_too_much_is_told(name: str, scratch: str) -> None:
    """In a transaction that is rolled back: roles belong to the whole PostgreSQL, and other tests use them."""
    statement, told = ROLE_BREAKS[name]
    with superuser(scratch) as connection, connection.transaction(force_rollback=True):
        connection.execute(statement.encode())
        assert told in list(check.logins(connection))


def test_the_probe_finds_by_trying_what_a_missing_policy_opens(scratch: str) -> None:
    with superuser(scratch) as connection:
        connection.execute("create policy extra on headscale.nodes to public using (true) with check (true)")
        broken = looked(scratch).broken
        connection.execute("drop policy extra on headscale.nodes")
    assert f"{CLUSTER} could read nodes of another cluster" in broken
    assert f"{CLUSTER} could delete nodes of another cluster" in broken
    assert any("could read" in reason and 'SELECT * FROM "nodes"' in reason for reason in broken)


def test_the_command_ends_with_1_and_the_reasons(scratch: str) -> None:
    sound = manage("fleet", "check", by_hand=True, DATABASE_URL=url_as("acs_owner", scratch))
    assert "is sound" in sound.stdout
    with superuser(scratch) as connection:
        connection.execute("alter table headscale.policies disable row level security")
        broken = manage("fleet", "check", check=False, by_hand=True, DATABASE_URL=url_as("acs_owner", scratch))
        connection.execute("alter table headscale.policies enable row level security")
    assert broken.returncode == 1
    assert "table policies" in broken.stderr
    assert "row security OFF" in broken.stderr


def test_the_stated_exceptions_are_not_taken_for_breaches(fleet_cluster: FleetCluster) -> None:
    one, two = lived_in("one"), lived_in("two")
    with psycopg.connect(url_as("acs_mover")) as mover:
        mover.execute("insert into headscale.adoption values (%s, %s, now() + interval '1 minute')", [one.cluster_id, two.node])
        mover.execute("update headscale.nodes set home_cluster_id = %s where id = %s", [fleet_cluster.cluster_id, two.node])
    assert looked(DATABASE).broken == []


def test_nothing_is_upgraded_under_a_connected_server(fleet_cluster: FleetCluster) -> None:
    with psycopg.connect(fleet_cluster.url), psycopg.connect(url_as("acs_owner"), autocommit=True) as owner:
        with pytest.raises(fleets.ServersConnected, match=f"hs_{fleet_cluster.cluster_id}"):
            fleets.upgrade(owner, conninfo=url_as("acs_owner"), own=True, headscale=None)
        assert schema.version(owner) == schema.SHIPPED_VERSION


def test_a_server_that_has_just_stopped_is_waited_for(fleet_cluster: FleetCluster) -> None:
    with psycopg.connect(fleet_cluster.url) as server, psycopg.connect(url_as("acs_owner"), autocommit=True) as owner:
        going = threading.Timer(0.5, server.close)
        going.start()
        fleets.upgrade(owner, conninfo=url_as("acs_owner"), own=True, headscale=None)
        going.join()
