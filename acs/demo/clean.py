"""`make clean`, `python -m acs.demo.clean [DATA]`: remove a demonstration's data, unless it is running."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from acs.demo import leftovers
from acs.demo.place import ROOT, CannotRun, Place


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".data"
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
