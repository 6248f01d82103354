"""Pre-auth keys of a fleet, derived from their grant: the same grant always tells the same key, and nobody stores it.

A key reads `hskey-auth-<prefix, 12>-<secret, 64>`; headscale finds it by prefix and compares the secret's bcrypt hash. Cost 10
protects weak passwords; the secret has 380 random bits, so cost 4 is as safe and saves the server 57 ms a call (fleet.md).
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from uuid import UUID

import bcrypt

from tenants.keyring import Keyring

ALPHABET = string.digits + string.ascii_letters
COST = 4


@dataclass(frozen=True, repr=False)
class AuthKey:
    """A pre-auth key in plain text. Its repr shows nothing."""

    prefix: str
    secret: str

    @property
    def text(self) -> str:
        return f"hskey-auth-{self.prefix}-{self.secret}"

    def hashed(self) -> bytes:
        return bcrypt.hashpw(self.secret.encode(), bcrypt.gensalt(COST))


def derive(keyring: Keyring, keyring_id: str, grant_id: UUID) -> AuthKey:
    """The key of a grant. Raises: Unsealable when the ring no longer has the key it was promised under."""
    number = int.from_bytes(keyring.derive(keyring_id, "pre-auth-key", str(grant_id)), "big")
    digits = []
    for _ in range(12 + 64):  # 62^76 < 2^453: of 512 bits, so the digits are uniform
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return AuthKey("".join(digits[:12]), "".join(digits[12:]))
