"""Importers of statements: each line of standard input, `/path/june.xml 3:before`, is one import in a process of its own, which kills itself at that point.

Each is a fork. The line is answered with its exit status, negative for the signal that ended it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django

django.setup()

from billing.payments import importing  # noqa: E402 - settings come first
from tests import crash_points  # noqa: E402
from tests.billing.payments.paid import DONE  # noqa: E402


def exit_of(file: str, place: str) -> int:
    worker = os.fork()
    if worker == 0:
        status = 1
        try:
            crash_points.begin("" if place == "-" else place)
            importing.from_camt(Path(file).read_bytes(), name=file, **DONE)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])


for line in sys.stdin:
    print(exit_of(*line.split()), flush=True)
