"""`make clean`: remove a demonstration's data, unless it is running."""

from __future__ import annotations

import shutil
import sys

from acs.demo import leftovers
from acs.demo.place import ROOT, CannotRun, Place


def main() -> int:
    folder = ROOT / ".data"
    if not folder.exists():
        return 0
    try:
        Place.take(folder)
    except CannotRun as reason:
        print(f"make clean: {reason}", file=sys.stderr)
        return 1
    leftovers.stop_postgres(folder / "pg")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
