"""End what a demonstration started, knowing only process ids and folders. Standard library alone: the guardian must start at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path


def stop_postgres(folder: Path, *, patience: float = 20.0) -> None:
    """Fast shutdown of the PostgreSQL that runs in `folder`, if one does. It removes its postmaster.pid when it is down."""
    told = folder / "postmaster.pid"
    try:
        os.kill(int(told.read_text().split("\n", 1)[0]), signal.SIGINT)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return
    deadline = time.monotonic() + patience
    while told.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def end_groups(leaders: Iterable[int], *, patience: float = 8.0) -> None:
    """Ask process groups to end, wait, and kill what is left of them."""
    left = [leader for leader in leaders if signal_group(leader, signal.SIGTERM)]
    deadline = time.monotonic() + patience
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = [leader for leader in left if signal_group(leader, 0)]
    for leader in left:
        signal_group(leader, signal.SIGKILL)


def signal_group(leader: int, number: int) -> bool:
    """Whether there was such a group."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
