"""`make run`: everything on one machine, down to a device's first key; served until stopped.

The order is the story: servers, schema, clusters, sample data, the service, one real bootstrap. `--once` ends after that one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import httpx2
import psycopg

from acs.demo import embedded
from acs.demo.place import ROOT, CannotRun, Place, check_free
from acs.demo.processes import Process, Supervisor
from acs.demo.simulator import device

ACCOUNT = "acme-inc"
NEEDED = (0, 29, 2)


class Stopped(Exception):
    """Somebody pressed Ctrl-C, or sent SIGTERM."""


def say(text: str) -> None:
    print(text, flush=True)


class Demo:
    """One run of the demonstration."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.supervisor = Supervisor(say)
        self.postgres: embedded.Postgres | None = None
        self.secrets, self.ports = place.secrets(), place.ports()
        self.headscale = find_headscale()
        self.web = f"http://127.0.0.1:{self.ports['web']}"

    # ---- the story ---------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        self.start_servers()
        self.make_schema()
        for cluster_id in ("a", "b"):
            self.serve_cluster(cluster_id)
        told = self.make_samples()
        self.start_service()
        self.first_bootstrap(told["enrolment key"])
        self.tell(told)

    def start_servers(self) -> None:
        """PostgreSQL and Valkey: embedded, unless DATABASE_URL and REDIS_URL name others."""
        given_database, given_redis = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
        if given_database:
            self.urls = given_roles(given_database)
            check_free({name: port for name, port in self.ports.items() if name != "valkey" or not given_redis})
            say("PostgreSQL: the one that DATABASE_URL names")
        else:
            check_free({name: port for name, port in self.ports.items() if name != "valkey" or not given_redis})
            self.postgres = embedded.Postgres(self.place.folder / "pg").start()
            embedded.make_database(self.postgres, "acs")
            self.urls = {role: self.postgres.url("acs", f"acs_{role}") for role in ("owner", "web", "worker", "mover")}
            say(f"PostgreSQL: embedded, in {self.place.folder / 'pg'}")
        self.redis_url = given_redis or f"redis://:{self.secrets['valkey password']}@127.0.0.1:{self.ports['valkey']}/0"
        if not given_redis:
            command = embedded.valkey_command(
                self.place.folder / "valkey", port=self.ports["valkey"], password=self.secrets["valkey password"]
            )
            self.start("valkey", command, role="", ready=lambda: listens(self.ports["valkey"]))
        say("Valkey: the one that REDIS_URL names" if given_redis else f"Valkey: embedded, port {self.ports['valkey']}")

    def make_schema(self) -> None:
        self.manage("migrate", "--verbosity", "0")
        self.manage("fleet", "init")
        self.manage("collectstatic", "--no-input", "--verbosity", "0")
        say("Database: migrated; the fleet's schema and the roles stand")

    def serve_cluster(self, cluster_id: str) -> None:
        listen, metrics = f"127.0.0.1:{self.ports[cluster_id]}", f"127.0.0.1:{self.ports[cluster_id + ' metrics']}"
        folder = self.place.folder / "clusters" / cluster_id
        addresses = ["--listen", listen, "--metrics-listen", metrics, "--client-url", f"http://{listen}"]
        self.manage("fleet", "add-cluster", cluster_id, "--region", "local", *addresses, "--out", str(folder))
        config = str(folder / "config.yaml")
        real = [self.headscale, "serve", "--config", config] if self.headscale else []
        command = real or [sys.executable, "-m", "acs.demo.simulator", "--config", config]
        self.start(f"cluster {cluster_id}", command, role="", ready=lambda: answers(f"http://{listen}/health"))
        self.manage("cluster", "register", cluster_id)
        say(
            f"Cluster {cluster_id}: {'headscale' if self.headscale else 'simulated (no headscale >= 0.29.2 on PATH)'} at http://{listen}, active"
        )

    def make_samples(self) -> dict[str, str]:
        path = self.place.folder / "told.json"
        told: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        words = ["demo", "--account", ACCOUNT, "--admin-password", self.secrets["admin password"]]
        printed = self.manage(*words, *([] if told else ["--new-secrets"]), role="web")
        if not told:
            told = json.loads(printed.strip().splitlines()[-1])
            self.place.keep("told.json", told)
        return told

    def start_service(self) -> None:
        port, celery = self.ports["web"], [sys.executable, "-m", "celery", "-A", "acs.celery"]
        gunicorn = [
            sys.executable,
            "-m",
            "gunicorn",
            "acs.wsgi:application",
            "--bind",
            f"127.0.0.1:{port}",
            "--workers",
            "2",
            "--threads",
            "8",
        ]
        gunicorn += ["--worker-class", "gthread", "--no-control-socket"]
        beat = ["beat", "--loglevel", "WARNING", "--schedule", str(self.place.folder / "beat"), "--pidfile="]
        self.start("web", gunicorn, role="web", ready=lambda: listens(port) and self.web_answers())
        self.start("worker", [*celery, "worker", "--loglevel", "WARNING", "--concurrency", "2"], role="worker")
        self.start("beat", [*celery, *beat], role="worker")
        self.start("events", [sys.executable, "manage.py", "events", "consume"], role="worker")
        say("Service: web, worker, beat and the consumer of events are running")

    def first_bootstrap(self, secret: str) -> None:
        """One real device's request, as anyone could send it."""
        name = f"demo-{time.strftime('%H%M%S')}"
        body = {"registration_id": name, "hostname": name, "os": "linux"}
        say(f"\nPOST {self.web}/api/v1/bootstrap\nAuthorization: Bearer {secret[:16]}…\n{json.dumps(body, indent=2)}\n")
        answer = httpx2.post(f"{self.web}/api/v1/bootstrap", json=body, headers={"Authorization": f"Bearer {secret}"}, timeout=30)
        say(f"HTTP {answer.status_code}\n{json.dumps(answer.json(), indent=2)}\n")
        if answer.status_code != 200:
            raise CannotRun(f"the bootstrap was refused: {answer.json().get('code')}")
        if not self.headscale:
            joined = device.join(answer.json()["headscale_url"], answer.json()["auth_key"], name)
            say(f"A simulated device joined with that key: {joined.node.get('givenName', name)}\n")

    def tell(self, told: dict[str, str]) -> None:
        say(f"API           {self.web}/api/v1/        documentation {self.web}/api/docs")
        say(f"Admin         {self.web}/admin/         admin / {self.secrets['admin password']}")
        say(f"Enrolment key {told['enrolment key']}   (tenant {ACCOUNT})")
        say(f"API token     {told['operator token']}   (operator)")
        say(f"Logs          {self.place.folder / 'logs'}")

    # ---- the means ---------------------------------------------------------------------------------------------------

    def environment(self, role: str) -> dict[str, str]:
        own = {
            "SECRET_KEY": self.secrets["SECRET_KEY"],
            "ACS_KEYRING": self.secrets["ACS_KEYRING"],
            "ACS_PUBLIC_URL": self.web,
            "ACS_STATIC_ROOT": str(self.place.folder / "static"),
            "DJANGO_SETTINGS_MODULE": "acs.settings",
        }
        inherited = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        if not role:
            return inherited
        return {**own, **inherited, "DATABASE_URL": self.urls[role], "REDIS_URL": self.redis_url}

    def manage(self, *words: str, role: str = "owner") -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self.environment(role), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CannotRun(f"manage.py {' '.join(words[:3])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def start(self, name: str, command: list[str], *, role: str, ready: Any = None) -> None:
        log = self.place.folder / "logs" / f"{name.replace(' ', '-')}.log"
        self.supervisor.start(Process(name, command, self.environment(role), log, ready))

    def web_answers(self) -> bool:
        try:
            return httpx2.post(f"{self.web}/api/v1/bootstrap", json={"account": "nobody-at-all"}, timeout=5).status_code < 500
        except httpx2.HTTPError:
            return False

    def watch(self) -> None:
        while True:
            self.supervisor.watch()
            if self.postgres and not self.postgres.is_running():
                say("PostgreSQL ended; starting it again")
                self.postgres.start()
            time.sleep(0.5)

    def stop(self) -> None:
        self.supervisor.stop()
        if self.postgres and self.postgres.socket_folder:
            self.postgres.stop()


def given_roles(owner: str) -> dict[str, str]:
    """The logins for a database that is not embedded: one URL per kind of process. Raises: CannotRun naming the variable."""
    urls = {"owner": owner}
    for role in ("web", "worker"):
        name = f"DATABASE_URL_{role.upper()}"
        if not os.environ.get(name):
            raise CannotRun(f"DATABASE_URL names a database of your own (as its owner), so {name} must name it as acs_{role}")
        urls[role] = os.environ[name]
    try:
        psycopg.connect(owner, connect_timeout=5).close()
    except psycopg.Error as error:
        raise CannotRun(f"DATABASE_URL: {error}") from error
    return urls


def find_headscale() -> str:
    """The headscale on PATH that is new enough; nothing where there is none, or ACS_DEMO_SIMULATOR asks for the simulator."""
    path = shutil.which("headscale")
    if path is None or os.environ.get("ACS_DEMO_SIMULATOR"):
        return ""
    told = subprocess.run([path, "version"], capture_output=True, text=True, check=False, timeout=20).stdout
    match = re.search(r"v?(\d+)\.(\d+)\.(\d+)", told)
    return path if match and tuple(map(int, match.groups())) >= NEEDED else ""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    raise Stopped


def main() -> int:
    parser = argparse.ArgumentParser(description="The whole service on this machine.")
    parser.add_argument("--once", action="store_true", help="end after the first bootstrap")
    parser.add_argument("--data", type=Path, default=ROOT / ".data", help="where everything is kept")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    demo = None
    try:
        demo = Demo(Place.take(options.data.resolve()))
        demo.serve()
        if not options.once:
            say("\nServing until you press Ctrl-C.")
            demo.watch()
    except Stopped:
        say("\nStopping.")
    except (CannotRun, RuntimeError) as reason:
        print(f"\nmake run: {reason}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if demo:
            demo.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
