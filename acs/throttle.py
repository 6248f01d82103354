"""How often an address, a credential or an account may knock. Counted in Valkey, atomically, over a moving window, for all processes together.

While Valkey is away the counts are held in the database (tenants/windows.py): the door neither opens wide nor closes. They begin anew at either change.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, time
from typing import Any

import structlog
from django.conf import settings
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter
from redis.exceptions import RedisError

from tenants import windows
from tenants.errors import TooManyRequests

log = structlog.get_logger(__name__)
LOOK_AGAIN = 2.0  # seconds after which a Valkey that did not answer is asked again: each asking may cost a second


@dataclass(frozen=True)
class Spent:
    """A limit after a hit, for the RateLimit headers: `most` in `seconds`, of which so many remain, and the seconds until there are more."""

    name: str
    most: int
    seconds: int
    remaining: int
    reset: int

    @property
    def policy(self) -> str:
        return f'"{self.name}";q={self.most};w={self.seconds}'

    @property
    def state(self) -> str:
        return f'"{self.name}";r={self.remaining};t={self.reset}'


def spend(name: str, who: str, told: list[Spent], *, quietly: bool = False) -> None:
    """One hit of a limit (`ACS_<NAME>_LIMIT`). How it stands then is added to `told`; `quietly`: only when it is spent, for looking costs as much as hitting.

    Raises: TooManyRequests.
    """
    item = _parsed(getattr(settings, f"{name.upper().replace('-', '_')}_LIMIT"))
    limiter, allowed = _hit(item, name, who)
    if allowed and quietly:
        return
    try:
        stats = limiter.get_window_stats(item, name, who)
    except RedisError:  # it fell silent this moment; what it said before counts
        stats = None
    reset = max(1, math.ceil(stats.reset_time - time())) if stats else item.get_expiry()
    told.append(Spent(name, item.amount, item.get_expiry(), (stats.remaining if stats and allowed else 0), reset))
    if not allowed:
        raise TooManyRequests(timedelta(seconds=reset))


def headers(told: Sequence[Spent]) -> dict[str, str]:
    """The RateLimit fields of an answer (draft-ietf-httpapi-ratelimit-headers-10)."""
    if not told:
        return {}
    return {"RateLimit-Policy": ", ".join(spent.policy for spent in told), "RateLimit": ", ".join(spent.state for spent in told)}


def _hit(item: RateLimitItem, name: str, who: str) -> tuple[RateLimiter, bool]:
    if _away.until <= monotonic():
        try:
            limiter: RateLimiter = _shared()
            return limiter, limiter.hit(item, name, who)
        except RedisError as error:
            _away.until = monotonic() + LOOK_AGAIN
            log.warning("throttle_counts_in_the_database", error=str(error))
    limiter = _held()
    return limiter, limiter.hit(item, name, who)


class _Away:
    """Until when Valkey is not asked, in this process."""

    until = 0.0


_away = _Away()


@functools.cache
def _parsed(limit: str) -> RateLimitItem:
    return parse(limit)


@functools.cache
def _shared() -> MovingWindowRateLimiter:
    options: dict[str, Any] = {"socket_timeout": 1, "socket_connect_timeout": 1}
    return MovingWindowRateLimiter(RedisStorage(settings.REDIS_URL, key_prefix="acs-limits", **options))


@functools.cache
def _held() -> FixedWindowRateLimiter:
    return FixedWindowRateLimiter(windows.PostgresStorage())


def forget_servers() -> None:
    """Ask the settings' Valkey anew, at once. For tests that put another in its place."""
    _shared.cache_clear()
    _away.until = 0.0
