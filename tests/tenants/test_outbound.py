"""The guarded client: what an address that a user chose must not reach, and how long and how much it may answer."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tenants import outbound
from tenants.outbound import Failed, Forbidden
from tests.fakes.wire import answering, dribbling, flooding, hanging, saying

PRIVATE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255",
    "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "3fff::1", "2001::1", "100::1", "5f00::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:a00:1::", "2002:6440:1::", "", "localhost", "1.1.1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "2606:4700:4700::1111",
    "::ffff:1.1.1.1",
    "64:ff9b::1.1.1.1",
    "2002:101:101::",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_our_own_network_and_what_is_nowhere_is_not_public(address):
    assert not outbound.is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_is_public(address):
    assert outbound.is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_is_judged_alike_in_whatever_dress(address):
    bare = outbound.is_public(str(address))
    packed = address.packed.hex()
    for dressed in (f"::ffff:{address}", f"64:ff9b::{address}", f"2002:{packed[:4]}:{packed[4:]}::"):
        assert outbound.is_public(dressed) == bare
    if bare:
        assert not address.is_private
        assert address not in ipaddress.ip_network("100.64.0.0/10")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "//example.com/", "example.com", "", "https://", "https:///x", "https://a b/",
        "https://user@example.com/", "https://user:word@example.com/", "https://example.com/#part", "https://example.com/#", "https://example.com:8443/",
        "https://example.com:22/", "https://exämple.com/", "https://example.com\\@evil.com/", "https://example.com/\r\nX: y", "https://[::1", "https://example.com:x/",
        "https://example.com:99999/", "javascript:alert(1)", "https://example.com/{x}",
    ],
)  # fmt: skip
def test_addresses_that_nobody_may_choose(url):
    with pytest.raises(Forbidden):
        outbound.check(url)


def test_ports_and_hosts_that_an_operator_permits(settings):
    settings.OUTBOUND_PORTS = [443, 8443]
    assert outbound.check("https://example.com:8443/").port == 8443
    settings.OUTBOUND_ALLOWED = ["issuer.internal:8080", "[::1]:8443"]
    assert outbound.check("http://issuer.internal:8080/x").permitted
    assert outbound.check("https://[::1]:8443/").permitted
    for url in ("http://issuer.internal/", "http://issuer.internal:8081/", "http://other.internal:8080/", "ftp://issuer.internal:8080/"):
        with pytest.raises(Forbidden):
            outbound.check(url)


def resolving(*answers: list[str]) -> Any:
    """A name service that answers something else each time it is asked. `asked` counts."""
    left = list(answers)

    def resolve(host: str, port: int) -> list[str]:
        resolve.asked += 1  # type: ignore[attr-defined]
        return left.pop(0)

    resolve.asked = 0  # type: ignore[attr-defined]
    return resolve


@pytest.fixture
def dialled(monkeypatch: Any) -> list[Any]:
    """The addresses to which a connection is attempted; none is made."""
    made: list[Any] = []

    def connect(address: Any, *_: Any, **__: Any) -> Any:
        made.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", connect)
    return made


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["10.0.0.7"], ["169.254.169.254"], ["::1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:10.0.0.1"]]
)
def test_a_name_with_an_address_inside_is_never_called(dialled, addresses):
    with pytest.raises(Forbidden, match="no address of the public internet"):
        outbound.fetch("https://issuer.example/keys", resolve=resolving(addresses))
    assert dialled == []


def test_a_name_is_looked_up_once_and_the_address_that_was_checked_is_called(dialled):
    changing = resolving(["93.184.216.34"], ["127.0.0.1"])
    with pytest.raises(Failed):
        outbound.fetch("https://issuer.example/keys", resolve=changing)
    assert dialled == [("93.184.216.34", 443)]
    assert changing.asked == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://localhost/",
        "https://localhost./",
    ],
)
def test_loopback_in_every_spelling(dialled, url):
    with pytest.raises((Forbidden, Failed)):
        outbound.fetch(url)
    assert dialled == []


def test_a_permitted_host_is_called_at_the_address_that_was_looked_up(settings):
    with answering(saying(200, {"a": 1})) as server:
        port = server.url.rpartition(":")[2]
        settings.OUTBOUND_ALLOWED = [f"issuer.test:{port}"]
        assert outbound.fetch(f"http://issuer.test:{port}/x?y=1", resolve=resolving(["127.0.0.1"])) == b'{"a": 1}'
        head = server.requests[0]
    assert head.startswith("GET /x?y=1 HTTP/1.1\r\n")
    assert f"host: issuer.test:{port}\r\n" in head.lower()


@pytest.fixture
def permitted(settings: Any) -> Any:
    def permit(server: Any) -> str:
        settings.OUTBOUND_ALLOWED = [server.url.removeprefix("http://")]
        return f"{server.url}/"

    return permit


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 308, 401, 404, 500, 503])
def test_only_a_plain_answer_is_one(permitted, status):
    with answering(saying(status, {}, Location="https://example.com/")) as server, pytest.raises(Failed, match=str(status)):
        outbound.fetch(permitted(server))
    assert len(server.requests) == 1


def test_a_large_answer_is_not_read_to_its_end(permitted):
    assert len(saying_of(permitted, b"x" * outbound.MOST_BYTES)) == outbound.MOST_BYTES
    with answering(flooding(b"HTTP/1.1 200 OK\r\n\r\n", 50_000_000)) as server, pytest.raises(Failed, match="larger"):
        outbound.fetch(permitted(server))


def saying_of(permitted: Any, body: bytes) -> bytes:
    with answering(saying(200, body)) as server:
        return outbound.fetch(permitted(server))


@pytest.mark.parametrize("reply", [hanging(3), dribbling(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500, every=0.05)])
def test_a_slow_answer_ends_with_the_time_that_it_has(permitted, reply):
    begun = time.monotonic()
    with answering(reply) as server, pytest.raises(Failed):
        outbound.fetch(permitted(server), deadline=time.monotonic() + 0.4)
    assert time.monotonic() - begun < 1


def test_a_slow_name_server_too_and_many_of_them_do_not_pile_up():
    begun, never = time.monotonic(), threading.Event()

    def silent(host: str, port: int) -> list[str]:
        never.wait(20)
        return []

    try:
        for _ in range(20):
            with pytest.raises(Failed, match=r"too long|too many"):
                outbound.fetch("https://issuer.example/", resolve=silent, deadline=time.monotonic() + 0.02)
        assert time.monotonic() - begun < 2
        assert sum(thread.name == "outbound-lookup" for thread in threading.enumerate()) <= 16
    finally:
        never.set()
        for thread in threading.enumerate():
            if thread.name == "outbound-lookup":
                thread.join(5)


def test_broken_http_and_nobody_there_are_failures(permitted):
    with answering(lambda connection: connection.sendall(b"hello\r\n\r\n")) as server, pytest.raises(Failed):
        outbound.fetch(permitted(server))
    with pytest.raises(Failed):
        outbound.fetch(permitted(server))
    with pytest.raises(Failed, match="no address"):
        outbound.fetch("https://nowhere.invalid/")


def test_proxies_of_the_environment_are_not_asked(permitted, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert saying_of(permitted, b"{}") == b"{}"


# ---- TLS -------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> Path:
    """A certificate for the name, which signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls(tmp_path: Path, settings: Any, monkeypatch: Any) -> Iterator[Any]:
    """A server with a certificate for issuer.test; call it to trust that certificate. Its value is its port."""
    pem = certificate(tmp_path, "issuer.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            except OSError:
                continue

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        port = listening.getsockname()[1]
        settings.OUTBOUND_ALLOWED = [f"issuer.test:{port}", f"other.test:{port}"]

        def trust() -> None:
            monkeypatch.setenv("SSL_CERT_FILE", str(pem))
            outbound._trusted.cache_clear()

        outbound._trusted.cache_clear()
        yield port, trust
        listening.shutdown(socket.SHUT_RDWR)
    outbound._trusted.cache_clear()


def test_tls_is_verified_for_the_name(tls):
    port, trust = tls
    with pytest.raises(Failed, match="certificate verify failed"):
        outbound.fetch(f"https://issuer.test:{port}/", resolve=resolving(["127.0.0.1"]))
    trust()
    assert outbound.fetch(f"https://issuer.test:{port}/", resolve=resolving(["127.0.0.1"])) == b"{}"
    with pytest.raises(Failed, match=r"other\.test"):
        outbound.fetch(f"https://other.test:{port}/", resolve=resolving(["127.0.0.1"]))
