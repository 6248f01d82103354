"""`manage.py events consume`: the process that listens to the fleets' outboxes."""

from __future__ import annotations

import signal
import threading
from typing import Any

import psycopg
import structlog
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, close_old_connections, connection

from placement import events, fleetdb
from placement.errors import PlacementError
from placement.models import Fleet

log = structlog.get_logger(__name__)

IDLE = 5.0  # seconds after which it looks even if nobody rang: a notification can be lost with its connection
LONGEST_PAUSE = 10.0


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Consume the events of every fleet (or of --fleet NAME) until stopped; --once handles what waits and ends."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=["consume"])
        parser.add_argument("--fleet", help="only this fleet")
        parser.add_argument("--once", action="store_true", help="handle what waits, then end")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        fleets = list(Fleet.objects.filter(name=options["fleet"]) if options["fleet"] else Fleet.objects.all())
        if options["once"]:
            for fleet in fleets:
                self.stdout.write(f"{fleet.name}: {drain(fleet)} events")
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        threads = [threading.Thread(target=follow, args=(fleet, stop), daemon=True) for fleet in fleets]
        for thread in threads:
            thread.start()
        while not stop.wait(1.0):
            pass
        for thread in threads:
            thread.join(timeout=10)


def drain(fleet: Fleet) -> int:
    """Handle everything that waits."""
    total = 0
    while handled := events.consume(fleet):
        total += handled
    return total


def follow(fleet: Fleet, stop: threading.Event) -> None:
    """Listen, drain, and come back with growing pauses when the database goes away."""
    pause = 0.5
    while not stop.is_set():
        try:
            with fleetdb.listen(fleet) as bell:
                drain(fleet)
                pause = 0.5
                while not stop.is_set():
                    _wait(bell, stop)
                    drain(fleet)
        except (psycopg.Error, DatabaseError, PlacementError) as error:
            log.warning("events_interrupted", fleet=fleet.name, error=str(error))
            close_old_connections()
            stop.wait(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
    connection.close()


def _wait(bell: psycopg.Connection[Any], stop: threading.Event) -> None:
    """Until the bell rings, IDLE passes or we are to stop (looked at every half second)."""
    waited = 0.0
    while waited < IDLE and not stop.is_set():
        if next(bell.notifies(timeout=0.5, stop_after=1), None):
            return
        waited += 0.5
