"""The Noise key of a fleet: all its servers share one, so that a client can be moved between them without a new login."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

PRIVATE = "privkey:"
PUBLIC = "mkey:"


def generate() -> str:
    """A private key as headscale's file holds it."""
    return PRIVATE + X25519PrivateKey.generate().private_bytes_raw().hex()


def public_of(private: str) -> str:
    """What `GET /key` of a server with this private key answers. Raises: ValueError."""
    if not private.startswith(PRIVATE):
        raise ValueError("a Noise private key reads privkey:<hex>")
    return PUBLIC + X25519PrivateKey.from_private_bytes(bytes.fromhex(private[len(PRIVATE) :])).public_key().public_bytes_raw().hex()
