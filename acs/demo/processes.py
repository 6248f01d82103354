"""The processes of a demonstration: started, watched, started again with growing pauses when they end, stopped together.

All of it happens in the main thread: Linux sends a child's parent-death signal when the *thread* that made it ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from acs.demo.place import ROOT

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY = 60.0  # seconds after which a process counts as healthy again
PR_SET_PDEATHSIG = 1


@dataclass
class Process:
    """One supervised process. `ready` says whether it does its job already."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], bool] | None = None
    child: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = 0
    again_at: float = field(default=0.0)

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
        self.started_at = time.monotonic()

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return "\n".join(lines[-12:])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Holds the processes in the order in which they were started; stops them in the reverse one."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.processes: list[Process] = []

    def start(self, process: Process, *, patience: float = 60.0) -> None:
        """Start and wait until it is ready. Raises: RuntimeError with the end of its log."""
        self.processes.append(process)
        process.start()
        deadline = time.monotonic() + patience
        while process.ready and not process.ready():
            if process.child and process.child.poll() is not None:
                raise RuntimeError(f"{process.name} ended at once:\n{process.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{process.name} is not ready after {patience:.0f} s:\n{process.tail()}")
            time.sleep(0.1)

    def watch(self) -> None:
        """One look: what ended is reported and, after its pause, started again."""
        now = time.monotonic()
        for process in self.processes:
            if process.child is not None and (code := process.child.poll()) is not None:
                if now - process.started_at > STEADY:
                    process.restarts = 0
                pause = PAUSES[min(process.restarts, len(PAUSES) - 1)]
                process.child, process.again_at = None, now + pause
                process.restarts += 1
                self.say(f"{process.name} ended ({_told(code)}); starting it again in {pause:g} s, its log is {process.log}")
            elif process.child is None and now >= process.again_at:
                process.start()
                self.say(f"{process.name} is running again")

    def stop(self) -> None:
        """Ask all, wait, kill what is left of their groups."""
        alive = [process.child for process in self.processes if process.child is not None]
        for process in reversed(self.processes):
            if process.child is None:
                continue
            _signal(process.child, signal.SIGTERM)
            if process.name in ("web", "worker", "beat", "events"):
                _wait(process.child, 8.0)  # they still need the servers below them
        deadline = time.monotonic() + 10.0
        for child in alive:
            _wait(child, max(0.1, deadline - time.monotonic()))
            _signal(child, signal.SIGKILL)
        self.processes.clear()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def _told(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
