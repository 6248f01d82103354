"""A real HAProxy on loopback addresses, with a certificate authority of the tests' own, and small servers that stand for clusters."""

from __future__ import annotations

import datetime
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from placement.gateway import config
from placement.gateway.haproxy import Gateway, GatewayUnreachable
from placement.gateway.plan import Target

DOMAIN = "tenants.example"


class Authority:
    """A certificate authority and one wildcard certificate, as PEM files in a folder."""

    def __init__(self, folder: Path, domain: str) -> None:
        self.ca, self.pem = folder / "clusters-ca.pem", folder / "wildcard.pem"
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the tests")])
        ca = self._builder(ca_name, ca_name, ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        names = x509.SubjectAlternativeName([x509.DNSName(f"*.{domain}")])
        leaf = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"*.{domain}")]), ca_name, key).add_extension(
            names, critical=False
        )
        pem = serialization.Encoding.PEM
        self.ca.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.pem.write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem) + secret)
        self.pem.chmod(0o600)

    @staticmethod
    def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        return builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)


class Backend:
    """Stands for a headscale server: answers its name and what it was asked, and upgrades connections that ask for it to an echo."""

    def __init__(self, name: str, *, pem: Path | None = None) -> None:
        """With a PEM file of certificate and key it speaks TLS."""
        self.name = name
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if pem else None
        if self._tls and pem:
            self._tls.load_cert_chain(pem)
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = Target("127.0.0.1", self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
        except OSError:
            plain.close()
            return
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(65536)
                if not received:
                    return
                head += received
            self.requests.append(head.decode())
            if b"upgrade: echo" in head.lower():
                connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
                while received := connection.recv(65536):
                    connection.sendall(received)
                return
            body = self.name.encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def close(self) -> None:
        self._listener.close()


class Haproxy:
    """One HAProxy process with the configuration that operators get."""

    def __init__(
        self, folder: Path, *, acs_url: str = "", admin: str = "", bind: tuple[str, str] = ("", ""), run_in: Sequence[str] = ()
    ) -> None:
        """`bind`: addresses for HTTP and HTTPS, in place of free ports of loopback. `run_in`: words before the command."""
        self.folder, self.run_in = folder, run_in
        self.authority = Authority(folder, DOMAIN)
        self.http, self.https = free_port(), free_port()
        self.socket = admin or str(folder / "acs.sock")
        (folder / "tenants.map").touch()
        (folder / "haproxy.cfg").write_text(
            config.render(
                domain=DOMAIN,
                certificate=str(self.authority.pem),
                map_path=str(folder / "tenants.map"),
                socket=f"ipv4@{admin}" if admin else f"{self.socket} mode 600",
                http_bind=bind[0] or f"127.0.0.1:{self.http}",
                https_bind=bind[1] or f"127.0.0.1:{self.https}",
                cluster_ca=str(self.authority.ca),
                acs_url=acs_url,
            )
        )

    def start(self) -> Haproxy:
        with (self.folder / "haproxy.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.run_in, "haproxy", "-db", "-f", str(self.folder / "haproxy.cfg")], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 10
        while True:
            try:
                with Gateway(self.socket):
                    return self
            except GatewayUnreachable:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError((self.folder / "haproxy.log").read_text()) from None
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def connect(self, *, tls: bool, name: str = f"any.{DOMAIN}") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.https if tls else self.http), timeout=5)
        if not tls:
            return connection
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        return context.wrap_socket(connection, server_hostname=name)

    def ask(self, host: str, path: str = "/key", *, tls: bool = False, method: str = "GET", extra: str = "") -> tuple[int, str]:
        """The status and the whole answer; the path travels as it is written, whatever it looks like."""
        with self.connect(tls=tls) as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{extra}Connection: close\r\n\r\n".encode())
            answer = b""
            while received := connection.recv(65536):
                answer += received
        text = answer.decode()
        return int(text.split(" ", 2)[1]), text

    def upgrade(self, host: str, *, tls: bool = False) -> socket.socket:
        connection = self.connect(tls=tls)
        connection.sendall(f"POST /ts2021 HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n".encode())
        answer = connection.recv(65536)
        assert b" 101 " in answer, answer
        return connection


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(connection: socket.socket) -> bool:
    """Whether the echo at the other end still answers."""
    try:
        connection.sendall(b"hello")
        return connection.recv(100) == b"hello"
    except OSError:
        return False


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Haproxy]:
    """A running gateway that knows no route yet."""
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not on PATH")
    running = Haproxy(tmp_path).start()
    yield running
    running.kill()


@pytest.fixture
def backends() -> Iterator[tuple[Backend, Backend]]:
    pair = Backend("a"), Backend("b")
    yield pair
    for backend in pair:
        backend.close()
