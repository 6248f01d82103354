"""The part of a relay that a client's network check waits for: answers to STUN binding requests on loopback. It relays nothing."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BINDING, SUCCESS, COOKIE, XOR_MAPPED_ADDRESS = 0x0001, 0x0101, 0x2112A442, 0x0020


@contextmanager
def relay_map() -> Iterator[dict[str, Any]]:
    """A DERP map, in headscale's spelling, of one region whose STUN answers while the block lasts. Without it clients wait three seconds for one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        node = {"name": "900a", "regionid": 900, "hostname": "127.0.0.1", "ipv4": "127.0.0.1", "ipv6": "none", "derpport": 33401}
        node["stunport"] = listener.getsockname()[1]
        yield {"regions": {900: {"regionid": 900, "regioncode": "local", "regionname": "Local", "nodes": [node]}}}


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            request, (host, port) = listener.recvfrom(2048)
        except OSError:
            return
        if len(request) < 20 or struct.unpack("!H", request[:2])[0] != BINDING:
            continue
        address = struct.unpack("!I", socket.inet_aton(host))[0] ^ COOKIE
        mapped = struct.pack("!HHBBHI", XOR_MAPPED_ADDRESS, 8, 0, 1, port ^ (COOKIE >> 16), address)
        listener.sendto(struct.pack("!HHI", SUCCESS, len(mapped), COOKIE) + request[8:20] + mapped, (host, port))
