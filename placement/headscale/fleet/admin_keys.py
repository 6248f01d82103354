"""An admin API key that ACS inserts itself: no call to the server, and each later call costs it 2 ms in place of 60.

The server compares the key with a bcrypt hash at every call. Cost 10 protects weak passwords; 380 random bits need none, so cost 4.
"""

from __future__ import annotations

import secrets
import string
from datetime import timedelta
from typing import Any, Protocol

import bcrypt

ALPHABET = string.ascii_letters + string.digits


class Executes(Protocol):
    """A psycopg connection or cursor, or Django's."""

    def execute(self, query: str, params: Any = None, /) -> Any: ...


def insert(connection: Executes, cluster_id: str, *, lifetime: timedelta) -> str:
    """Give the cluster a new admin key and return it, `hskey-api-<12>-<64>`. As acs_worker, or the schema's owner.

    Raises: what the database raises; nothing is retried here.
    """
    prefix, secret = (_random(12), _random(64))
    hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(rounds=4))
    connection.execute(
        "insert into headscale.api_keys (prefix, hash, created_at, expiration, cluster_id) values (%s, %s, now(), now() + %s, %s)",
        [prefix, hashed, lifetime, cluster_id],
    )
    return f"hskey-api-{prefix}-{secret}"


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
