"""One HAProxy, driven over its runtime socket. Everything foreign about it stays in this module.

Callers see plain values and three errors: the gateway was never reached (GatewayUnreachable), it fell silent and may have done what it was
told (GatewaySilent; every command here may be repeated), or it answered no (GatewayRefused). No call takes longer than `timeout` seconds.
Needs HAProxy 2.6 or later and a configuration as placement/gateway/config.py renders it: a backend `tenants`, a map file `tenants.map`.
"""

from __future__ import annotations

import re
import socket
import time
from pathlib import PurePath
from typing import Self

from placement.errors import PlacementError
from placement.gateway.plan import READY_HOST, READY_VALUE, Seen, Server, Target

TIMEOUT = 5.0  # seconds, each command
BACKEND = "tenants"
MAP_NAME = "tenants.map"
CA_NAME = "clusters-ca.pem"
SYSTEM_CA = "@system-ca"
PROMPT = b"\n> "
WORD = re.compile(r"[A-Za-z0-9._:/-]+")
SETTLE = 2.0  # seconds that a server's last connections get to end before it is deleted


class GatewayError(PlacementError):
    """A gateway did not do what it was asked."""

    def __init__(self, gateway: str, reason: str) -> None:
        super().__init__(f"gateway {gateway}: {reason}")
        self.gateway = gateway
        self.reason = reason


class GatewayUnreachable(GatewayError):
    """Nobody listens on the socket: nothing was done."""


class GatewaySilent(GatewayError):
    """The command was sent and no whole answer came: it may have been done."""


class GatewayRefused(GatewayError):
    """HAProxy answered no; `reason` holds its words."""


class Gateway:
    """A conversation with one HAProxy; use it as a context manager.

    `address` is the path of a Unix socket, or HOST:PORT. Raises on entry: GatewayUnreachable, GatewaySilent, GatewayRefused.
    """

    def __init__(self, address: str, *, timeout: float = TIMEOUT) -> None:
        self.address = address
        self.timeout = timeout
        self._map = ""

    def __enter__(self) -> Self:
        self._socket = self._connect()
        try:
            self._command("prompt")
            self._map = self._find_map()
        except GatewayError:
            self._socket.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    # ---- what it has -------------------------------------------------------------------------------------------------
    def seen(self) -> Seen:
        """Every server of the backend and every name of the map."""
        return Seen(servers=self._servers(), hosts=self._hosts())

    def started_at(self) -> int:
        """When this HAProxy process started, in seconds since 1970: another value means that it forgot every route."""
        lines = dict(line.split(": ", 1) for line in self._command("show info").splitlines() if ": " in line)
        try:
            return int(lines["Start_time_sec"])
        except (KeyError, ValueError) as error:
            raise GatewayRefused(self.address, "show info names no Start_time_sec") from error

    # ---- what it is told ---------------------------------------------------------------------------------------------
    def add_server(self, account: str, target: Target) -> None:
        """A server of that name, serving at once. It has weight 0: only its tenant's name leads to it, never the balancing."""
        words = f"{_bracketed(target.address)}:{target.port} weight 0"
        if target.tls_name:
            words += f" ssl verify required ca-file {self._find_ca()} sni str({_word(target.tls_name)})"
        self._told(f"add server {self._server(account)} {words}", "New server registered.")
        self.enable_server(account)

    def enable_server(self, account: str) -> None:
        self._told(f"set server {self._server(account)} weight 0")
        self._told(f"set server {self._server(account)} state ready")

    def point_server(self, account: str, target: Target) -> None:
        """New connections of the tenant go to `target`; the open ones stay where they are until `cut`."""
        self._told(
            f"set server {self._server(account)} addr {_word(target.address)} port {target.port}",
            "IP changed",
            "no need to change",
            "port changed",
        )

    def remove_server(self, account: str) -> None:
        """Close the server's connections and forget it."""
        self._told(f"set server {self._server(account)} state maint")
        self.cut(account)
        deadline = time.monotonic() + SETTLE
        while True:
            answer = self._command(f"del server {self._server(account)}")
            if answer.startswith(("Server deleted", "No such server")):
                return
            if time.monotonic() > deadline or "still has connections" not in answer:
                raise GatewayRefused(self.address, answer)
            time.sleep(0.02)

    def cut(self, account: str) -> None:
        """Close every open connection of this tenant, and of no other."""
        self._told(f"shutdown sessions server {self._server(account)}")

    def add_host(self, host: str, account: str) -> None:
        self._told(f"add map {self._map} {_word(host)} {_word(account)}")

    def drop_host(self, host: str) -> None:
        self._told(f"del map {self._map} {_word(host)}", "Key not found")

    def say_ready(self) -> None:
        """All routes are told: from now on an unknown name is a 404 and no longer a 503."""
        self.add_host(READY_HOST, READY_VALUE)

    # ---- the wire ----------------------------------------------------------------------------------------------------
    def _connect(self) -> socket.socket:
        try:
            if "/" not in self.address:
                host, _, port = self.address.rpartition(":")
                return socket.create_connection((host.strip("[]"), int(port)), timeout=self.timeout)
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(self.timeout)
            connection.connect(self.address)
        except (OSError, ValueError) as error:
            raise GatewayUnreachable(self.address, f"cannot connect ({error})") from error
        return connection

    def _command(self, command: str) -> str:
        """Send one line, return the answer without the prompt. Raises: GatewaySilent."""
        deadline = time.monotonic() + self.timeout
        answer = bytearray()
        try:
            self._socket.settimeout(self.timeout)
            self._socket.sendall(command.encode() + b"\n")
            while not answer.endswith(PROMPT):
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                received = self._socket.recv(1 << 18)
                if not received:
                    raise GatewaySilent(self.address, f"closed the connection during {command.split(' ', 2)[:2]}")
                answer += received
        except OSError as error:
            raise GatewaySilent(self.address, f"no answer to {command.split(' ', 2)[:2]} ({error})") from error
        return answer[: -len(PROMPT)].decode(errors="replace").strip()

    def _told(self, command: str, *accepted: str) -> None:
        """A command whose success is silence, or one of the accepted openings. Raises: GatewaySilent, GatewayRefused."""
        answer = self._command(command)
        if answer and not answer.startswith(accepted or ("\0",)):
            raise GatewayRefused(self.address, answer)

    def _find_map(self) -> str:
        """The map's path as the configuration spells it."""
        answer = self._command("show map")
        for path in re.findall(r"^-?\d+ \((.+?)\)", answer, re.MULTILINE):
            if PurePath(path).name == MAP_NAME:
                return _word(path)
        raise GatewayRefused(
            self.address,
            f"no map {MAP_NAME}: start HAProxy with the configuration of `manage.py gateway config`, and a socket of level admin",
        )

    def _find_ca(self) -> str:
        """The authorities that vouch for clusters which speak TLS. HAProxy takes only a file that its configuration has loaded."""
        loaded = re.findall(r"^(\S+) - \d+ certificate", self._command("show ssl ca-file"), re.MULTILINE)
        return next((_word(path) for path in loaded if PurePath(path).name == CA_NAME), SYSTEM_CA)

    def _servers(self) -> dict[str, Server]:
        version, _, table = self._command(f"show servers state {BACKEND}").partition("\n")
        if version != "1":
            raise GatewayRefused(self.address, f"{version or 'nothing'} (show servers state {BACKEND})")
        names, *lines = table.splitlines()
        columns = names.removeprefix("# ").split(" ")
        rows = (dict(zip(columns, line.split(" "), strict=False)) for line in lines if line)
        return {row["srv_name"]: _server_of(row) for row in rows}

    def _hosts(self) -> tuple[tuple[str, str], ...]:
        lines = (line.split(" ") for line in self._command(f"show map {self._map}").splitlines())
        return tuple((words[1], words[2]) for words in lines if len(words) == 3)

    def _server(self, account: str) -> str:
        return f"{BACKEND}/{_word(account)}"


def _server_of(row: dict[str, str]) -> Server:
    return Server(
        address=row["srv_addr"],
        port=int(row["srv_port"]),
        tls=row.get("srv_use_ssl") == "1",
        serving=row["srv_admin_state"] == "0" and row["srv_op_state"] == "2" and row["srv_uweight"] == "0",
    )


def _word(text: str) -> str:
    """A word of a command. Blanks, semicolons and line ends would begin another one."""
    if not WORD.fullmatch(text):
        raise ValueError(f"{text!r} cannot stand in a gateway command")
    return text


def _bracketed(address: str) -> str:
    return f"[{_word(address)}]" if ":" in address else _word(address)
