"""A fleet on a PostgreSQL of the operator's own: an older version, reached over TCP, that asks every login for its password."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from placement.headscale.fleet import binary
from tests.conftest import manage
from tests.servers import run_headscale

ACCOUNT = "nobody"  # as root, PostgreSQL refuses to run


def installed() -> Path | None:
    """The oldest PostgreSQL of Debian's packages on this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[0].parent if found else None


def run(*words: str | Path) -> None:
    as_account: dict[str, Any] = {"user": ACCOUNT} if os.geteuid() == 0 else {}
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=60, cwd="/", **as_account)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running() as url:
        yield url


@contextmanager
def running() -> Iterator[str]:
    """`postgresql://acs_owner:PASSWORD@127.0.0.1:PORT/acs`, whose owner may create roles and is no superuser."""
    programs = installed()
    if programs is None:
        pytest.skip("no PostgreSQL under /usr/lib/postgresql")
    folder = Path(tempfile.mkdtemp(prefix="acs-old-"))
    (folder / "password").write_text("super")
    if os.geteuid() == 0:
        for path in (folder, folder / "password"):
            os.chown(path, pwd.getpwnam(ACCOUNT).pw_uid, -1)
    port = binary.free_ports(1)[0]
    run(programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "scram-sha-256", "--pwfile", folder / "password", "--no-sync")
    options = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run(programs / "pg_ctl", "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start")
    try:
        with psycopg.connect(f"postgresql://postgres:super@127.0.0.1:{port}/postgres", autocommit=True) as connection:
            connection.execute("create role acs_owner login createrole createdb password 'owner'")
            connection.execute("create database acs owner acs_owner")
        yield f"postgresql://acs_owner:owner@127.0.0.1:{port}/acs"
    finally:
        run(programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def made(server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a cluster's server on that fleet, and what the operator was told."""
    manage("migrate", "-v0", by_hand=True, DATABASE_URL=server)
    told = manage("fleet", "init", by_hand=True, DATABASE_URL=server).stdout
    folder = tmp_path_factory.mktemp("server")
    told += manage("fleet", *words(folder), by_hand=True, DATABASE_URL=server).stdout
    return folder, told


def words(folder: Path) -> list[str]:
    listen, metrics = (f"127.0.0.1:{port}" for port in (28111, 28112))
    rest = ["--region", "eu", "--listen", listen, "--metrics-listen", metrics, "--client-url", f"http://{listen}", "--out", str(folder)]
    return ["add-cluster", "one", *rest]


def test_a_servers_password_is_in_its_file_alone_and_stays_when_the_command_is_repeated(server: str, made: tuple[Path, str]) -> None:
    folder, told = made
    password = yaml.safe_load((folder / "config.yaml").read_text())["database"]["postgres"]["pass"]
    assert len(password) == 48
    assert password not in told
    assert "give them to acs_web, acs_worker, acs_mover" in told
    assert "nothing to do" in manage("fleet", *words(folder), by_hand=True, DATABASE_URL=server).stdout
    assert "nothing to do" in manage("fleet", "init", by_hand=True, DATABASE_URL=server).stdout
    address = server.replace("acs_owner:owner", f"hs_one:{password}")
    with psycopg.connect(address) as connection:
        assert connection.execute("select count(*) from nodes").fetchone() == (0,)


def test_the_fleet_is_sound_there_too(server: str, made: tuple[Path, str]) -> None:
    checked = manage("fleet", "check", by_hand=True, DATABASE_URL=server).stdout
    assert "under a login made for them" in checked
    assert "is sound" in checked
    with psycopg.connect(server) as owner:
        assert owner.execute("select rolname::text from pg_roles where rolname like 'hs\\_%'").fetchall() == [("hs_one",)]


@pytest.mark.headscale
def test_a_real_server_starts_on_it(made: tuple[Path, str]) -> None:
    with run_headscale(made[0], server_url="") as started:
        assert started.process.poll() is None


REACHED = """
from placement.models import Fleet
from placement.headscale.fleet.connect import connect, conninfo_of
for fleet in Fleet.objects.exclude(database_url_sealed=""):
    for role in ("acs_web", "acs_worker", "acs_mover"):
        print(fleet.name, connect(conninfo_of(fleet, role)).execute("select session_user").fetchone()[0], "owner" in conninfo_of(fleet, role))
"""


def test_fleets_elsewhere_are_reached_by_acs_roles_and_their_owner_is_not_stored(database_urls: dict[str, str]) -> None:
    with running() as elsewhere:
        with psycopg.connect(elsewhere, autocommit=True) as owner:
            owner.execute("create database second")
        second = elsewhere.rpartition("/")[0] + "/second"
        try:
            manage("fleet", "init", "--name", "far", "--database-url", elsewhere)
            manage("fleet", "init", "--name", "farther", "--database-url", second)
            assert "nothing to do" in manage("fleet", "init", "--name", "far", "--database-url", elsewhere).stdout
            reached = manage("shell", "-v0", "-c", REACHED, role="web").stdout.splitlines()
            assert sorted(reached) == sorted(
                f"{fleet} acs_{role} False" for fleet in ("far", "farther") for role in ("web", "worker", "mover")
            )
            assert "is sound" in manage("fleet", "check", "--name", "far", "--database-url", elsewhere).stdout
        finally:
            with psycopg.connect(database_urls["owner"], autocommit=True) as owner:
                owner.execute("delete from placement_fleet where name like 'far%'")


def test_passwords_that_somebody_uses_are_not_replaced(server: str, made: tuple[Path, str]) -> None:
    """On the PostgreSQL of another ACS, whose roles these are."""
    with psycopg.connect(server, autocommit=True) as owner:
        owner.execute("create database elsewhere")
    refused = manage("fleet", "init", "--name", "far", "--database-url", server.rpartition("/")[0] + "/elsewhere", check=False)
    assert refused.returncode == 1
    assert "have passwords there that this ACS does not know" in refused.stderr
