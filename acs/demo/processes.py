"""The processes of a demonstration: started, watched, started again with growing pauses when they end, stopped together.

All of it happens in the main thread: Linux sends a child's parent-death signal when the *thread* that made it ends. Where there is no such
signal, and for what a child started itself, a guardian process does the same (acs/demo/guardian.py).
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil  # type: ignore[import-untyped]

from acs.demo import leftovers
from acs.demo.place import ROOT

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY = 60.0  # seconds after which a process counts as healthy again
PR_SET_PDEATHSIG = 1
LOOK_AT_WORKERS = 2.0  # seconds between looks


class Stopped(Exception):
    """Somebody pressed Ctrl-C, or sent SIGTERM."""


class Interrupts:
    """Turns signals into Stopped, but never between the making of a process and its being written down."""

    def __init__(self) -> None:
        self._held = self._came = False

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._heard)

    def close_ears(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _heard(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        if not self._held:
            raise Stopped
        self._came = True

    @contextmanager
    def held(self) -> Iterator[None]:
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._came:
            raise Stopped


@dataclass
class Process:
    """One supervised process. `ready` says whether it does its job already; `replaces` that it keeps workers and replaces lost ones itself."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], bool] | None = None
    replaces: bool = False
    child: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = 0
    again_at: float = 0.0
    workers: set[int] = field(default_factory=set)
    looked_at: float = 0.0

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.child = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread only, see above
            )
        self.started_at, self.workers = time.monotonic(), set()

    def lost_workers(self, now: float) -> set[int]:
        """Process ids of workers that were there at the last look and are gone."""
        if not self.replaces or self.child is None or now - self.looked_at < LOOK_AT_WORKERS:
            return set()
        self.looked_at, before = now, self.workers
        try:
            self.workers = {one.pid for one in psutil.Process(self.child.pid).children() if one.status() != psutil.STATUS_ZOMBIE}
        except psutil.Error:
            return set()  # the process itself, or a worker, ended this moment: the next look tells
        return before - self.workers

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return "\n".join(lines[-12:])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Holds the processes in the order in which they were started; stops them in the reverse one."""

    def __init__(self, say: Callable[[str], None], interrupts: Interrupts, data: Path) -> None:
        self.say, self.interrupts = say, interrupts
        self.processes: list[Process] = []
        self._guardian = _guardian(data)

    def start(self, process: Process, *, patience: float = 60.0) -> None:
        """Start and wait until it is ready. Raises: RuntimeError with the end of its log."""
        with self.interrupts.held():
            self._launch(process)
            self.processes.append(process)
        deadline = time.monotonic() + patience
        while process.ready and not process.ready():
            if process.child and process.child.poll() is not None:
                raise RuntimeError(f"{process.name} ended at once:\n{process.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{process.name} is not ready after {patience:.0f} s:\n{process.tail()}")
            time.sleep(0.1)

    def _launch(self, process: Process) -> None:
        process.start()
        if process.child:
            self._tell_guardian(str(process.child.pid))

    def watch(self) -> None:
        """One look: what ended is reported and, after its pause, started again."""
        now = time.monotonic()
        for process in self.processes:
            if process.child is not None and (code := process.child.poll()) is not None:
                self._note_end(process, code, now)
            elif process.child is None and now >= process.again_at:
                with self.interrupts.held():
                    self._launch(process)
                self.say(f"{process.name} is running again")
            for worker in process.lost_workers(now):
                self.say(f"{process.name}: its worker process {worker} ended; {process.name} replaced it, its log is {process.log}")

    def _note_end(self, process: Process, code: int, now: float) -> None:
        if process.child is not None:
            leftovers.signal_group(process.child.pid, signal.SIGKILL)  # its workers would hold its port
            self._tell_guardian(f"-{process.child.pid}")
        if now - process.started_at > STEADY:
            process.restarts = 0
        pause = PAUSES[min(process.restarts, len(PAUSES) - 1)]
        process.child, process.again_at = None, now + pause
        process.restarts += 1
        self.say(f"{process.name} ended ({_told(code)}); starting it again in {pause:g} s, its log is {process.log}")

    def stop(self) -> None:
        """Ask all, wait, kill what is left of their groups."""
        alive = [process.child for process in self.processes if process.child is not None]
        for process in reversed(self.processes):
            if process.child is None:
                continue
            leftovers.signal_group(process.child.pid, signal.SIGTERM)
            if process.name in ("web", "worker", "beat", "events"):
                _wait(process.child, 8.0)  # they still need the servers below them
        deadline = time.monotonic() + 10.0
        for child in alive:
            _wait(child, max(0.1, deadline - time.monotonic()))
            leftovers.signal_group(child.pid, signal.SIGKILL)
        self.processes.clear()

    def dismiss_guardian(self) -> None:
        """After the last server is down."""
        self._tell_guardian("done")
        if self._guardian.stdin:
            self._guardian.stdin.close()
        _wait(self._guardian, 5.0)

    def _tell_guardian(self, word: str) -> None:
        try:
            if self._guardian.stdin:
                self._guardian.stdin.write(f"{word}\n".encode())
                self._guardian.stdin.flush()
        except OSError:
            return  # somebody killed it; then there is none


def _guardian(data: Path) -> subprocess.Popen[bytes]:
    with (data / "logs" / "guardian.log").open("ab") as log:
        guardian = subprocess.Popen(
            [sys.executable, "-m", "acs.demo.guardian", str(data)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    if guardian.stdout:
        guardian.stdout.readline()  # it holds its lock now
    return guardian


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def _told(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
