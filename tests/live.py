"""The service's own processes, as a machine would run them: gunicorn under the web role, Celery and the consumer under the worker's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from placement.headscale.fleet.binary import free_ports
from tests.conftest import ROOT, service_environment

STEP = 1 if os.environ.get("ACS_EXAMPLES") else 3  # long walks of kills take every third point; with ACS_EXAMPLES set, every one


@dataclass(frozen=True)
class Answer:
    """What the door said; status 0: the connection broke."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))

    @property
    def auth_key(self) -> str:
        return str(self.body.get("auth_key", ""))


@dataclass
class LiveService:
    """A gunicorn with the web role's rights."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def bootstrap(self, secret: str | None, *, idempotency_key: str = "", timeout: float = 30.0, crash_at: str = "", **body: Any) -> Answer:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        if crash_at:
            headers["X-Crash-At"] = crash_at
        try:
            answer = httpx2.post(f"{self.url}/api/v1/bootstrap", json=body, headers=headers, timeout=timeout)
        except httpx2.HTTPError:
            return Answer(0, {}, {})
        return Answer(answer.status_code, json.loads(answer.content or b"{}"), dict(answer.headers))

    def workers(self) -> list[int]:
        return [pid for pid in self._children() if pid not in self.hashers()]

    def hashers(self) -> list[int]:
        """What fills the stock of hashed keys: one, or none for a moment."""
        return [pid for pid in self._children() if b"placement.headscale.hashing" in _words(pid)]

    def _children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@contextmanager
def run_web(
    folder: Path, *, workers: int = 4, threads: int = 8, application: str = "acs.wsgi:application", **environment: str
) -> Iterator[LiveService]:
    port = free_ports(1)[0]
    log = folder / f"web-{port}.log"
    command = [sys.executable, "-m", "gunicorn", application, "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    command += ["--worker-class", "gthread", "--threads", str(threads), "--no-control-socket", "--graceful-timeout", "2"]
    command += ["--config", "python:acs.gunicorn"]
    with run(command, log, role="web", **{"ACS_WEB_THREADS": str(threads), **environment}) as process:
        service = LiveService(f"http://127.0.0.1:{port}", process, log)
        wait_for(lambda: service.bootstrap(None, account="nobody-at-all").status, "the web server answers", log=log)
        yield service


@contextmanager
def run_consumer(folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with run([sys.executable, "manage.py", "events", "consume"], folder / "consumer.log", role="worker", **environment) as process:
        yield process


@contextmanager
def run(command: list[str], log: Path, *, role: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, gone with all its children when the block ends."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **service_environment(role), **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(timeout=8)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def wait_for(true: Callable[[], Any], what: str, *, seconds: float = 20.0, log: Path | None = None) -> Any:
    """Until `true` is; its last value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if seen := true():
            return seen
        time.sleep(0.05)
    raise AssertionError(f"after {seconds:.0f} s: not so that {what}" + (f"\n{log.read_text()[-3000:]}" if log else ""))


def race(count: int, act: Callable[[int], Any]) -> list[Any]:
    """All at once, each in a thread of its own."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(act, range(count)))


def race_here(count: int, act: Callable[[int], Any]) -> list[Any]:
    """The same for what uses this process's own database: every thread gives its connection back."""
    from django.db import connection

    def closing(number: int) -> Any:
        try:
            return act(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(min(count, 8)) as pool:
        return list(pool.map(closing, range(count)))


def together(acts: Sequence[Callable[[], Any]]) -> list[Any]:
    """All at once, each in a thread of its own; what they raised is raised."""
    from django.db import connection

    results: list[Any] = [None] * len(acts)
    ready = threading.Barrier(len(acts))

    def run(number: int) -> None:
        try:
            ready.wait(timeout=10)
            results[number] = acts[number]()
        except BaseException as error:  # noqa: BLE001 - told below
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[number]) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "it hangs"
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
