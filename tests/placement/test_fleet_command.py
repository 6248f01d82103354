"""`manage.py fleet` as an operator runs it: in a process under the owner's login, on an empty database and on a made one."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import bcrypt
import psycopg
import pytest
import yaml
from psycopg import sql

from placement.headscale.fleet import admin_keys
from tests.conftest import MIGRATED, WORKER, FleetCluster, copy_database, manage, superuser, url_as

EMPTY = f"acs_command_{WORKER}"
CLUSTER = f"cmd{WORKER}"


@pytest.fixture(scope="module")
def url(django_db_setup: None) -> Iterator[str]:
    """A migrated database without a fleet."""
    with superuser("postgres") as connection:
        copy_database(connection, MIGRATED, EMPTY)
    yield url_as("acs_owner", EMPTY)
    with superuser("postgres") as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(EMPTY)))
        connection.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(f"hs_{CLUSTER}")))


def fleet(url: str, *words: str, check: bool = True) -> str:
    done = manage("fleet", *words, check=check, by_hand=True, DATABASE_URL=url)
    return done.stdout + done.stderr


def add_words(folder: Path, cluster_id: str = CLUSTER) -> list[str]:
    ports = ["--listen", "127.0.0.1:18111", "--metrics-listen", "127.0.0.1:18112", "--client-url", "http://127.0.0.1:18111"]
    return ["add-cluster", cluster_id, "--region", "eu", *ports, "--out", str(folder)]


def test_before_init_everything_says_what_to_do(url: str, tmp_path: Path) -> None:
    assert "`manage.py fleet init` makes them" in fleet(url, "check", check=False)
    assert "there is no fleet default: `manage.py fleet init --name default` makes it" in fleet(url, *add_words(tmp_path), check=False)


def test_init_makes_a_sound_fleet_and_its_repetition_changes_nothing(url: str) -> None:
    assert "made the tables of headscale v0.29.2 without a binary" in fleet(url, "init", "--without-binary")
    with superuser(EMPTY) as connection:
        before = connection.execute("select to_jsonb(f) from placement_fleet f").fetchall()
    assert fleet(url, "init", "--without-binary").strip() == "headscale v0.29.2; nothing to do"
    assert fleet(url, "upgrade", "--without-binary").strip() == "headscale v0.29.2; nothing to do"
    with superuser(EMPTY) as connection:
        assert connection.execute("select to_jsonb(f) from placement_fleet f").fetchall() == before
    assert before[0][0]["base_domain"] == "ts.internal"
    assert "privkey" not in json.dumps(before)
    assert "is sound" in fleet(url, "check")


@pytest.fixture(scope="module")
def made(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cluster that was added."""
    folder = tmp_path_factory.mktemp("server")
    fleet(url, "init", "--without-binary")
    told = fleet(url, *add_words(folder))
    assert f"cluster {CLUSTER} with 100.64.0.0/20 and fd7a:115c:a1e0:1::/64, offline until it is registered" in told
    assert "privkey" not in told
    return folder


def test_add_cluster_writes_a_servers_files_and_its_repetition_changes_nothing(url: str, made: Path) -> None:
    settings = yaml.safe_load((made / "config.yaml").read_text())
    assert settings["database"]["postgres"]["user"] == f"hs_{CLUSTER}"
    assert settings["prefixes"] == {"v4": "100.64.0.0/20", "v6": "fd7a:115c:a1e0:1::/64", "allocation": "random"}
    assert settings["policy"] == {"mode": "database"}
    assert {stat.S_IMODE((made / name).stat().st_mode) for name in ("config.yaml", "noise_private.key")} == {0o600}
    assert fleet(url, *add_words(made)).strip() == "headscale v0.29.2; nothing to do"
    with superuser(EMPTY) as connection:
        row = connection.execute("select state, region, admin_url, metrics_url, noise_public_key from placement_cluster").fetchone()
    assert row[:4] == ("offline", "eu", "http://127.0.0.1:18111", "http://127.0.0.1:18112/metrics")
    assert row[4].startswith("mkey:")
    assert "is sound" in fleet(url, "check")


@pytest.mark.parametrize(
    ("cluster_id", "more", "why"),
    [
        ("Not_An_Id", [], "no cluster_id"),
        ("acsprobe", [], "`fleet check` uses"),
        ("other", ["--prefix-v4", "10.0.0.0/20"], "outside 100.64.0.0/10"),
        ("other", ["--prefix-v4", "100.64.0.0/21"], "overlaps 100.64.0.0/20"),
        (CLUSTER, ["--prefix-v4", "100.90.0.0/20"], "hands out 100.64.0.0/20 already"),
        ("other", ["--name", "nowhere"], "there is no fleet nowhere"),
        ("other", ["--database-url", "postgresql://acs_owner@/elsewhere"], "PostgreSQL"),
    ],
    ids=range(7),  # xdist compares the names of its workers' tests
)
@pytest.mark.usefixtures("made")
def test_a_contradictory_wish_is_refused_with_the_reason(cluster_id: str, more: list[str], why: str, url: str, tmp_path: Path) -> None:
    assert why in fleet(url, *add_words(tmp_path / "wished", cluster_id), *more, check=False)
    assert not (tmp_path / "wished").exists()
    with superuser("postgres") as connection:
        assert connection.execute("select 1 from pg_roles where rolname = 'hs_other'").fetchone() is None


def test_an_admin_key_is_inserted_by_the_worker_and_cheap_to_compare(fleet_cluster: FleetCluster) -> None:
    with psycopg.connect(url_as("acs_worker"), autocommit=True) as worker:
        key = admin_keys.insert(worker, fleet_cluster.cluster_id, lifetime=timedelta(days=90))
    kind, prefix, secret = key.rsplit("-", 2)
    assert (kind, len(prefix), len(secret)) == ("hskey-api", 12, 64)
    assert (prefix + secret).isalnum()
    with psycopg.connect(fleet_cluster.url) as server:
        hashed, lives = server.execute(
            "select hash, expiration > now() + interval '89 days' from api_keys where prefix = %s", [prefix]
        ).fetchone()
    assert bytes(hashed).startswith(b"$2b$04$")
    assert bcrypt.checkpw(secret.encode(), bytes(hashed))
    assert lives
