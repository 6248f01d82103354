"""How often an address, a credential or an account may knock. Counted in Valkey, atomically, over a moving window, for all processes together.

The limits of one request are hit in one round trip. While Valkey is away the counts are held in the database (tenants/windows.py): the door neither opens
wide nor closes. They begin anew at either change.
"""

from __future__ import annotations

import functools
import ipaddress
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, time
from typing import Any, cast

import structlog
from django.conf import settings
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import NoScriptError, RedisError

from tenants import windows
from tenants.errors import TooManyRequests

log = structlog.get_logger(__name__)
LOOK_AGAIN = 2.0  # seconds after which a Valkey that did not answer is asked again: each asking may cost a second


@dataclass(frozen=True)
class Hit:
    """One hit of `ACS_<NAME>_LIMIT` by somebody. How the limit stands then is told when it is spent, and where it is `shown`."""

    name: str
    who: str
    shown: bool = False

    @property
    def whom(self) -> str:
        """Who is counted. Whoever has one IPv6 address has the 2^64 of its network: they are one caller."""
        return _network(self.who) if ":" in self.who else self.who

    @property
    def item(self) -> RateLimitItem:
        return _parsed(getattr(settings, f"{self.name.upper().replace('-', '_')}_LIMIT"))


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


def spend(told: list[Spent], *hits: Hit) -> None:
    """Hit these limits. Those that are shown, and the one that is spent, are added to `told`. Raises: TooManyRequests."""
    for hit, allowed, remaining, reset in _results(hits):
        if allowed and not hit.shown:
            continue
        item, seconds = hit.item, max(1, math.ceil(reset - time()))
        told.append(Spent(hit.name, item.amount, item.get_expiry(), max(0, remaining) if allowed else 0, seconds))
        if not allowed:
            raise TooManyRequests(timedelta(seconds=seconds))


def headers(told: Sequence[Spent]) -> dict[str, str]:
    """The RateLimit fields of an answer (draft-ietf-httpapi-ratelimit-headers-10)."""
    if not told:
        return {}
    return {"RateLimit-Policy": ", ".join(spent.policy for spent in told), "RateLimit": ", ".join(spent.state for spent in told)}


Result = tuple[Hit, bool, int, float]  # whether it was allowed, how many remain, when (seconds since 1970) there are more


def _results(hits: Sequence[Hit]) -> list[Result]:
    if _away.until <= monotonic():
        try:
            return _together(hits)
        except RedisError as error:
            _away.until = monotonic() + LOOK_AGAIN
            log.warning("throttle_counts_in_the_database", error=str(error))
    return [_alone(_held(), hit) for hit in hits]


def _alone(limiter: RateLimiter, hit: Hit) -> Result:
    allowed = limiter.hit(hit.item, hit.name, hit.whom)
    stats = limiter.get_window_stats(hit.item, hit.name, hit.whom) if hit.shown or not allowed else None
    return hit, allowed, stats.remaining if stats else 0, stats.reset_time if stats else 0.0


def _together(hits: Sequence[Hit]) -> list[Result]:
    """The strategy's own scripts, run by one: four round trips were a quarter of what a bootstrap cost. Raises: RedisError."""
    storage = cast("RedisStorage", _shared().storage)
    items = [hit.item for hit in hits]
    keys = [storage.prefixed_key(item.key_for(hit.name, hit.whom)) for hit, item in zip(hits, items, strict=True)]
    told: list[Any] = [time()]
    for hit, item in zip(hits, items, strict=True):
        told += item.amount, item.get_expiry(), int(hit.shown)
    answers = iter(_line.run(keys, told))
    results: list[Result] = []
    for hit, item, allowed, begun, count in zip(hits, items, answers, answers, answers, strict=True):
        results.append((hit, bool(allowed), item.amount - count, float(begun) + item.get_expiry()))
    return results


class _Line(threading.local):
    """Each thread's own connection to Valkey, kept: taking one from a pool, with the client's own bookkeeping, cost more than the script itself."""

    storage: RedisStorage | None = None
    connection: Any = None

    def run(self, keys: list[str], told: list[Any]) -> Any:
        """Raises: RedisError."""
        storage = cast("RedisStorage", _shared().storage)
        if self.storage is not storage:
            pool = cast("Any", storage.get_connection()).connection_pool
            self.storage, self.connection = storage, pool.connection_class(**pool.connection_kwargs)
        was_connected = self.connection.is_connected
        try:
            return self._ask(keys, told)
        except NoScriptError:  # a Valkey that was started anew, or not yet asked
            return _script()(keys, told)
        except Unreachable:  # it may have been started anew since the last request; what it cannot be reached for now, the caller is told
            if not was_connected:
                raise
            return _script()(keys, told)

    def _ask(self, keys: list[str], told: list[Any]) -> Any:
        self.connection.send_command("EVALSHA", _script().sha, len(keys), *keys, *told)
        return self.connection.read_response()


_line = _Line()


TOGETHER = f"""
local function acquire(KEYS, ARGV)
{RedisStorage.SCRIPT_ACQUIRE_MOVING_WINDOW.decode()}
end
local function window(KEYS, ARGV)
{RedisStorage.SCRIPT_MOVING_WINDOW.decode()}
end
local now, answers = ARGV[1], {{}}
for i, key in ipairs(KEYS) do
    local most, seconds, shown = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
    local allowed = acquire({{key}}, {{now, most, seconds, 1}})
    local standing = (shown == '1' or not allowed) and window({{key}}, {{tonumber(now) - seconds, most}}) or {{now, 0}}
    answers[3 * i - 2], answers[3 * i - 1], answers[3 * i] = allowed and 1 or 0, standing[1], standing[2]
end
return answers
"""  # for each key: whether it was allowed, since when its window counts, and how many


@functools.cache
def _script() -> Any:
    storage = cast("RedisStorage", _shared().storage)
    return storage.get_connection().register_script(TOGETHER.encode())


class _Away:
    """Until when Valkey is not asked, in this process."""

    until = 0.0


_away = _Away()


def _network(address: str) -> str:
    try:
        ip = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(ip.ipv4_mapped or ipaddress.IPv6Network((ip.packed, 64), strict=False))


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
    _script.cache_clear()
    _away.until = 0.0
