"""Attacks on the fleet, each logged in as the role that attacks: a server, the door, the worker, the mover."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.conftest import url_as
from tests.placement.fleet_rows import Lived, address, everything_of, lived_in

REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.CheckViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.UniqueViolation,
    psycopg.errors.UndefinedTable,
    psycopg.errors.InvalidSchemaName,
)
OWNED = ("users", "nodes", "pre_auth_keys", "policies", "api_keys")


@pytest.fixture
def mine(django_db_setup: None) -> Lived:
    return lived_in("tenant")


@pytest.fixture
def theirs(django_db_setup: None) -> Lived:
    return lived_in("tenant")


def facts(mine: Lived, theirs: Lived) -> dict[str, Any]:
    return {
        "me": mine.cluster_id,
        "other": theirs.cluster_id,
        "my_user": mine.user,
        "my_node": mine.node,
        "my_key": mine.key,
        "user": theirs.user,
        "node": theirs.node,
        "key": theirs.key,
        "ip": theirs.ipv4,
        "free_foreign_ip": address(theirs.cluster.prefix_v4, 77),
        "my_free_ip": address(mine.cluster.prefix_v4, 78),
    }


def run(url: str, script: str, words: dict[str, Any]) -> int:
    """A script in one transaction that commits. Returns how many rows the last statement touched or showed."""
    with psycopg.connect(url) as connection:
        for statement in script.split("; "):
            touched = connection.execute(statement.encode(), words).rowcount
    return touched


@pytest.mark.parametrize("table", OWNED)
def test_a_server_reads_its_own_rows_alone(table: str, mine: Lived, theirs: Lived) -> None:
    with mine.login() as server:
        assert server.execute(f"select distinct cluster_id from {table}".encode()).fetchall() == [(mine.cluster_id,)]


@pytest.mark.parametrize(
    "query",
    [
        "select 1 from {table} where cluster_id = %(other)s",
        "select 1 from (select * from {table} union all select * from {table}) t where cluster_id = %(other)s",
        "with t as materialized (select * from {table}) select 1 from t where cluster_id = %(other)s",
        "select 1 from {table} a right join {table} b on true where b.cluster_id = %(other)s",
        "update {table} set cluster_id = %(me)s where cluster_id = %(other)s",
        "update {table} set cluster_id = cluster_id where cluster_id <> %(me)s",
        "delete from {table} where cluster_id = %(other)s",
        "delete from {table} where id not in (select id from {table})",
    ],
)
@pytest.mark.parametrize("table", OWNED)
def test_a_server_neither_finds_changes_nor_deletes_foreign_rows(query: str, table: str, mine: Lived, theirs: Lived) -> None:
    before = everything_of(theirs.cluster_id)
    assert run(mine.cluster.url, query.format(table=table), facts(mine, theirs)) == 0
    assert everything_of(theirs.cluster_id) == before


def test_an_uncut_delete_takes_a_servers_own_rows_alone(mine: Lived, theirs: Lived) -> None:
    before = everything_of(theirs.cluster_id)
    run(mine.cluster.url, "delete from nodes; delete from pre_auth_keys; delete from users; delete from policies; delete from api_keys", {})
    assert everything_of(theirs.cluster_id) == before
    assert not any(everything_of(mine.cluster_id).values())


SERVER_ATTACKS = {
    **{f"write {table} for another": f"insert into {table} (cluster_id) values (%(other)s)" for table in OWNED},
    **{f"give away {table}": f"update {table} set cluster_id = %(other)s" for table in OWNED},
    **{f"an id of {table} that was not given out": f"insert into {table} (id) values (90000000)" for table in OWNED},
    **{f"a negative id of {table}": f"insert into {table} (id) values (-5)" for table in OWNED},
    **{f"another id for its own {table}": f"update {table} set id = 90000000" for table in OWNED},
    "take a foreign row's id": "insert into nodes (id, ipv4) values (%(node)s, %(my_free_ip)s) on conflict (id) do update set hostname = 'taken'",
    "a node of a foreign user": "insert into nodes (user_id, given_name) values (%(user)s, 'x')",
    "its node to a foreign user": "update nodes set user_id = %(user)s",
    "a node with a foreign key": "insert into nodes (user_id, auth_key_id, given_name) values (%(my_user)s, %(key)s, 'x')",
    "a key of a foreign user": "insert into pre_auth_keys (user_id, prefix) values (%(user)s, 'x')",
    "its key to a foreign user": "update pre_auth_keys set user_id = %(user)s",
    "a foreign address": "insert into nodes (ipv4, given_name) values (%(ip)s, 'x')",
    "a free address of another": "update nodes set ipv4 = %(free_foreign_ip)s",
    "a free address of another, for a new node": "insert into nodes (ipv4, given_name) values (%(free_foreign_ip)s, 'x')",
    "an address outside the fleet": "update nodes set ipv4 = '192.0.2.1'",
    "an IPv6 address of another": "update nodes set ipv6 = 'fd7a:115c:a1e0:ffff::1'",
    "an address in another spelling": "update nodes set ipv4 = ipv4 || '/32'",
    "an IPv4 address as an IPv6 one": "update nodes set ipv6 = %(my_free_ip)s",
    "text for an address": "update nodes set ipv4 = 'localhost'",
    "a higher version": "update database_versions set version = 'v9.9.9'",
    "a second version": "insert into database_versions (id, version) values (0, 'v9.9.9')",
    "no version": "delete from database_versions",
    "a migration that never ran": "insert into migrations values ('tomorrow')",
    "forget a migration": "delete from migrations",
    "a temporary table": "create temporary table adoption (cluster_id text, node_id bigint, until timestamptz)",
    "a temporary function": "create function pg_temp.this_cluster() returns text language sql as 'select 1::text'",
    "a function": "create function headscale.mine() returns int language sql as 'select 1'",
    "another this_cluster": "create or replace function headscale.this_cluster() returns text language sql as $$ select 'x' $$",
    "a table": "create table headscale.mine (id int)",
    "a schema": "create schema mine",
    "a view": "create view headscale.mine as select * from headscale.nodes",
    "a trigger": "create trigger mine after insert on nodes for each row execute function headscale.tell()",
    "a rule": "create rule mine as on select to nodes do instead nothing",
    "drop a policy": "drop policy own_update on nodes",
    "no row security": "alter table nodes disable row level security",
    "no triggers": "alter table nodes disable trigger all",
    "the replica's role": "set session_replication_role = replica",
    "row security off": "set row_security = off; select * from nodes",
    "the schema's owner": "set role acs_headscale_owner",
    "the mover": "set role acs_mover",
    "the worker": "set role acs_worker",
    "a neighbour by SET ROLE": "set role hs_acsprobe_none",
    "a neighbour's session": "set session authorization acs_headscale_owner",
    "empty everything": "truncate nodes cascade",
    "the outbox": "select * from headscale.event",
    "a false event": "insert into headscale.event (cluster_id, kind) values (%(other)s, 'node.insert')",
    "silence": "delete from headscale.event",
    "an adoption": "insert into headscale.adoption values (%(me)s, %(node)s, now() + interval '1 hour')",
    "wider prefixes": "insert into headscale.prefix values (%(me)s, '100.64.0.0/10')",
    "the prefixes of all": "select * from headscale.prefix",
    "a user through the door's function": "select headscale.make_user(%(other)s, 'intruder')",
    "the name of a foreign user": "select headscale.tenant_of(%(user)s, '[]')",
    "a foreign key's end": "select headscale.retire_key(%(other)s, %(key)s)",
    "ACS's tenants": "select * from public.tenants_tenant",
    "ACS's clusters": "select * from public.placement_cluster",
    "a rewound sequence": "select setval('headscale.nodes_id_seq', 1)",
    "the outbox's sequence": "select nextval('headscale.event_id_seq')",
    "a file": "copy (select 1) to '/tmp/acs-attack'",
    "a program": "copy (select 1) to program 'true'",
}


@pytest.mark.parametrize("attack", SERVER_ATTACKS.values(), ids=SERVER_ATTACKS.keys())
def test_a_server_is_refused(attack: str, mine: Lived, theirs: Lived) -> None:
    before = everything_of(mine.cluster_id), everything_of(theirs.cluster_id)
    with pytest.raises(
        (
            *REFUSED,
            psycopg.errors.InvalidParameterValue,
            psycopg.errors.InvalidTextRepresentation,
            psycopg.errors.ObjectNotInPrerequisiteState,
        )
    ):
        run(mine.cluster.url, attack, facts(mine, theirs))
    assert (everything_of(mine.cluster_id), everything_of(theirs.cluster_id)) == before


def test_a_servers_grant_grants_nothing(mine: Lived) -> None:
    """PostgreSQL warns and does nothing when somebody grants what he may not pass on."""
    run(mine.cluster.url, "grant select on nodes to acs_web", {})
    with psycopg.connect(url_as("acs_web")) as door, pytest.raises(psycopg.errors.InsufficientPrivilege):
        door.execute(b"select 1 from headscale.nodes")


def test_settings_do_not_impersonate(mine: Lived, theirs: Lived) -> None:
    with mine.login() as server:
        for setting in ("app.cluster_id", "headscale.cluster_id", "application_name"):
            server.execute("select set_config(%s, %s, false)", [setting, theirs.cluster_id])
        server.execute("set search_path = pg_temp, public, headscale")
        server.execute("set role acs_headscale")
        assert server.execute("select distinct cluster_id from headscale.nodes").fetchall() == [(mine.cluster_id,)]


def test_a_home_cannot_be_forged(mine: Lived, theirs: Lived) -> None:
    run(mine.cluster.url, "update nodes set home_cluster_id = %(other)s", facts(mine, theirs))
    run(mine.cluster.url, "insert into nodes (given_name, home_cluster_id) values ('second', %(other)s)", facts(mine, theirs))
    assert {row[0]["home_cluster_id"] for row in everything_of(mine.cluster_id)["nodes"]} == {mine.cluster_id}


def move_away(mine: Lived, theirs: Lived) -> None:
    """The node of `mine` and all that is its tenant's go to `theirs`, as a move does it."""
    with psycopg.connect(url_as("acs_mover")) as mover:
        mover.execute("update headscale.users set name = 'moved' where id = %s", [mine.user])
        mover.execute("update headscale.pre_auth_keys set cluster_id = %s where id = %s", [theirs.cluster_id, mine.key])
        mover.execute("update headscale.nodes set cluster_id = %s, given_name = 'moved' where id = %s", [theirs.cluster_id, mine.node])
        mover.execute("update headscale.users set cluster_id = %s where id = %s", [theirs.cluster_id, mine.user])


@pytest.mark.parametrize(
    "query",
    [
        'SELECT "ipv4" FROM "nodes" UNION SELECT "node_key" FROM "nodes"',
        'SELECT "ipv4" FROM "nodes" ',
        'SELECT "ipv4", "node_key" FROM "nodes"',
        'SELECT "ipv4" FROM "nodes" WHERE true',
        'select "ipv4" from "nodes"',
        'SELECT "node_key" FROM "nodes" -- SELECT "ipv4" FROM "nodes"',
    ],
)
def test_addresses_reserved_at_home_show_to_the_allocators_two_queries_alone(query: str, mine: Lived, theirs: Lived) -> None:
    move_away(mine, theirs)
    with mine.login() as server:
        assert server.execute(b'SELECT "ipv4" FROM "nodes"').fetchall() == [(mine.ipv4,)]
        assert server.execute(b'SELECT "ipv6" FROM "nodes"').fetchall() == [(None,)]
        assert server.execute(query.encode()).fetchall() == []
        assert server.execute(b"update nodes set hostname = 'mine again'").rowcount == 0
        with pytest.raises(psycopg.errors.UniqueViolation):
            server.execute("insert into nodes (ipv4, given_name) values (%s, 'x')", [mine.ipv4])


def test_a_cursor_or_a_prepared_query_does_not_widen_the_exception(mine: Lived, theirs: Lived) -> None:
    move_away(mine, theirs)
    with psycopg.connect(mine.cluster.url) as server:
        server.execute(b"declare c cursor with hold for select node_key from nodes")
        server.execute(b"prepare p as select node_key from nodes")
        assert server.execute(b"fetch all from c").fetchall() == []
        assert server.execute(b"execute p").fetchall() == []


def test_an_open_adoption_shows_its_rows_read_only_and_the_reload_shows_them_alone(mine: Lived, theirs: Lived) -> None:
    with psycopg.connect(url_as("acs_mover")) as mover:
        mover.execute("insert into headscale.adoption values (%s, %s, now() + interval '1 minute')", [mine.cluster_id, theirs.node])
    with mine.login() as server:
        assert {row[0] for row in server.execute(b"select id from nodes")} == {mine.node, theirs.node}
        assert len(server.execute(b'SELECT * FROM "nodes"').fetchall()) == 1
        assert {row[0] for row in server.execute(b"select id from users")} == {mine.user, theirs.user}
        assert server.execute("update nodes set hostname = 'x' where id = %s", [theirs.node]).rowcount == 0
        assert server.execute("delete from users where id = %s", [theirs.user]).rowcount == 0
    with psycopg.connect(url_as("acs_mover")) as mover:
        mover.execute("update headscale.adoption set until = now() - interval '1 second'")
    with mine.login() as server:
        assert {row[0] for row in server.execute(b"select id from nodes")} == {mine.node}


def test_a_server_does_not_convert_a_device_into_another_tenants(mine: Lived) -> None:
    with mine.login() as server:
        other = server.execute("insert into users (name) values ('bolt') returning id").fetchone()[0]
        with pytest.raises(psycopg.errors.CheckViolation, match="belongs to tenant tenant"):
            server.execute("update nodes set user_id = %s", [other])
        with pytest.raises(psycopg.errors.CheckViolation, match="belongs to tenant tenant"):
            server.execute("update nodes set tags = '[\"tag:bolt--web\"]', user_id = null")
        server.execute("update nodes set tags = '[\"tag:tenant--web\"]', user_id = null")
        with pytest.raises(psycopg.errors.CheckViolation):
            server.execute('update nodes set tags = \'["tag:tenant--web", "tag:bolt--web"]\'')


def test_a_server_is_bounded_in_time(mine: Lived) -> None:
    with mine.login() as server:
        shown = {name: server.execute(f"show {name}".encode()).fetchone()[0] for name in ("statement_timeout", "lock_timeout")}
    assert shown == {"statement_timeout": "30s", "lock_timeout": "10s"}


PUT_KEY = (
    "insert into headscale.pre_auth_keys (prefix, hash, user_id, reusable, ephemeral, used, tags, created_at, expiration, cluster_id) "
    "values ('{prefix}', 'h', %(user)s, {reusable}, false, {used}, '[]', now(), now() + interval '{lifetime}', %(cluster)s) returning id"
)


def put_key(prefix: str = "fresh", reusable: str = "false", used: str = "false", lifetime: str = "1 hour") -> str:
    return PUT_KEY.format(prefix=prefix, reusable=reusable, used=used, lifetime=lifetime)


def as_door(script: str, theirs: Lived) -> int:
    return run(
        url_as("acs_web"), script, {"user": theirs.user, "cluster": theirs.cluster_id, "other": theirs.cluster_id, "key": theirs.key}
    )


def test_the_door_makes_users_and_keys_that_live_for_a_day_at_most(theirs: Lived) -> None:
    with psycopg.connect(url_as("acs_web")) as door:
        made = door.execute("select headscale.make_user(%s, 'acme-inc')", [theirs.cluster_id]).fetchone()
        assert door.execute("select headscale.make_user(%s, 'acme-inc')", [theirs.cluster_id]).fetchone() == made
        words = {"user": made[0], "cluster": theirs.cluster_id}
        (key_id,) = door.execute(put_key("doorkey").encode(), words).fetchone()
        again = put_key("doorkey").replace("returning id", "on conflict (prefix) where prefix is not null and prefix <> '' do nothing")
        assert door.execute(again.encode(), words).rowcount == 0
        assert door.execute("select headscale.retire_key(%s, %s)", [theirs.cluster_id, key_id]).fetchone() == (True,)


DOOR_ATTACKS = {
    "a reusable key": put_key(reusable="true"),
    "a key that is used already": put_key(used="true"),
    "a key of two days": put_key(lifetime="2 days"),
    "a key that is born expired": put_key(lifetime="-1 minute"),
    "a key for ever": put_key().replace("now() + interval '1 hour'", "null"),
    "a key of a user on another cluster": put_key().replace("%(cluster)s", "'elsewhere'"),
    "a key with an id of its own": put_key().replace("(prefix,", "(id, prefix,").replace("('fresh'", "(77, 'fresh'"),
    "hashes of keys": "select hash from headscale.pre_auth_keys",
    "who may use a key": "select user_id from headscale.pre_auth_keys",
    "a longer life": "update headscale.pre_auth_keys set expiration = now() + interval '1 year'",
    "a used key made fresh": "update headscale.pre_auth_keys set used = false",
    "deleted keys": "delete from headscale.pre_auth_keys",
    "users": "select * from headscale.users",
    "a user without the function": "insert into headscale.users (name, cluster_id) values ('x', %(cluster)s)",
    "a user with a name that is no account": "select headscale.make_user(%(cluster)s, 'a--b')",
    "a user named like a mail address": "select headscale.make_user(%(cluster)s, 'a@b')",
    "a user on a cluster that is not there": "select headscale.make_user('nowhere', 'acme')",
    "nodes": "select * from headscale.nodes",
    "a node": "insert into headscale.nodes (user_id, cluster_id) values (%(user)s, %(cluster)s)",
    "admin keys": "select * from headscale.api_keys",
    "an admin key": "insert into headscale.api_keys (prefix, cluster_id) values ('x', %(cluster)s)",
    "policies": "select * from headscale.policies",
    "a policy": "insert into headscale.policies (data, cluster_id) values ('', %(cluster)s)",
    "the outbox": "delete from headscale.event",
    "an adoption": "insert into headscale.adoption values (%(cluster)s, 1, now())",
    "a temporary table": "create temporary table pre_auth_keys (id int)",
    "a function": "create function public.mine() returns int language sql as 'select 1'",
    "the worker": "set role acs_worker",
    "the mover": "set role acs_mover",
    "the owner": "set role acs_owner",
    "a cluster's address": "update public.placement_cluster set client_url = 'http://evil.example'",
    "a new cluster": "insert into public.placement_cluster (cluster_id) values ('mine')",
    "a fleet's key": "update public.placement_fleet set noise_key_sealed = ''",
    "another's home for a tenant": "update public.placement_binding set cluster_id = %(cluster)s",
    "a changed audit": "update public.tenants_auditevent set actor = 'nobody'",
    "a shorter audit": "delete from public.tenants_auditevent",
    "no audit": "truncate public.tenants_auditevent cascade",
    "an unsealed audit": "delete from public.tenants_auditseal",
    "no audit trigger": "alter table public.tenants_auditevent disable trigger all",
    "past the audit's triggers": "set session_replication_role = replica",
    "migrations": "delete from public.django_migrations",
}


@pytest.mark.parametrize("attack", DOOR_ATTACKS.values(), ids=DOOR_ATTACKS.keys())
def test_the_door_is_refused(attack: str, theirs: Lived) -> None:
    before = everything_of(theirs.cluster_id)
    with pytest.raises(REFUSED):
        as_door(attack, theirs)
    assert everything_of(theirs.cluster_id) == before


WORKER_ATTACKS = {
    "hashes of keys": "select hash from headscale.pre_auth_keys",
    "all of a key": "select * from headscale.pre_auth_keys",
    "a longer life": "update headscale.pre_auth_keys set expiration = now() + interval '1 hour'",
    "a life without end": "update headscale.pre_auth_keys set expiration = 'infinity'",
    "a used key made fresh": "update headscale.pre_auth_keys set used = false",
    "a key": put_key(),
    "deleted keys": "delete from headscale.pre_auth_keys",
    "a renamed node": "update headscale.nodes set given_name = 'x'",
    "a moved node": "update headscale.nodes set cluster_id = 'x'",
    "a deleted node": "delete from headscale.nodes",
    "a user": "insert into headscale.users (name, cluster_id) values ('x', %(cluster)s)",
    "a user through the door's function": "select headscale.make_user(%(cluster)s, 'x')",
    "admin keys": "select * from headscale.api_keys",
    "another's admin key": "update headscale.api_keys set hash = 'x'",
    "policies": "select * from headscale.policies",
    "a false event": "insert into headscale.event (cluster_id, kind) values ('x', 'node.insert')",
    "an adoption": "insert into headscale.adoption values (%(cluster)s, 1, now())",
    "wider prefixes": "update headscale.prefix set prefix = '0.0.0.0/0'",
    "the mover": "set role acs_mover",
    "the schema's owner": "set role acs_headscale_owner",
    "a temporary table": "create temporary table nodes (id int)",
    "another's home for a tenant": "update public.placement_binding set cluster_id = %(cluster)s",
    "an enrolment key": "insert into public.tenants_enrolmentkey (id) values (gen_random_uuid())",
    "a changed audit": "update public.tenants_auditevent set actor = 'nobody'",
    "a shorter audit": "delete from public.tenants_auditseal",
    "a person": "update public.auth_user set is_superuser = true",
}


@pytest.mark.parametrize("attack", WORKER_ATTACKS.values(), ids=WORKER_ATTACKS.keys())
def test_the_worker_is_refused(attack: str, theirs: Lived) -> None:
    before = everything_of(theirs.cluster_id)
    with pytest.raises(REFUSED):
        run(url_as("acs_worker"), attack, {"user": theirs.user, "cluster": theirs.cluster_id})
    assert everything_of(theirs.cluster_id) == before


def test_the_worker_reads_the_fleet_and_ends_keys(mine: Lived, theirs: Lived) -> None:
    with psycopg.connect(url_as("acs_worker")) as worker:
        assert {row[0] for row in worker.execute("select cluster_id from headscale.nodes")} >= {mine.cluster_id, theirs.cluster_id}
        assert worker.execute("update headscale.pre_auth_keys set expiration = now() where id = %s", [mine.key]).rowcount == 1


MOVER_ATTACKS = {
    "a changed audit": "update public.tenants_auditevent set actor = 'nobody'",
    "a shorter audit": "delete from public.tenants_auditevent",
    "no audit": "truncate public.tenants_auditseal",
    "an audit without its seal": "delete from public.tenants_auditseal",
    "no audit trigger": "alter table public.tenants_auditevent disable trigger all",
    "enrolment keys": "select * from public.tenants_enrolmentkey",
    "API tokens": "select * from public.tenants_apitoken",
    "people": "select * from public.auth_user",
    "sessions": "select * from public.django_session",
    "admin keys": "insert into headscale.api_keys (prefix, cluster_id) values ('x', %(cluster)s)",
    "a policy": "insert into headscale.policies (data, cluster_id) values ('', %(cluster)s)",
    "the version": "update headscale.database_versions set version = 'v9.9.9'",
    "wider prefixes": "insert into headscale.prefix values (%(cluster)s, '100.64.0.0/10')",
    "a false event": "insert into headscale.event (cluster_id, kind) values ('x', 'node.insert')",
    "an address taken twice": "insert into headscale.nodes (cluster_id, home_cluster_id, ipv4) select cluster_id, home_cluster_id, ipv4 from headscale.nodes",
    "a node without its user": "update headscale.nodes set cluster_id = 'elsewhere' where cluster_id = %(cluster)s",
    "a temporary table": "create temporary table nodes (id int)",
    "no trigger on nodes": "alter table headscale.nodes disable trigger keep_tenant",
}


@pytest.mark.parametrize("attack", MOVER_ATTACKS.values(), ids=MOVER_ATTACKS.keys())
def test_the_mover_is_refused(attack: str, theirs: Lived) -> None:
    before = everything_of(theirs.cluster_id)
    with pytest.raises(REFUSED):
        run(url_as("acs_mover"), attack, {"cluster": theirs.cluster_id})
    assert everything_of(theirs.cluster_id) == before
