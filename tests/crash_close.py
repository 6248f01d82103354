"""Closers of months: each line of standard input, `2026-06 3:before`, is one worker in a process of its own, which kills itself at that point.

Lines that end in `&` are started without waiting; `wait` answers with every exit status, negative for the signal that ended it. Each worker is a fork.
"""

from __future__ import annotations

import os
import sys

import django

django.setup()

from datetime import UTC, datetime, timedelta  # noqa: E402 - settings come first

from billing import closing  # noqa: E402
from billing.rating.cycles import month_of  # noqa: E402
from tests import crash_points  # noqa: E402


def fork(month: str, place: str) -> int:
    worker = os.fork()
    if worker == 0:
        status = 1
        try:
            crash_points.begin("" if place == "-" else place)
            period = month_of(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC))
            closing.work(period, period.end + timedelta(hours=1), "system:tests")
            status = 0
        finally:
            os._exit(status)
    return worker


def exit_of(worker: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])


running: list[int] = []
for line in sys.stdin:
    month, *place = line.split()
    if month == "wait":
        print(*(exit_of(worker) for worker in running), flush=True)
        running.clear()
    elif place[-1] == "&":
        running.append(fork(month, place[0]))
    else:
        print(exit_of(fork(month, *place)), flush=True)
