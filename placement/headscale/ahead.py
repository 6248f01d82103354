"""Keys made before their request holds a lock: hashing takes a millisecond, in which others would wait for the tenant's rows.

Each thread has one at hand. Where a request turns out to need none, it is the next one's.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from uuid import UUID

from placement.headscale import keys
from placement.headscale.keys import AuthKey
from tenants.keyring import Keyring


@dataclass(frozen=True, repr=False)
class Fresh:
    """The id of a grant to be, and its key."""

    keyring: Keyring
    keyring_id: str
    grant_id: UUID
    key: AuthKey
    hashed: bytes


class _AtHand(threading.local):
    fresh: Fresh | None = None


_at_hand = _AtHand()


def prepare(keyring: Keyring) -> Fresh:
    """The key that `take` will return."""
    fresh = _at_hand.fresh
    if fresh is None or fresh.keyring != keyring:
        grant_id, keyring_id = uuid.uuid4(), keyring.current
        key = keys.derive(keyring, keyring_id, grant_id)
        fresh = _at_hand.fresh = Fresh(keyring, keyring_id, grant_id, key, key.hashed())
    return fresh


def take(keyring: Keyring) -> Fresh:
    """A key for one grant, never to be taken again."""
    fresh = prepare(keyring)
    _at_hand.fresh = None
    return fresh
