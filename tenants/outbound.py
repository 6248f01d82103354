"""The one client for addresses that users choose: it reaches the public internet and nothing of our own network.

https only, on the ports of `ACS_OUTBOUND_PORTS`; the name is resolved here, every address that it has must be a public one, and the connection goes
to the very address that was checked, under TLS for the name: an answer of the DNS that changes a moment later changes nothing. Redirects are not
followed, proxies of the environment not used, time and size are bounded. `ACS_OUTBOUND_ALLOWED` names HOST:PORT pairs that an operator permits whatever
their address is, and without TLS.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpcore2
import httpx2
from django.conf import settings
from django.utils.translation import gettext as _

CONNECT_SECONDS, TOTAL_SECONDS = 2.0, 5.0
MOST_BYTES = 256 * 1024
HEADERS = [("Accept", "application/json"), ("Accept-Encoding", "identity"), ("User-Agent", "acs")]
LOOKUPS = threading.BoundedSemaphore(16)  # a name server that is silent holds a thread, of so many at most
GLOBAL_V6 = ipaddress.ip_network("2000::/3")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
NEVER_V6 = [ipaddress.ip_network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20")]  # Teredo and other tunnels; documentation

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


class OutboundError(Exception):
    """The base of this page."""


class Forbidden(OutboundError):
    """An address that nobody may choose. Nothing was sent."""


class Failed(OutboundError):
    """No usable answer: unreachable, too slow, too large, a redirect, a status other than 200."""


@dataclass(frozen=True)
class Target:
    """A checked URL. `permitted`: an operator vouches for it, so its address is not looked at."""

    url: httpx2.URL
    host: str
    port: int
    permitted: bool


def check(url: str, *, any_port: bool = False) -> Target:
    """What can be said of a URL before its name is resolved; `any_port`: where it is a name that nobody calls. Raises: Forbidden."""
    try:
        parsed = httpx2.URL(url)
        host, port = parsed.raw_host.decode("ascii").lower().strip("[]"), parsed.port or {"https": 443, "http": 80}.get(parsed.scheme, 0)
    except (httpx2.InvalidURL, UnicodeError, ValueError, TypeError):
        raise Forbidden(_("not a URL")) from None
    if not url.isascii() or any(sign <= " " or sign in '\\"<>`{}|^' for sign in url) or not host:
        raise Forbidden(_("not a URL"))
    if parsed.userinfo or parsed.fragment or "#" in url:
        raise Forbidden(_("no user name, password or fragment belongs into it"))
    permitted = f"{f'[{host}]' if ':' in host else host}:{port}" in settings.OUTBOUND_ALLOWED
    if parsed.scheme not in (("http", "https") if permitted else ("https",)):
        raise Forbidden(_("it must begin with https://"))
    if not permitted and not any_port and port not in settings.OUTBOUND_PORTS:
        raise Forbidden(_("port %(port)d is not open to such calls") % {"port": port})
    return Target(parsed, host, port, permitted)


def is_public(address: str) -> bool:
    """Whether it is a host of the public internet, also where an IPv4 address stands inside of an IPv6 one."""
    try:
        ip: Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast and not ip.is_reserved
    inner = ip.ipv4_mapped or (ipaddress.IPv4Address(ip.packed[12:]) if ip in NAT64 else ip.sixtofour)
    if inner is not None:
        return is_public(str(inner))
    return ip in GLOBAL_V6 and ip.is_global and not any(ip in network for network in NEVER_V6)


def fetch(url: str, *, deadline: float | None = None, resolve: Resolve | None = None) -> bytes:
    """The body that a GET of this URL answers with status 200, by `deadline` (time.monotonic()) or within TOTAL_SECONDS.

    `resolve` replaces the system's name service. Raises: Forbidden, Failed.
    """
    target = check(url)
    ends = min(deadline or float("inf"), time.monotonic() + TOTAL_SECONDS)
    headers: list[tuple[bytes | str, bytes | str]] = [("Host", target.url.netloc), *HEADERS]
    request = httpcore2.Request(
        "GET",
        httpcore2.URL(scheme=target.url.raw_scheme, host=target.host, port=target.port, target=target.url.raw_path),
        headers=headers,
    )
    try:
        network = _Network(target, ends, resolve or _system)
        with httpcore2.ConnectionPool(ssl_context=_trusted(), max_connections=1, network_backend=network) as pool:
            response = pool.handle_request(request)
            try:
                return _read(response)
            finally:
                response.close()
    except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol, OSError) as error:
        raise Failed(str(error) or type(error).__name__) from error


def _read(response: httpcore2.Response) -> bytes:
    if response.status != 200:
        raise Failed(f"it answered with status {response.status}")
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Failed(f"its answer is larger than {MOST_BYTES} bytes")
    return bytes(body)


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Read once a process: it costs more than the call that it is for."""
    return httpx2.create_ssl_context()


def _system(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _looked_up(target: Target, resolve: Resolve, within: float) -> list[str]:
    """The name's addresses. The system's lookup knows no timeout: a thread does it, and is left behind when it takes too long."""
    answer: list[list[str]] = []
    if not LOOKUPS.acquire(blocking=False):
        raise Failed("too many names are being looked up")

    def look_up() -> None:
        try:
            with suppress(OSError, UnicodeError):
                answer.append(resolve(target.host, target.port))
        finally:
            LOOKUPS.release()

    thread = threading.Thread(target=look_up, daemon=True, name="outbound-lookup")
    thread.start()
    thread.join(within)
    if not answer or not answer[0]:
        raise Failed(f"the name {target.host} has no address" if not thread.is_alive() else f"looking up {target.host} took too long")
    return answer[0]


class _Network(httpcore2.NetworkBackend):
    """Connects to an address of the target that was looked up once and checked, and to no other."""

    def __init__(self, target: Target, ends: float, resolve: Resolve) -> None:
        self._target, self._ends, self._resolve = target, ends, resolve

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - the target's
        port: int,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002 - the deadline decides
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        target = self._target
        addresses = _looked_up(target, self._resolve, _left(self._ends))
        if not target.permitted and (inside := [address for address in addresses if not is_public(address)]):
            raise Forbidden(f"{target.host} is {inside[0]}, which is no address of the public internet")
        error: Exception | None = None
        for address in addresses[:3]:
            try:
                stream = httpcore2.SyncBackend().connect_tcp(address, target.port, min(CONNECT_SECONDS, _left(self._ends)))
                return _Stream(stream, self._ends)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failed:
                error = failed
        raise error or httpcore2.ConnectError("no address")


class _Stream(httpcore2.NetworkStream):
    """A connection whose every wait ends with the whole call's time."""

    def __init__(self, stream: httpcore2.NetworkStream, ends: float) -> None:
        self._stream, self._ends = stream, ends

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline decides
        return self._stream.read(max_bytes, _left(self._ends))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._ends))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(self._ends)), self._ends)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("no answer in time")
    return left
