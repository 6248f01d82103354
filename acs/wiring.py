"""What happens after a commit: audit events are sealed, new bindings reach the gateway, lost entitlements reach the servers."""

from __future__ import annotations

import structlog
from kombu.exceptions import OperationalError

from tenants import audit

log = structlog.get_logger(__name__)


def connect() -> None:
    audit.SEALERS[:] = [seal_soon]


def seal_soon() -> None:
    """The broker being down is no reason to fail an act: the schedule seals within seconds of its return."""
    from acs.tasks import seal_audit

    enqueue(seal_audit)


def enqueue(task: object, *arguments: object) -> None:
    """Send a task that the schedule would do later anyway."""
    try:
        task.apply_async(arguments, ignore_result=True, expires=60)  # type: ignore[attr-defined]
    except OperationalError as error:
        log.warning("not_enqueued", task=getattr(task, "name", ""), error=str(error))
