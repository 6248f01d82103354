"""gunicorn's hooks: `gunicorn --config python:acs.gunicorn acs.wsgi`."""

from __future__ import annotations

import gc
import os
from typing import Any

from prometheus_client import multiprocess

preload_app = True  # loaded once and shared by the workers: each is there at once, the first time and after a crash


def when_ready(server: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """Before the first fork: what is loaded stays out of the workers' garbage collection, which would copy the shared pages."""
    from django.conf import settings

    from placement.headscale import ahead

    if settings.HASHED_AHEAD:
        ahead.stock = ahead.Stock(settings.KEYRING, settings.HASHED_AHEAD)
    gc.collect()
    gc.freeze()


def pre_fork(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """With the first worker, and whenever one is replaced: what fills the stock of hashed keys runs."""
    from placement.headscale import ahead

    if ahead.stock is not None:
        ahead.stock.keep_filled()


def on_exit(server: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """What fills the stock ends with the server."""
    from placement.headscale import ahead

    if ahead.stock is not None:
        ahead.stock.close()


def post_worker_init(worker: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """After the fork, and after the application was loaded: what this worker knows of the fleet is kept current from here on."""
    from placement import snapshots

    snapshots.start()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """A worker that ended keeps its counts, and its gauges go."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(worker.pid)
