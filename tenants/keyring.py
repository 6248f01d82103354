"""Secrets at rest: AES-256-GCM under a ring of keys, and texts derived from a key for one purpose.

A sealed value reads `<key id>.<base64 of nonce and ciphertext>`. The context (table, row, field) is authenticated with it,
so a sealed value copied to another row does not open. The first key of the ring seals; all of them open.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Unsealable(Exception):
    """The value was sealed under a key that the ring lacks, for another context, or was altered."""


@dataclass(frozen=True)
class Keyring:
    """Keys by id, the first one current."""

    keys: dict[str, bytes]

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read `id:base64,id:base64`. Raises ValueError with the reason, never with a key in it."""
        keys: dict[str, bytes] = {}
        for number, pair in enumerate(text.split(","), start=1):
            name, colon, encoded = pair.strip().partition(":")
            if not colon or not name.isalnum():
                raise ValueError(f"entry {number} is not id:base64 with a short alphanumeric id")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                raise ValueError(f"the key {name!r} is not base64") from None
            if len(key) != 32:
                raise ValueError(f"the key {name!r} has {len(key)} bytes, not 32")
            if name in keys:
                raise ValueError(f"the id {name!r} stands twice")
            keys[name] = key
        return cls(keys)

    @property
    def current(self) -> str:
        return next(iter(self.keys))

    def seal(self, secret: str, *, context: str) -> str:
        nonce = os.urandom(12)
        sealed = AESGCM(self._purpose(self.current, b"seal")).encrypt(nonce, secret.encode(), context.encode())
        return f"{self.current}.{base64.b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, *, context: str) -> str:
        """Raises: Unsealable."""
        name, _, encoded = sealed.partition(".")
        if name not in self.keys:
            raise Unsealable(f"no key {name!r} in the ring")
        try:
            raw = base64.b64decode(encoded, validate=True)
            return AESGCM(self._purpose(name, b"seal")).decrypt(raw[:12], raw[12:], context.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise Unsealable(f"{context}: the value does not open") from error

    def derive(self, key_id: str, purpose: str, subject: str) -> bytes:
        """64 bytes that only a holder of the key `key_id` can compute for this purpose and subject. Raises: Unsealable."""
        if key_id not in self.keys:
            raise Unsealable(f"no key {key_id!r} in the ring")
        return hmac.digest(self._purpose(key_id, b"derive"), f"{purpose}\0{subject}".encode(), "sha512")

    def _purpose(self, key_id: str, use: bytes) -> bytes:
        """One key, one use: sealing and deriving never share key material."""
        return hmac.digest(self.keys[key_id], b"acs:" + use, "sha256")
