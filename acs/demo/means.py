"""How the demonstration does things: a command of manage.py, a supervised process, each with the environment of its role."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

from acs.demo import given
from acs.demo.place import ROOT, CannotRun, Place
from acs.demo.processes import Process, Supervisor

OURS = ("DATABASE_URL", "REDIS_URL", *given.ROLES.values())  # told to each process by its role, never inherited


@dataclass
class Means:
    """`urls` are the databases by role, `web` the address of the service."""

    place: Place
    web: str
    secrets: dict[str, str]
    supervisor: Supervisor
    urls: dict[str, str]
    redis_url: str
    hand: subprocess.Popen[str] | None = None

    def environment(self, role: str) -> dict[str, str]:
        """Of a process that logs in as acs_<role>. A foreign program (no role) is told none of our secrets."""
        inherited = {name: value for name, value in os.environ.items() if name not in OURS and (role or name not in self.secrets)}
        if not role:
            return inherited
        return {
            "SECRET_KEY": self.secrets["SECRET_KEY"],
            "ACS_PUBLIC_URL": self.web,
            "ACS_STATIC_ROOT": str(self.place.folder / "static"),
            "ACS_POLL_SECONDS": "10",
            **inherited,
            "ACS_KEYRING": self.secrets["ACS_KEYRING"],
            "DJANGO_SETTINGS_MODULE": "acs.settings",
            "DATABASE_URL": self.urls[role],
            "REDIS_URL": self.redis_url,
        }

    def manage(self, *words: str, role: str = "owner", stdin: str = "") -> str:
        """What `manage.py WORDS` printed. Raises: CannotRun with what it said."""
        done = self._at_once(words, role, stdin) if stdin or role != "owner" else self._by_hand(words)
        if done.returncode:
            reason = re.search(r"^(?:\S*ImproperlyConfigured|CommandError): (.*)", done.stderr, re.MULTILINE | re.DOTALL)
            said = reason[1] if reason else f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise CannotRun(f"manage.py {' '.join(words[:3])}: {said.strip()}")
        return done.stdout

    def _at_once(self, words: tuple[str, ...], role: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *words]
        return subprocess.run(command, cwd=ROOT, env=self.environment(role), input=stdin, capture_output=True, text=True, check=False)

    def _by_hand(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        """By the owner's process for all such commands. Where it cannot even begin, the command itself tells best why."""
        if self.hand is None:
            command, pipe = [sys.executable, "-m", "acs.demo.hand"], subprocess.PIPE
            self.hand = subprocess.Popen(
                command, cwd=ROOT, env=self.environment("owner"), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
            )
        try:
            print(json.dumps(words), file=self.hand.stdin, flush=True)
            told = json.loads(self.hand.stdout.readline() if self.hand.stdout else "")
        except (BrokenPipeError, ValueError):
            self.let_go()
            return self._at_once(words, "owner")
        return subprocess.CompletedProcess(words, told["code"], told["said"], told["complained"])

    def let_go(self) -> None:
        """No command is left for the owner's process."""
        if self.hand:
            self.hand.kill()
            self.hand.communicate()
            self.hand = None

    def start(
        self, name: str, command: list[str], *, role: str = "", ready: Callable[[], bool] | None = None, replaces: bool = False
    ) -> None:
        """A supervised process with a log of its own. The service's processes count into one folder, for /metrics."""
        log = self.place.folder / "logs" / f"{name.replace(' ', '-')}.log"
        counted = {"PROMETHEUS_MULTIPROC_DIR": str(self.place.folder / "metrics")} if role else {}
        self.supervisor.start(Process(name, command, {**self.environment(role), **counted}, log, ready, replaces))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False
