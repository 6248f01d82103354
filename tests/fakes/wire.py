"""Servers that break HTTP in every way that matters: a socket that answers what the test says, byte by byte."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Listener:
    """A listening socket of a test. `requests` holds what was received, head and body."""

    url: str
    requests: list[str] = field(default_factory=list)


@contextmanager
def answering(reply: Callable[[socket.socket], None]) -> Iterator[Listener]:
    """Read one request of each connection, then let `reply` do with it what it likes. A connection without a byte is no request."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = Listener(f"http://127.0.0.1:{server.getsockname()[1]}")
        threading.Thread(target=_accept, args=(server, listener, reply), daemon=True).start()
        yield listener
        server.shutdown(socket.SHUT_RDWR)  # closing alone would leave it listening while the thread waits


def _accept(server: socket.socket, listener: Listener, reply: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, listener, reply), daemon=True).start()


def _serve(connection: socket.socket, listener: Listener, reply: Callable[[socket.socket], None]) -> None:
    with connection:
        received = connection.recv(65536)
        if not received:
            return
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        while length and len(body) < int(length[1]):
            body += connection.recv(65536)
        listener.requests.append((head + b"\r\n\r\n" + body).decode())
        try:
            reply(connection)
        except OSError:
            return


def saying(
    status: int, body: bytes | str | dict[str, Any], media_type: str = "application/json", **headers: str
) -> Callable[[socket.socket], None]:
    """A whole answer, then the connection closes."""
    content = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {media_type}", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return lambda connection: connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)


def dribbling(text: bytes, *, every: float) -> Callable[[socket.socket], None]:
    """One byte, a pause, one byte."""

    def reply(connection: socket.socket) -> None:
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(every)

    return reply


def flooding(head: bytes, size: int) -> Callable[[socket.socket], None]:
    """A head, then `size` bytes."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(head)
        chunk = b" " * 1_000_000
        for _ in range(size // len(chunk)):
            connection.sendall(chunk)

    return reply


def hanging(seconds: float) -> Callable[[socket.socket], None]:
    return lambda _: time.sleep(seconds)
