"""Commands of manage.py one after the other in one process, for loading Django takes longer than most of them.

One JSON line on standard input is a command's words, one on standard output what became of it. It ends when its input does.
"""

from __future__ import annotations

import io
import json
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout


def carry_out(words: list[str]) -> int:
    """The command's exit code; what it prints goes where a command's own output goes."""
    from django.core.management import ManagementUtility

    try:
        ManagementUtility(["manage.py", *words]).execute()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001 - a command's traceback is what it has to say
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    for line in sys.stdin:
        said, complained = io.StringIO(), io.StringIO()
        with redirect_stdout(said), redirect_stderr(complained):
            code = carry_out(json.loads(line))
        print(json.dumps({"code": code, "said": said.getvalue(), "complained": complained.getvalue()}), flush=True)


if __name__ == "__main__":
    main()
