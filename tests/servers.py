"""Headscale servers, simulators and Tailscale clients as processes of a test: ready when the block begins, gone when it ends.

`with run_headscale(folder) as server:` writes config.yaml into the folder unless one is there (from `fleet add-cluster`, or from a
former run: the same folder again is the same server restarted), starts, and gives its addresses and an admin key.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt
import httpx2
import psycopg
import yaml

from acs.demo.simulator import device
from placement.headscale.admin import Admin
from placement.headscale.fleet import config, noise
from placement.headscale.fleet.binary import free_ports

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 20.0  # seconds that a process may take to be ready


class JoinRefused(Exception):
    """The server did not let a device in; the text is what the client was told."""


@dataclass
class Server:
    """A running server. `is_real`: headscale itself; else the simulator."""

    is_real: bool
    url: str
    metrics_url: str
    api_key: str
    folder: Path
    process: subprocess.Popen[bytes]

    def admin(self, cluster_id: str = "tested", *, timeout: float = 10.0) -> Admin:
        return Admin(cluster_id, self.url, self.api_key, timeout=timeout)

    @property
    def database(self) -> Mapping[str, Any]:
        return yaml.safe_load((self.folder / "config.yaml").read_text())["database"]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query finds in the server's tables, seen as the server itself."""
        return rows(self.database, query)


@contextmanager
def run_simulator(folder: Path, **plan: Any) -> Iterator[Server]:
    """`plan`: see `configure`."""
    path = configure(folder, **plan)
    with _running(folder, path, [sys.executable, "-m", "acs.demo.simulator", "--config", str(path)], is_real=False) as server:
        yield server


@contextmanager
def run_headscale(folder: Path, **plan: Any) -> Iterator[Server]:
    """Real headscale; the caller carries the marker `headscale`. `plan`: see `configure`."""
    path = configure(folder, **plan)
    with _running(folder, path, ["headscale", "serve", "--config", str(path)], is_real=True) as server:
        yield server


def configure(
    folder: Path,
    *,
    database_url: str = "",
    prefix_v4: str = "100.64.0.0/20",
    prefix_v6: str = "fd7a:115c:a1e0:1::/64",
    noise_key: str = "",
    server_url: str = "",
    base_domain: str = "fleet.internal",
    policy_mode: str = "database",
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write config.yaml for free ports of loopback, unless the folder has one. Without `database_url` the server keeps an SQLite file.

    `more`: settings of headscale's own, merged over the rest at the top level.
    """
    path = folder / "config.yaml"
    if path.exists():
        return path
    listen, metrics, grpc = (f"127.0.0.1:{port}" for port in free_ports(3))
    plan = config.Plan(
        server_url=server_url or f"http://{listen}",
        listen=listen,
        metrics_listen=metrics,
        grpc_listen=grpc,
        base_domain=base_domain,
        prefix_v4=prefix_v4,
        prefix_v6=prefix_v6,
        conninfo=database_url,
        policy_mode=policy_mode,
        batch_timeout="20ms",
    )
    config.write(folder, plan, noise_key=noise_key or noise.generate(), derp_map=config.LOOPBACK_MAP)
    settings = yaml.safe_load(path.read_text())
    if not database_url:
        settings["database"] = {"type": "sqlite", "sqlite": {"path": str(folder.resolve() / "db.sqlite"), "write_ahead_log": True}}
    path.write_text(yaml.safe_dump({**settings, **(more or {})}))
    return path


@contextmanager
def _running(folder: Path, path: Path, command: list[str], *, is_real: bool) -> Iterator[Server]:
    settings = yaml.safe_load(path.read_text())
    url, metrics_url = f"http://{settings['listen_addr']}", f"http://{settings['metrics_listen_addr']}/metrics"
    with process(command, folder / "log") as started:
        wait_for_http(f"{url}/health", started, folder / "log")
        wait_for_port(settings["metrics_listen_addr"], started)
        key_file = folder / "admin.key"
        if not key_file.exists():
            key_file.write_text(insert_admin_key(settings["database"]))
        yield Server(is_real, url, metrics_url, key_file.read_text(), folder, started)


@contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone when the block ends: asked first, killed after five seconds."""
    with log.open("ab") as output:
        started = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env={**os.environ, **environment})
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(5)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def wait_for_http(url: str, started: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and started.poll() is None:
        try:
            if httpx2.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.05)
    raise AssertionError(f"{url} never answered; its log ends: {log.read_text(errors='replace')[-2000:]}")


def wait_for_port(address: str, started: subprocess.Popen[bytes]) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and started.poll() is None:
        try:
            socket.create_connection((host, int(port)), 2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"nothing listens on {address}")


def insert_admin_key(database: Mapping[str, Any], *, secret: str = "", cost: int = 4) -> str:
    """An admin key written straight into the server's table, which it heeds at once; cheap to compare."""
    prefix, secret = secrets.token_hex(6), secret or secrets.token_hex(32)
    hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(cost))
    if database["type"] == "sqlite":
        with sqlite3.connect(database["sqlite"]["path"], timeout=10) as file:
            file.execute("insert into api_keys (prefix, hash, created_at) values (?, ?, datetime('now'))", [prefix, hashed])
        file.close()
    else:
        with _postgres(database) as connection:
            connection.execute("insert into api_keys (prefix, hash, created_at) values (%s, %s, now())", [prefix, hashed])
    return f"hskey-api-{prefix}-{secret}"


def rows(database: Mapping[str, Any], query: str) -> list[tuple[Any, ...]]:
    if database["type"] == "sqlite":
        with sqlite3.connect(database["sqlite"]["path"], timeout=10) as file:
            found = file.execute(query).fetchall()
        file.close()
        return found
    with _postgres(database) as connection:
        return connection.execute(query.encode()).fetchall()


def _postgres(database: Mapping[str, Any]) -> psycopg.Connection[Any]:
    words = database["postgres"]
    return psycopg.connect(host=words["host"], port=words["port"], dbname=words["name"], user=words["user"], password=words["pass"] or None)


@dataclass
class Tailscale:
    """A real client: tailscaled with userspace networking, driven over its socket."""

    folder: Path
    process: subprocess.Popen[bytes]
    hostname: str = field(default="")

    def run(self, *words: str, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
        command = ["tailscale", f"--socket={self.folder / 'socket'}", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)

    def up(self, login_server: str, auth_key: str, hostname: str, *more: str, until_running: bool = True) -> None:
        """Without `until_running` it ends as soon as the server has let the client in: two seconds before its network check is through.

        Raises: JoinRefused.
        """
        words = [
            f"--login-server={login_server}",
            f"--auth-key={auth_key}",
            f"--hostname={hostname}",
            "--accept-dns=false",
            "--timeout=15s",
            *more,
        ]
        command = ["tailscale", f"--socket={self.folder / 'socket'}", "up", *words]
        former = self.node_key
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as up:
            while up.poll() is None:
                time.sleep(0.05)
                if not until_running and self.status().get("BackendState") in ("Starting", "Running") and self.node_key not in ("", former):
                    up.terminate()
                    return
            if up.returncode != 0:
                raise JoinRefused(up.stderr.read().strip() if up.stderr else "")

    def ask(self, login_server: str, hostname: str, *more: str) -> str:
        """Begin an interactive login; the id at the end of the address that the person would open."""
        words = ["up", f"--login-server={login_server}", f"--hostname={hostname}", "--accept-dns=false", *more]
        deadline = time.monotonic() + PATIENCE
        with subprocess.Popen(
            ["tailscale", f"--socket={self.folder / 'socket'}", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as up:
            try:
                while not (url := self.status().get("AuthURL")):
                    assert time.monotonic() < deadline, f"the client shows no address to open: {self.status()}"
                    time.sleep(0.05)
            finally:
                up.terminate()
        return str(url).rpartition("/")[2]

    @property
    def node_key(self) -> str:
        """Nothing while the client has none: so it is for a moment when it logs in anew, before it has even asked the server."""
        key = str((self.status().get("Self") or {}).get("PublicKey", ""))
        return key if int(key.rpartition(":")[2] or "0", 16) else ""

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "--json").stdout)

    def is_running(self, *, patience: float = 5.0) -> bool:
        deadline = time.monotonic() + patience
        while not (running := self.status().get("BackendState") == "Running") and time.monotonic() < deadline:
            time.sleep(0.2)
        return running

    def logout(self) -> None:
        self.run("logout")


@contextmanager
def run_tailscaled(folder: Path) -> Iterator[Tailscale]:
    """The caller carries the marker `tailscale`. The folder holds the client's identity: the same again is the same machine."""
    folder.mkdir(parents=True, exist_ok=True)
    # the path of a Unix socket may have 107 characters, a test's folder can be longer: relative to the folder would not reach the client
    command = [
        "tailscaled",
        "--tun=userspace-networking",
        f"--statedir={folder}",
        f"--socket={folder / 'socket'}",
        "--port=0",
        "--no-logs-no-support",
    ]
    with process(command, folder / "log", TS_DISABLE_PORTMAPPER="1") as started:
        client = Tailscale(folder, started)
        deadline = time.monotonic() + PATIENCE
        while client.run("status", "--json").returncode != 0:
            assert time.monotonic() < deadline, (folder / "log").read_text(errors="replace")[-2000:]
            assert started.poll() is None, (folder / "log").read_text(errors="replace")[-2000:]
            time.sleep(0.05)
        yield client


@dataclass
class Machine:
    """A device of either kind, for tests that run on both: it joins with keys, leaves, and joins again as the same machine."""

    server: Server
    client: Tailscale | None = None
    simulated: device.SimulatedDevice | None = None
    machine_key: str = ""  # of a simulated one that asked without a key

    def join(self, auth_key: str, hostname: str, *, routes: Iterable[str] = (), tags: Iterable[str] = ()) -> None:
        """`routes`, `tags`: what it advertises. Raises: JoinRefused."""
        if self.client:
            advertised = [f"--advertise-routes={','.join(routes)}", f"--advertise-tags={','.join(tags)}"]
            again = ["--force-reauth"] if self.client.hostname else []
            try:
                self.client.up(self.server.url, auth_key, hostname, *again, *advertised, until_running=False)
            except JoinRefused as refusal:
                # on a loaded machine a client sends its key once more before the first answer has come, and is told that it is used: by itself
                if not again or "already used" not in str(refusal) or not self.client.is_running():
                    raise
            self.client.hostname = hostname
            return
        known = self.simulated.machine_key if self.simulated else None
        try:
            self.simulated = device.join(self.server.url, auth_key, hostname, machine_key=known, routes=routes, tags=tags)
        except device.DeviceRefused as error:
            raise JoinRefused(str(error)) from error

    def ask(self, hostname: str, *, tags: Iterable[str] = ()) -> str:
        """Ask to come in without a key: the id under which the admin API may register it. `tags`: what it advertises."""
        if self.client:
            return self.client.ask(self.server.url, hostname, f"--advertise-tags={','.join(tags)}")
        known = self.simulated.machine_key if self.simulated else self.machine_key
        self.machine_key = known or f"mkey:{secrets.token_hex(32)}"
        return device.ask_to_log_in(self.server.url, hostname, machine_key=self.machine_key, tags=tags)

    def peers(self) -> dict[str, list[str]]:
        """Whom the server shows it, by name, with the prefixes that lead there besides their own addresses."""
        if self.simulated:
            return {peer["name"]: peer["routes"] for peer in self.simulated.netmap()["peers"]}
        told = self.client.status().get("Peer") or {} if self.client else {}
        return {peer["DNSName"].partition(".")[0]: _routes_of(peer) for peer in told.values()}

    def filter(self) -> list[dict[str, Any]]:
        """What the server tells it to let in, in headscale's form."""
        if self.simulated:
            return self.simulated.netmap()["filter"]
        return (json.loads(self.client.run("debug", "netmap").stdout)["PacketFilterRules"] or []) if self.client else []

    def leave(self) -> None:
        """Log out. A client that has not heard yet that it was let in would go on waiting for it, and be in again."""
        if self.client:
            self.client.is_running(patience=PATIENCE)
            self.client.logout()
        elif self.simulated:
            self.simulated.leave()


def _routes_of(peer: dict[str, Any]) -> list[str]:
    own = [f"{address}/{128 if ':' in address else 32}" for address in peer["TailscaleIPs"]]
    return [prefix for prefix in peer["AllowedIPs"] if prefix not in own]


@contextmanager
def machine(server: Server, folder: Path) -> Iterator[Machine]:
    """A machine that can join `server`: a real client for a real server, a simulated one for the simulator."""
    if not server.is_real:
        yield Machine(server)
        return
    with run_tailscaled(folder) as client:
        yield Machine(server, client)
