"""`python -m acs.demo.guardian DATA`: outlives a demonstration that was killed, and ends what it left.

Its standard input comes from the supervisor: a line `PID` for each process group started, `-PID` for each that ended, `done` after an
orderly stop. When the input ends without `done`, nobody else will stop the groups and PostgreSQL. While it lives it holds the lock
DATA/guardian, for which the next demonstration waits.
"""

from __future__ import annotations

import fcntl
import signal
import sys
from pathlib import Path

from acs.demo import leftovers


def main() -> int:
    data = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with (data / "guardian").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print("ready", flush=True)
        groups: set[int] = set()
        for line in sys.stdin:
            word = line.strip()
            if word == "done":
                return 0
            (groups.discard if word.startswith("-") else groups.add)(abs(int(word)))
        leftovers.end_groups(groups)
        leftovers.stop_postgres(data / "pg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
