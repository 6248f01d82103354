"""`make run`: everything on one machine, down to a device's first key; served until stopped.

The order is the story: servers, schema, clusters, sample data, the service, one real bootstrap. `--once` ends after that one. This process
only supervises: what needs Django runs in processes of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import yaml

from acs.demo import embedded, first, given, leftovers
from acs.demo.means import Means, answers, listens
from acs.demo.place import ROOT, CannotRun, Place, check_free
from acs.demo.processes import Interrupts, Stopped, Supervisor

ACCOUNT = "acme-inc"


def say(text: str) -> None:
    print(text, flush=True)


def tell(what: str, text: str) -> None:
    say(f"{what:12} {text}")


class Demo:
    """One run of the demonstration."""

    def __init__(self, place: Place, interrupts: Interrupts) -> None:
        self.place, self.given, self.headscale = place, given.read(), given.find_headscale()
        self.secrets, self.ports = place.secrets(), place.ports()
        self.wants_device = bool(os.environ.get("DEVICE"))
        self.web = f"http://127.0.0.1:{self.ports['web']}"
        self.postgres: embedded.Postgres | None = None
        self._check()
        self.supervisor = Supervisor(say, interrupts, place.folder)
        self.means = Means(place, self.web, self.secrets, self.supervisor, self.given.databases, self.given.redis_url)
        self.start, self.manage = self.means.start, self.means.manage

    def _check(self) -> None:
        check_free({name: port for name, port in self.ports.items() if name != "valkey" or not self.given.redis_url})
        missing = [program for program in ("tailscale", "tailscaled") if shutil.which(program) is None]
        if self.wants_device and (missing or not self.headscale.path):
            raise CannotRun(f"DEVICE asks for a real device: {', '.join(missing) + ' not on PATH' if missing else self.headscale.why_not}")

    # ---- the story ---------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        self.start_servers()
        self.make_schema()
        for cluster_id in ("a", "b"):
            self.serve_cluster(cluster_id)
        told = self.make_samples()
        self.means.let_go()
        self.start_service()
        answer = first.bootstrap(self.web, told["enrolment key"], say)
        self.join(answer, told["operator token"])
        self.tell_addresses(told)

    def start_servers(self) -> None:
        if self.given.databases:
            tell("PostgreSQL", "the one that DATABASE_URL names")
        else:
            self.postgres = embedded.Postgres(self.place.folder / "pg")
            self.postgres.start()
            embedded.make_database(self.postgres, "acs")
            self.means.urls = {role: self.postgres.url("acs", f"acs_{role}") for role in ("owner", "web", "worker")}
            tell("PostgreSQL", f"embedded, in {self.place.folder / 'pg'}")
        if self.given.redis_url:
            tell("Valkey", "the one that REDIS_URL names")
        else:
            port, password = self.ports["valkey"], self.secrets["valkey password"]
            self.means.redis_url = f"redis://:{password}@127.0.0.1:{port}/0"
            self.start(
                "valkey", embedded.valkey_command(self.place.folder / "valkey", port=port, password=password), ready=lambda: listens(port)
            )
            tell("Valkey", f"embedded, port {port}")

    def make_schema(self) -> None:
        self.manage("migrate", "--verbosity", "0")
        self.make_fleet()
        for role, name in given.ROLES.items() if self.given.databases else ():
            given.try_login(name, self.means.urls[role])
        self.manage("collectstatic", "--no-input", "--verbosity", "0")
        tell("Database", "migrated; the fleet's schema and the roles stand")

    def make_fleet(self) -> None:
        """What is missing; and where headscale is newer than the fleet's tables, it changes them."""
        told = self.manage("fleet", "init", *([] if self.headscale.path else ["--without-binary"]))
        stands = re.search(r"headscale (v\S+);", told)
        if self.headscale.path and stands and given.numbers(stands[1]) < given.numbers(self.headscale.version):
            self.manage("fleet", "upgrade")
            tell("Fleet", f"upgraded from headscale {stands[1]} to {self.headscale.version}")

    def serve_cluster(self, cluster_id: str) -> None:
        listen, metrics = f"127.0.0.1:{self.ports[cluster_id]}", f"127.0.0.1:{self.ports[cluster_id + ' metrics']}"
        config = self.place.folder / "clusters" / cluster_id / "config.yaml"
        addresses = ["--listen", listen, "--metrics-listen", metrics, "--client-url", f"http://{listen}"]
        self.manage("fleet", "add-cluster", cluster_id, "--region", "local", *addresses, "--out", str(config.parent))
        command = [sys.executable, "-m", "acs.demo.simulator", "--config", str(config)]
        if self.headscale.path:
            grpc = yaml.safe_load(config.read_text())["grpc_listen_addr"]
            check_free({f"{cluster_id} gRPC": int(grpc.rpartition(":")[2])})
            command = [self.headscale.path, "serve", "--config", str(config)]
        self.start(f"cluster {cluster_id}", command, ready=lambda: answers(f"http://{listen}/health"))
        self.manage("cluster", "register", cluster_id)
        kind = f"headscale {self.headscale.version}" if self.headscale.path else f"simulated ({self.headscale.why_not})"
        tell(f"Cluster {cluster_id}", f"{kind}, active at http://{listen}")

    def make_samples(self) -> dict[str, str]:
        """What can be told only once is kept beside the other secrets; what does not open the database's doors is issued anew."""
        known = {**self.place.kept("told.json"), "admin password": self.secrets["admin password"]}
        told: dict[str, str] = json.loads(self.manage("demo", "--account", ACCOUNT, "--stdin", role="web", stdin=json.dumps(known)))
        self.place.keep("told.json", told)
        tell("Tenant", f"{ACCOUNT}, with an enrolment key")
        return told

    def start_service(self) -> None:
        metrics = self.place.folder / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)  # counts of processes that are gone
        metrics.mkdir()
        python, celery = [sys.executable, "-m"], [sys.executable, "-m", "celery", "-A", "acs.celery"]
        web = [*python, "gunicorn", "acs.wsgi:application", "--config", "python:acs.gunicorn", "--bind", f"127.0.0.1:{self.ports['web']}"]
        web += ["--worker-class", "gthread", "--workers", "2", "--threads", "8", "--no-control-socket"]
        beat = ["beat", "--loglevel", "WARNING", "--schedule", str(self.place.folder / "beat"), "--pidfile="]
        self.start("web", web, role="web", ready=lambda: answers(f"{self.web}/healthz"), replaces=True)
        self.start("worker", [*celery, "worker", "--loglevel", "WARNING", "--concurrency", "2"], role="worker", replaces=True)
        self.start("beat", [*celery, *beat], role="worker")
        self.start("events", [sys.executable, "manage.py", "events", "consume"], role="worker")
        tell("Service", f"web at {self.web}, worker, beat and the consumer of events")

    def join(self, answer: dict[str, str], token: str) -> None:
        if self.wants_device:
            self.join_real(answer)
        elif not self.headscale.path:
            first.join_simulated(self.place, answer, say)
        else:
            say("That command lets a device of this machine in; `make run DEVICE=1` brings one along.\n")
            return
        first.wait_until_known(self.web, ACCOUNT, token, say)
        say("")

    def join_real(self, answer: dict[str, str]) -> None:
        folder = self.place.folder / "device"
        folder.mkdir(exist_ok=True)
        state = [f"--statedir={folder}", f"--socket={folder / 's'}"]
        daemon = ["tailscaled", "--tun=userspace-networking", *state, "--port=0", "--no-logs-no-support"]
        self.start("device", daemon, ready=(folder / "s").exists)
        first.join_real(str(folder / "s"), answer, say)

    def tell_addresses(self, told: dict[str, str]) -> None:
        tell("API", f"{self.web}/api/v1/   documentation: {self.web}/api/docs")
        tell("Admin", f"{self.web}/admin/    admin / {self.secrets['admin password']}")
        tell("Enrolment", f"{told['enrolment key']}   (key of tenant {ACCOUNT})")
        tell("API token", f"{told['operator token']}   (operator)")
        tell("Logs", f"{self.place.folder / 'logs'}")

    def watch(self) -> None:
        while True:
            self.supervisor.watch()
            if self.postgres and not self.postgres.is_running():
                self.revive(self.postgres)
            time.sleep(0.5)

    def revive(self, postgres: embedded.Postgres) -> None:
        say(f"PostgreSQL ended; starting it again, its log is {postgres.folder / 'log'}")
        while True:
            try:
                postgres.revive()
            except (subprocess.SubprocessError, OSError, psycopg.Error):
                time.sleep(1.0)
            else:
                say("PostgreSQL is running again")
                return

    def stop(self) -> None:
        self.means.let_go()
        self.supervisor.stop()
        if not self.given.databases:
            leftovers.stop_postgres(self.place.folder / "pg")
        self.supervisor.dismiss_guardian()


def main() -> int:
    parser = argparse.ArgumentParser(description="The whole service on this machine.")
    parser.add_argument("--once", action="store_true", help="end after the first bootstrap")
    parser.add_argument("--data", type=Path, default=ROOT / ".data", help="where everything is kept")
    options = parser.parse_args()
    interrupts, demo = Interrupts(), None
    interrupts.listen()
    try:
        demo = Demo(Place.take(options.data.resolve()), interrupts)
        demo.serve()
        if not options.once:
            say("\nServing until you press Ctrl-C.")
            demo.watch()
    except Stopped:
        say("\nStopping.")
        return 0 if not options.once else 130
    except (CannotRun, RuntimeError) as reason:
        print(f"\nmake run: {reason}", file=sys.stderr)
        return 1
    finally:
        interrupts.close_ears()
        if demo:
            demo.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
