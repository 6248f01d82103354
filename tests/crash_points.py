"""Where a process may kill itself: before and after each of its statements, commits and HTTP calls, counted in order once `begin` was called."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import httpx2
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.signals import connection_created

here = threading.local()


def begin(place: str) -> None:
    """Count this thread's points from now on, and die at `3:before`; at none, where the text is empty."""
    number, _, when = (place or "0:").partition(":")
    here.count, here.crash_at = 0, (int(number), when)


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
