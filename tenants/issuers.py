"""The public keys of issuers: found by discovery, fetched through the guarded client, kept in the database for all processes and tenants.

A copy is fresh for ten minutes and good for a day while its issuer is down. A token with an unknown key makes us ask again, at most twice a minute
for each issuer, whoever sends how many of them. One request at a time fetches, by moving the row's time; others take the copy, or wait a
moment where there is none. At most half of a process's threads fetch or wait, so a slow issuer never takes them all. Nothing here runs inside a
transaction of the caller's: a connection that waits for a stranger must hold no lock.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db.models import Q

from tenants import outbound, trust, webtokens
from tenants.models import IssuerKeys, TrustPolicy
from tenants.outbound import OutboundError
from tenants.webtokens import Unusable

log = structlog.get_logger(__name__)
FRESH, USABLE = timedelta(minutes=10), timedelta(hours=24)
AHEAD = timedelta(hours=1)  # how old a copy may grow that no workload asks for
AGAIN = timedelta(seconds=30)  # after a failure, and between two questions for an unknown key
WAIT_SECONDS, LOOK_SECONDS = 3.0, 0.05  # for somebody else's first fetch
DISCOVERY = "/.well-known/openid-configuration"
busy = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))


class NoKeys(Exception):
    """The issuer's keys are not known and cannot be fetched now; the text says why."""


def source_of(policy: TrustPolicy) -> str:
    """Where its keys come from. Policies of one source share a copy."""
    return f"jwks {policy.jwks_uri}" if policy.jwks_uri else f"discovery {policy.issuer}"


def keys_of(policy: TrustPolicy, *, now: datetime) -> dict[str, Any]:
    """The issuer's keys, fetched if no fresh copy is there. Raises: NoKeys."""
    if policy.jwks is not None:
        return {**policy.jwks}
    source = source_of(policy)
    held = _held(source)
    if held is not None and held.fetched_at and now - held.fetched_at < FRESH:
        return _keys(held)
    held = _fetch(policy, source, "tried_at", now) or (held if held and held.fetched_at else _waited_for(source))
    return _usable(source, held, now)


def newer_keys_of(policy: TrustPolicy, *, now: datetime) -> dict[str, Any] | None:
    """The keys asked for once more, since one is unknown; None where nobody may ask yet, or there is nothing to ask."""
    if policy.jwks is not None:
        return None
    held = _fetch(policy, source_of(policy), "refetched_at", now)
    return _keys(held) if held and held.fetched_at == now else None


def look_in_vain() -> None:
    """Takes as long as finding a copy: where no policy fits, the answer comes no sooner than where one does."""
    _held("nobody")


def refresh(*, now: datetime, seconds: float = 50.0) -> int:
    """Ask for the keys of every live policy before a workload has to wait for them; whoever was not asked for longest comes first.

    Returns how many were asked for. What `seconds` do not suffice for is left to the next run.
    """
    policies = {source_of(policy): policy for policy in trust.live(now=now).filter(jwks__isnull=True)}
    held = {row.pk: row for row in IssuerKeys.objects.filter(pk__in=policies)}
    tried = {source: row.tried_at for source in policies if (row := held.get(source)) and row.tried_at}
    due = [source for source in policies if source not in tried or now - tried[source] > (AHEAD if held[source].fetched_at else FRESH)]
    asked, ends = 0, time.monotonic() + seconds
    for source in sorted(due, key=lambda source: (source in tried, tried.get(source, now))):
        if time.monotonic() > ends:
            break
        asked += _fetch(policies[source], source, "tried_at", now) is not None
    return asked


def _held(source: str) -> IssuerKeys | None:
    return IssuerKeys.objects.filter(pk=source).first()


def _keys(held: IssuerKeys) -> dict[str, Any]:
    return held.jwks or {"keys": []}


def _usable(source: str, held: IssuerKeys | None, now: datetime) -> dict[str, Any]:
    if held is None or held.fetched_at is None or now - held.fetched_at > USABLE:
        raise NoKeys((held.failure if held else "") or "the issuer's keys are being fetched by another request")
    if now - held.fetched_at >= FRESH:
        log.warning("issuer_keys_are_stale", source=source, fetched_at=held.fetched_at.isoformat(), failure=held.failure)
    return _keys(held)


def _waited_for(source: str) -> IssuerKeys | None:
    """What another request fetches this moment, for the first time."""
    held = _held(source)
    if (held and held.failure) or not busy.acquire(blocking=False):
        return held
    try:
        ends = time.monotonic() + WAIT_SECONDS
        while (held := _held(source)) and held.fetched_at is None and not held.failure and time.monotonic() < ends:
            time.sleep(LOOK_SECONDS)
        return held
    finally:
        busy.release()


def _fetch(policy: TrustPolicy, source: str, turn: str, now: datetime) -> IssuerKeys | None:
    """The row after a fetch of ours; None where it is not our turn. `turn`: the column that says when somebody had theirs."""
    if not busy.acquire(blocking=False):
        log.warning("issuer_keys_not_asked_for", source=source)
        return None
    try:
        if not _claimed(source, turn, now):
            return None
        try:
            found = _ask(policy)
        except (OutboundError, Unusable) as error:
            log.warning("issuer_keys_not_fetched", source=source, error=str(error))
            IssuerKeys.objects.filter(pk=source).update(failure=str(error)[:300] or "it failed")
        else:
            IssuerKeys.objects.filter(pk=source).update(jwks=found, fetched_at=now, failure="")
        return _held(source)
    finally:
        busy.release()


def _claimed(source: str, turn: str, now: datetime) -> bool:
    """Whether it is ours to ask, since nobody did for a while."""
    due = Q(**{turn: None}) | Q(**{f"{turn}__lte": now - AGAIN})
    if IssuerKeys.objects.filter(due, pk=source).update(**{turn: now}) == 1:
        return True
    if IssuerKeys.objects.filter(pk=source).exists():
        return False
    IssuerKeys.objects.bulk_create([IssuerKeys(source=source)], ignore_conflicts=True)
    return IssuerKeys.objects.filter(due, pk=source).update(**{turn: now}) == 1


def _ask(policy: TrustPolicy) -> dict[str, Any]:
    """Raises: OutboundError, Unusable."""
    deadline = time.monotonic() + outbound.TOTAL_SECONDS
    uri = policy.jwks_uri
    if not uri:
        described = _json(outbound.fetch(policy.issuer.removesuffix("/") + DISCOVERY, deadline=deadline))
        if not isinstance(described, dict) or described.get("issuer") != policy.issuer:
            raise Unusable("the discovery document is another issuer's")
        if not isinstance(named := described.get("jwks_uri"), str):
            raise Unusable("the discovery document names no jwks_uri")
        uri = named
    return webtokens.public_keys(_json(outbound.fetch(uri, deadline=deadline)))


def _json(body: bytes) -> Any:
    read: Callable[[str], Any] = json.loads
    try:
        return read(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Unusable("its answer is no JSON") from None
