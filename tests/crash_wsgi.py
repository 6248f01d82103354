"""The service, in workers that kill themselves where a request's header says: `X-Crash-At: 3:before`.

Counted are the statements, the commits and the HTTP calls of a request, in order. Without the header the answer tells how many there were.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpx2
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.signals import connection_created

from acs.wsgi import application as service

here = threading.local()


def counted(act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if getattr(here, "count", None) is None:
        return act(*args, **kwargs)
    here.count += 1
    number = here.count
    if here.crash_at == (number, "before"):
        os.kill(os.getpid(), signal.SIGKILL)
    result = act(*args, **kwargs)
    if here.crash_at == (number, "after"):
        os.kill(os.getpid(), signal.SIGKILL)
    return result


def count_statements(sender: Any, connection: Any, **_: Any) -> None:
    connection.execute_wrappers.append(counted)


connection_created.connect(count_statements, weak=False)
commit, send = DatabaseWrapper._commit, httpx2.Client.send
DatabaseWrapper._commit = lambda self: counted(commit, self)
httpx2.Client.send = lambda self, *args, **kwargs: counted(send, self, *args, **kwargs)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    number, _, when = environ.get("HTTP_X_CRASH_AT", "0:").partition(":")
    here.count, here.crash_at = 0, (int(number), when)

    def answer(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        return start_response(status, [*headers, ("X-Crash-Points", str(here.count))], *rest)

    try:
        return service(environ, answer)
    finally:
        here.count = None
