"""Senders of notices: each line of standard input, `3:before`, is one in a process of its own, which kills itself at that point; the answer is its exit status."""

from __future__ import annotations

import os
import sys

import django

django.setup()

from django.db import connection  # noqa: E402 - settings come first

from billing.notices import sending  # noqa: E402
from tests import crash_points  # noqa: E402


def fork(place: str) -> int:
    sender = os.fork()
    if sender == 0:
        status = 1
        try:
            connection.ensure_connection()
            crash_points.begin("" if place == "-" else place)
            sending.send()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(sender, 0)[1])


for line in sys.stdin:
    print(fork(line.strip()), flush=True)
