"""Requests signed with a device's own key: how the key is derived, what is signed, and how the header reads. clients/SIGNING.md is the same for others.

A group's secret stays with ACS and the factory. The factory derives each device's key from it and the device's registration id; the device signs
every request with that key. Pure: nothing here knows the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SCHEME = "ACS-HMAC-SHA256"
SKEW = timedelta(minutes=5)  # how far a device's clock may be off
LATEST = 253_402_300_799  # the last second of the year 9999, where dates end; twelve digits reach further
REGISTRATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")
SHAPES = {
    "group": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z"),
    "registration_id": REGISTRATION_ID,
    "timestamp": re.compile(r"[0-9]{1,12}\Z"),
    "nonce": re.compile(r"[A-Za-z0-9_-]{16,64}\Z"),
    "signature": re.compile(r"[A-Za-z0-9+/]{43}=\Z"),
}


class Unreadable(Exception):
    """The header is not one of this scheme."""


@dataclass(frozen=True)
class Signature:
    """The header's fields. `timestamp`: Unix time in whole seconds."""

    group: str
    registration_id: str
    timestamp: str
    nonce: str
    signature: str

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(min(int(self.timestamp), LATEST), UTC)


def derive_key(secret: str, registration_id: str) -> str:
    """The key of one device: base64(HMAC-SHA256(secret, lower(registration_id))). The base64 text itself is the key that signs."""
    return _mac(secret, registration_id.lower().encode())


def canonical(*, method: str, path: str, timestamp: str, nonce: str, group: str, registration_id: str, body: bytes) -> bytes:
    """What is signed: eight lines, the last one without a line break."""
    lines = [SCHEME, method.upper(), path, timestamp, nonce, group, registration_id.lower(), hashlib.sha256(body).hexdigest()]
    return "\n".join(lines).encode()


def sign(device_key: str, text: bytes) -> str:
    """base64(HMAC-SHA256(device key, text))."""
    return _mac(device_key, text)


def header(device_key: str, *, method: str, path: str, at: datetime, nonce: str, group: str, registration_id: str, body: bytes) -> str:
    """A whole Authorization header."""
    timestamp = str(int(at.timestamp()))
    signature = sign(
        device_key,
        canonical(method=method, path=path, timestamp=timestamp, nonce=nonce, group=group, registration_id=registration_id, body=body),
    )
    fields = {"group": group, "registration_id": registration_id, "timestamp": timestamp, "nonce": nonce, "signature": signature}
    return f"{SCHEME} " + ",".join(f"{name}={value}" for name, value in fields.items())


def read(fields: str) -> Signature:
    """The header's value without its scheme. Raises: Unreadable."""
    told: dict[str, str] = {}
    for pair in fields.split(","):
        name, _, value = pair.strip().partition("=")
        if name in told or name not in SHAPES or not SHAPES[name].match(value):
            raise Unreadable
        told[name] = value
    if told.keys() != SHAPES.keys():
        raise Unreadable
    return Signature(**told)


def is_by(secret: str, signature: Signature, *, method: str, path: str, body: bytes) -> bool:
    """Whether a device of the group with this secret signed it."""
    text = canonical(
        method=method,
        path=path,
        timestamp=signature.timestamp,
        nonce=signature.nonce,
        group=signature.group,
        registration_id=signature.registration_id,
        body=body,
    )
    expected = sign(derive_key(secret, signature.registration_id), text)
    return hmac.compare_digest(expected, signature.signature)


def _mac(key: str, text: bytes) -> str:
    return base64.b64encode(hmac.digest(key.encode(), text, "sha256")).decode()
