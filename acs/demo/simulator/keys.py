"""Keys as headscale makes and finds them: pre-auth keys and API keys, `hskey-<kind>-<prefix, 12>-<secret, 64>`, the secret kept as bcrypt.

API keys made before 0.28 read `<prefix, 7>.<secret>`, pre-auth keys are found by their whole text. And the server's own Noise key, a file.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

import bcrypt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from acs.demo.simulator.store import Row, Run, Store

COST = 4  # the secrets are random: a low cost is as safe as a high one
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_WHOLE = re.compile(r"([A-Za-z0-9_-]{12})-([A-Za-z0-9_-]{64})")


class UnknownKey(Exception):
    """No such key, or not its secret. The text is headscale's."""


def new(kind: str) -> tuple[str, str, bytes]:
    """A fresh key: its text, its prefix, the hash of its secret. `kind`: auth or api."""
    prefix, secret = (("".join(secrets.choice(_ALPHABET) for _ in range(length))) for length in (12, 64))
    return f"hskey-{kind}-{prefix}-{secret}", prefix, bcrypt.hashpw(secret.encode(), bcrypt.gensalt(COST))


def find_auth_key(run: Run, text: str) -> Row:
    """The row of a pre-auth key, whatever its state. Raises: UnknownKey."""
    _, found, rest = text.partition("hskey-auth-")
    if not found:
        rows = run("SELECT * FROM pre_auth_keys WHERE key = %s", text) if text else []
        if not rows:
            raise UnknownKey("invalid pre auth key" if text else "failed to parse auth-key")
        return rows[0]
    match = _WHOLE.fullmatch(rest)
    if not match:
        raise UnknownKey("failed to parse auth-key")
    rows = run("SELECT * FROM pre_auth_keys WHERE prefix = %s", match[1])
    if not rows:
        raise UnknownKey("invalid pre auth key")
    if not _fits(match[2], rows[0]["hash"]):
        raise UnknownKey("invalid auth key: crypto/bcrypt: hashedPassword is not the hash of the given password")
    return rows[0]


def is_admin(store: Store, text: str) -> bool:
    """Whether this is a living API key."""
    _, found, rest = text.partition("hskey-api-")
    match = _WHOLE.fullmatch(rest) if found else re.fullmatch(r"([^.]{7})\.(.+)", text)
    if not match:
        return False
    row = store.one("SELECT * FROM api_keys WHERE prefix = %s", match[1])
    return row is not None and _fits(match[2], row["hash"]) and not (row["expiration"] and row["expiration"] < datetime.now(UTC))


def make_admin_key(store: Store) -> str:
    text, prefix, hashed = new("api")
    store.all("INSERT INTO api_keys (prefix, hash, created_at) VALUES (%s, %s, %s)", prefix, hashed, datetime.now(UTC))
    return text


def noise_public_key(path: Path) -> str:
    """The public half of the file `privkey:<64 hex digits>`, which is made when it is missing."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("privkey:" + X25519PrivateKey.generate().private_bytes_raw().hex())
        path.chmod(0o600)
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip().removeprefix("privkey:")))
    return "mkey:" + private.public_key().public_bytes_raw().hex()


def _fits(secret: str, hashed: bytes | memoryview | None) -> bool:
    try:
        return bcrypt.checkpw(secret.encode(), bytes(hashed or b""))
    except ValueError:
        return False
