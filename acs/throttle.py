"""How often a credential, or an address without one, may knock. Counted in Valkey, atomically, for all processes together.

When Valkey is down each process counts for itself until it is back: the door neither opens wide nor closes.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from time import time

import structlog
from django.conf import settings
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis.exceptions import RedisError

from tenants.errors import TooManyRequests

log = structlog.get_logger(__name__)


def spend_credential(digest: bytes) -> None:
    """Raises: TooManyRequests."""
    _spend(settings.CREDENTIAL_LIMIT, "credential", digest.hex()[:32])


def spend_anonymous(address: str) -> None:
    """Raises: TooManyRequests."""
    _spend(settings.ANONYMOUS_LIMIT, "anonymous", address)


def spend_bad_credential(address: str) -> None:
    """Raises: TooManyRequests."""
    _spend(settings.BAD_CREDENTIAL_LIMIT, "bad-credential", address)


def spend_device_login(person: str) -> None:
    """Raises: TooManyRequests."""
    _spend(settings.DEVICE_LOGIN_LIMIT, "device-login", person)


def _spend(limit: str, kind: str, who: str) -> None:
    item = _parsed(limit)
    try:
        limiter = _shared()
        allowed = limiter.hit(item, kind, who)
    except RedisError as error:
        log.warning("throttle_counts_alone", error=str(error))
        limiter = _alone()
        allowed = limiter.hit(item, kind, who)
    if not allowed:
        wait = limiter.get_window_stats(item, kind, who).reset_time - time()
        raise TooManyRequests(timedelta(seconds=max(1.0, wait)))


@functools.cache
def _parsed(limit: str) -> RateLimitItem:
    return parse(limit)


@functools.cache
def _shared() -> FixedWindowRateLimiter:
    storage = RedisStorage(settings.REDIS_URL, key_prefix="acs-limits", socket_timeout=1, socket_connect_timeout=1)
    return FixedWindowRateLimiter(storage)


@functools.cache
def _alone() -> FixedWindowRateLimiter:
    return FixedWindowRateLimiter(MemoryStorage())
