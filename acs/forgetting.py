"""What is kept how long: everything that callers can write is forgotten here, by its age, and where it comes without asking much, by number too.

Whoever holds one credential can make up a million devices, and whoever holds none can make up a million requests.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.sessions.models import Session

from placement import history, logins, retention
from placement.diagnosis import notes
from placement.grants import IDEMPOTENCY_HELD
from placement.models import Echo, LoadSample
from placement.policies import findings
from placement.policies import history as pushes
from tenants import enrolments, groups, peerings, windows
from tenants.models import Peering, SpentToken

MOST_ENDED = 1000  # peerings of a host: what it offers and takes back costs it nothing
ENDED_HELD = timedelta(days=90)
MOST_ECHOES = 1000  # idempotency keys for one key told again: a device that sends a new one with every request asks every minute for a day


def spent(*, now: datetime) -> None:
    """What is over, and what is too many. Every minute, for a storm leaves a million."""
    retention.drop_due(SpentToken.objects.all(), "expires_at", before=now)
    groups.forget_nonces(now=now)
    windows.forget(now=now)
    enrolments.forget_waiting(now=now)
    notes.trim()
    retention.trim(Echo.objects.all(), "grant_id", "created_at", most=MOST_ECHOES)


def old(*, now: datetime) -> None:
    """What was held long enough."""
    peerings.end_old_offers(now=now)
    ended = Peering.objects.across_tenants().filter(state=Peering.State.ENDED)
    retention.drop_due(ended, "ended_at", before=now - ENDED_HELD)
    retention.trim(ended, "host_id", "ended_at", most=MOST_ENDED)
    asked = now - timedelta(days=settings.REFUSAL_DAYS)
    retention.drop(Echo.objects.all(), "created_at", before=now - IDEMPOTENCY_HELD)
    retention.drop(LoadSample.objects.all(), "at", before=now - timedelta(days=settings.LOAD_SAMPLE_DAYS))
    history.forget(now=now)
    pushes.forget(now=now)
    findings.forget(now=now)
    notes.forget(before=asked)
    logins.forget(before=asked)
    retention.drop_due(Session.objects.all(), "expire_date", before=now)
