"""The service, in workers that kill themselves where a request's header says: `X-Crash-At: 3:before`.

Counted are the statements, the commits and the HTTP calls of a request, in order. Without the header the answer tells how many there were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from acs.wsgi import application as service
from tests.crash_points import begin, here


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    begin(environ.get("HTTP_X_CRASH_AT", ""))

    def answer(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        return start_response(status, [*headers, ("X-Crash-Points", str(here.count))], *rest)

    try:
        return service(environ, answer)
    finally:
        here.count = None
