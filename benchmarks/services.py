"""An embedded PostgreSQL and Valkey of a benchmark's own, with the fleet's schema and one cluster in it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from acs.demo.embedded import Postgres, Valkey, make_database
from placement.headscale.fleet.binary import free_ports

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Services:
    """`environment(role)` is what a process of the service finds in its environment."""

    folder: Path
    postgres: Postgres
    valkey: Valkey

    def environment(self, role: str) -> dict[str, str]:
        return {
            **os.environ,
            "SECRET_KEY": "only-for-benchmarks-" * 3,
            "ACS_KEYRING": "b1:" + base64.b64encode(b"a key of thirty-two bytes, bench").decode(),
            "ACS_PUBLIC_URL": "http://127.0.0.1",
            "ACS_LOG_LEVEL": "ERROR",
            **{f"ACS_{name}_LIMIT": "5000/second" for name in ("ADDRESS", "CREDENTIAL", "ACCOUNT", "ANONYMOUS", "BAD_CREDENTIAL")},
            "DATABASE_URL": self.postgres.url("acs", f"acs_{role}"),
            "REDIS_URL": self.valkey.url(),
        }

    def manage(self, *words: str, role: str = "owner") -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self.environment(role), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"manage.py {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout


@contextmanager
def services() -> Iterator[Services]:
    with tempfile.TemporaryDirectory(prefix="acs-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        postgres = Postgres(folder / "pg").start()
        valkey = Valkey(folder / "valkey", port=free_ports(1)[0], password="benchmark").start()
        try:
            make_database(postgres, "acs")
            made = Services(folder, postgres, valkey)
            made.manage("migrate", "-v0")
            made.manage("fleet", "init", "--without-binary")
            yield made
        finally:
            valkey.stop()
            postgres.stop()


def add_cluster(made: Services, cluster_id: str = "bench") -> None:
    """A cluster whose server is not running: bootstrap on a fleet calls none."""
    addresses = ["--listen", "127.0.0.1:1", "--metrics-listen", "127.0.0.1:2", "--client-url", "http://127.0.0.1:1"]
    made.manage(
        "fleet", "add-cluster", cluster_id, "--region", "eu", *addresses, "--capacity", "1000000", "--out", str(made.folder / cluster_id)
    )
    with psycopg.connect(made.postgres.url("acs", "acs_owner")) as connection:
        connection.execute("update placement_cluster set state = 'active', registered_at = now()")


def sample_secret(made: Services) -> str:
    """The enrolment key of a tenant with room for a million devices."""
    told = json.loads(made.manage("demo", "--admin-password", "not-used-here", "--new-secrets", role="web").strip().splitlines()[-1])
    with psycopg.connect(made.postgres.url("acs", "acs_owner")) as connection:
        connection.execute('update tenants_quota set "limit" = 1000000')
    return str(told["enrolment key"])
