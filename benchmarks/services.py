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
from dataclasses import dataclass, field
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
    hands: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def environment(self, role: str) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "acs.settings",
            "SECRET_KEY": "only-for-benchmarks-" * 3,
            "ACS_KEYRING": "b1:" + base64.b64encode(b"a key of thirty-two bytes, bench").decode(),
            "ACS_PUBLIC_URL": "http://127.0.0.1",
            "ACS_LOG_LEVEL": "ERROR",
            **{f"ACS_{name}_LIMIT": "5000/second" for name in ("ADDRESS", "CREDENTIAL", "ACCOUNT", "ANONYMOUS", "BAD_CREDENTIAL")},
            "DATABASE_URL": self.postgres.url("acs", f"acs_{role}"),
            "REDIS_URL": self.valkey.url(),
        }

    def manage(self, *words: str, role: str = "owner") -> str:
        """One process a role does all commands: loading Django takes longer than most of them."""
        hand = self.hands.get(role)
        if hand is None or hand.poll() is not None:
            command, pipe = [sys.executable, "-m", "acs.demo.hand"], subprocess.PIPE
            hand = subprocess.Popen(
                command, cwd=ROOT, env=self.environment(role), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
            )
            self.hands[role] = hand
        assert hand.stdin
        assert hand.stdout
        print(json.dumps(words), file=hand.stdin, flush=True)
        told = json.loads(hand.stdout.readline())
        if told["code"]:
            raise SystemExit(f"manage.py {' '.join(words)}: {told['said']}{told['complained']}")
        return str(told["said"])

    def rest(self) -> None:
        """Nobody commands any more."""
        for hand in self.hands.values():
            hand.kill()
            hand.wait()


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
            try:
                made.manage("migrate", "-v0")
                made.manage("fleet", "init", "--without-binary")
                yield made
            finally:
                made.rest()
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
