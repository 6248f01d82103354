"""Writers of policies: each line of standard input, `CLUSTER 3:before`, is one push in a process of its own, which kills itself at that point.

Answered by a line with the push's exit status, negative for the signal that ended it. Django is loaded once, and each writer is a fork.
"""

from __future__ import annotations

import os
import sys

import django

django.setup()

from django.utils import timezone  # noqa: E402 - settings come first

from placement.policies.pushing import push  # noqa: E402
from tests import crash_points  # noqa: E402


def write(cluster_id: str, place: str) -> None:
    crash_points.begin(place)
    push(cluster_id, timezone.now())


for line in sys.stdin:
    writer = os.fork()
    if writer == 0:
        status = 1
        try:
            write(*line.split())
            status = 0
        finally:
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]), flush=True)
