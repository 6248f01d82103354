"""What the environment gives a demonstration in place of its own servers. What contradicts itself stops the start and names the variable."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field

import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict

from acs.demo.place import CannotRun

NEEDED = (0, 29, 2)  # of headscale
ROLES = {"web": "DATABASE_URL_WEB", "worker": "DATABASE_URL_WORKER"}


@dataclass(frozen=True)
class Given:
    """URLs of servers that are there already. `databases` by role (owner, web, worker), empty for an embedded PostgreSQL; so is `redis_url`."""

    databases: dict[str, str] = field(default_factory=dict)
    redis_url: str = ""


def read() -> Given:
    """Raises: CannotRun."""
    owner = os.environ.get("DATABASE_URL", "")
    if not owner:
        for name in ROLES.values():
            if os.environ.get(name):
                raise CannotRun(f"{name} is set and DATABASE_URL is not: set both, or neither for an embedded PostgreSQL")
    databases = {"owner": owner, **{role: _role_url(role, name, owner) for role, name in ROLES.items()}} if owner else {}
    given = Given(databases, os.environ.get("REDIS_URL", ""))
    if owner:
        try_login("DATABASE_URL", owner)
    if given.redis_url:
        _try_redis(given.redis_url)
    return given


def _role_url(role: str, name: str, owner: str) -> str:
    url = os.environ.get(name, "")
    if not url:
        raise CannotRun(
            f"{name} is not set: DATABASE_URL names a database of your own (as its owner), so {name} must name it as acs_{role}"
        )
    words, of_owner = _words(name, url), _words("DATABASE_URL", owner)
    if words.get("user") != f"acs_{role}":
        raise CannotRun(
            f"{name} logs in as {words.get('user') or 'nobody'}: it must be acs_{role}, who may do what this process needs and no more"
        )
    for word in ("dbname", "host", "port"):
        if (words.get(word) or "") != (of_owner.get(word) or ""):
            raise CannotRun(f"{name} and DATABASE_URL name different databases (their {word} differs)")
    return url


def _words(name: str, url: str) -> dict[str, object]:
    if not re.match(r"postgres(ql)?://", url):
        raise CannotRun(f"{name} must read postgresql://USER:PASSWORD@HOST/DATABASE")
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError as error:
        raise CannotRun(f"{name}: {str(error).strip()}") from error


def try_login(name: str, url: str) -> None:
    """Raises: CannotRun naming the variable."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.Error as error:
        raise CannotRun(f"{name}: {str(error).strip()}") from error


def _try_redis(url: str) -> None:
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as connection:
            connection.ping()
    except (redis.RedisError, ValueError) as error:
        raise CannotRun(f"REDIS_URL: {error}") from error


@dataclass(frozen=True)
class Headscale:
    """The servers' program: a path, or none and why not."""

    path: str
    version: str
    why_not: str = ""


def find_headscale() -> Headscale:
    """The headscale on PATH that is new enough, unless ACS_DEMO_SIMULATOR asks for the simulator."""
    path = shutil.which("headscale")
    if os.environ.get("ACS_DEMO_SIMULATOR"):
        return Headscale("", "", "ACS_DEMO_SIMULATOR is set")
    if path is None:
        return Headscale("", "", "no headscale on PATH")
    told = subprocess.run([path, "version"], capture_output=True, text=True, check=False, timeout=20).stdout
    match = re.search(r"v?(\d+)\.(\d+)\.(\d+)", told)
    if not match:
        return Headscale("", "", f"{path} does not tell its version")
    if numbers(match[0]) < NEEDED:
        return Headscale("", "", f"{path} is {match[0]}, older than {'.'.join(map(str, NEEDED))}")
    return Headscale(path, "v" + match[0].removeprefix("v"))


def numbers(version: str) -> tuple[int, ...]:
    """v0.29.2 as (0, 29, 2)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
