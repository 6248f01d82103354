"""One HTTP exchange with a server that may be slow, broken, or not the one we think it is.

A request has a deadline as a whole: a server that dribbles one byte a second holds nobody past it, for every wait on the
socket gets only what is left of it. Redirects are never followed, proxies of the environment never used, the answer's size
is bounded. What went wrong comes out as one of two errors: `NotSent` (repeating is safe) or `NoAnswer` (it may have been done).
"""

from __future__ import annotations

import functools
import ssl
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore2
import httpx2

MAX_ANSWER = 64 * 1024 * 1024  # bytes

_NEVER_SENT = (
    httpcore2.ConnectError,
    httpcore2.ConnectTimeout,
    httpcore2.PoolTimeout,
    httpcore2.UnsupportedProtocol,
    httpcore2.LocalProtocolError,  # what we were about to send was not HTTP, such as a key with a line break
)

_deadline: ContextVar[float] = ContextVar("deadline")  # time.monotonic() by which the exchange is over


class WireError(Exception):
    """The base of this page."""


class NotSent(WireError):
    """No connection was made: the server has heard nothing."""


class NoAnswer(WireError):
    """The request went out, fully or in part, and no whole answer came back."""


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer: its status, its media type without parameters, its body, and how far the clock of whoever made it is ahead of ours."""

    status: int
    media_type: str
    body: bytes
    clock_off: timedelta | None = None


def exchange(client: httpx2.Client, request: httpx2.Request, *, deadline: float) -> Answer:
    """Send `request` and read the whole answer before `deadline` (time.monotonic()).

    Raises: NotSent, NoAnswer.
    """
    token = _deadline.set(deadline)
    try:
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            body = _read(response, deadline)
        finally:
            response.close()
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol) as error:
        raise NotSent(_reason(error)) from error
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        raise NoAnswer(_reason(error)) from error
    finally:
        _deadline.reset(token)
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Answer(response.status_code, media_type, body, _clock_off(response.headers.get("date", "")))


def _clock_off(date: str) -> timedelta | None:
    """What an HTTP date says, minus our clock; None where it says nothing."""
    try:
        return parsedate_to_datetime(date).astimezone(UTC) - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _read(response: httpx2.Response, deadline: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise NoAnswer(f"the answer is larger than {MAX_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise NoAnswer("the answer was not complete in time")
    return bytes(body)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def new_client(base_url: str, *, headers: dict[str, str] | None = None, transport: httpx2.BaseTransport | None = None) -> httpx2.Client:
    """A client whose waits end with the deadline of `exchange`. `transport` replaces the network in tests."""
    return httpx2.Client(
        base_url=base_url,
        headers={"Accept-Encoding": "identity", "User-Agent": "acs", **(headers or {})},
        transport=transport or _Transport(),
        trust_env=False,
        timeout=None,  # the transport times every wait by the deadline
    )


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Read once a process: it takes 28 ms of CPU, more than the call that it is for."""
    return httpx2.create_ssl_context()


class _Transport(httpx2.BaseTransport):
    """httpx2's own transport does not let its caller choose the network below: so a small one over the same pool."""

    def __init__(self) -> None:
        self._pool = httpcore2.ConnectionPool(ssl_context=_trusted(), max_connections=10, keepalive_expiry=30.0, network_backend=_Network())

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = httpcore2.URL(scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path)
        sent = httpcore2.Request(
            method=request.method, url=url, headers=request.headers.raw, content=request.stream, extensions={"timeout": {"pool": _left()}}
        )
        try:
            answer = self._pool.handle_request(sent)
        except Exception as error:
            raise _translated(error) from error
        return httpx2.Response(status_code=answer.status, headers=answer.headers, stream=_Body(answer))

    def close(self) -> None:
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer.iter_stream()
        except Exception as error:
            raise _translated(error) from error

    def close(self) -> None:
        self._answer.close()


class _Network(httpcore2.NetworkBackend):
    """Connections that give every wait what is left until the deadline."""

    def __init__(self) -> None:
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline decides
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            left = _left()
        except httpcore2.ReadTimeout as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        return _Stream(self._sockets.connect_tcp(host, port, left, local_address, socket_options))


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline decides
        return self._stream.read(max_bytes, _left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the deadline decides
        self._stream.write(buffer, _left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the deadline decides
    ) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left()))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left() -> float:
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("no answer in time")
    return left


def _translated(error: Exception) -> Exception:
    """httpx2's word for what httpcore2 says; anything else stays what it is."""
    if isinstance(error, _NEVER_SENT):
        return httpx2.ConnectError(_reason(error))
    if isinstance(error, httpcore2.TimeoutException):
        return httpx2.ReadTimeout(_reason(error) if str(error) != "timed out" else "no answer in time")
    if isinstance(error, httpcore2.NetworkError | httpcore2.ProtocolError):
        return httpx2.ReadError(_reason(error))
    return error
