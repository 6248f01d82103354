"""Hashes keys ahead: `python -m placement.headscale.hashing`, started by the web server, writes them to its standard output, a pipe.

Hashing is a quarter of what a bootstrap costs (1.1 ms), and devices come in bursts. This process works only while the machine has
nothing else to do, stops when the pipe is full, and ends when nobody is left to read. Neither a key nor a secret is in the pipe: a key is
derived from its grant's id and the ring by whoever takes it. It imports nothing of Django, so it is small.
"""

from __future__ import annotations

import os
import struct
import sys
import uuid
import zlib

from placement.headscale import keys
from tenants.keyring import Keyring

RECORD = struct.Struct("16s60sI")  # grant id, bcrypt hash, checksum of both; far below PIPE_BUF, so that each is written and read whole


def pack(grant_id: uuid.UUID, hashed: bytes) -> bytes:
    return RECORD.pack(grant_id.bytes, hashed, zlib.crc32(grant_id.bytes + hashed))


def unpack(record: bytes) -> tuple[uuid.UUID, bytes] | None:
    """None: what was read is no whole record."""
    if len(record) != RECORD.size:
        return None
    grant_id, hashed, checksum = RECORD.unpack(record)
    return (uuid.UUID(bytes=grant_id), hashed) if zlib.crc32(grant_id + hashed) == checksum else None


def main() -> None:
    keyring = Keyring.parse(os.environ["ACS_KEYRING"])
    out = sys.stdout.fileno()
    while True:
        grant_id = uuid.uuid4()
        os.write(out, pack(grant_id, keys.derive(keyring, keyring.current, grant_id).hashed()))


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(0)
