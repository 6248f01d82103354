"""Real Tailscale clients log in through the gateway under their tenants' names, over TLS at port 443, in a network of their own."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from placement import policy
from placement.gateway.haproxy import Gateway
from placement.gateway.plan import Target
from placement.gateway.routes import converge
from tests.gateway.conftest import DOMAIN, Haproxy
from tests.servers import Tailscale, configure, process

pytestmark = [pytest.mark.haproxy, pytest.mark.headscale, pytest.mark.tailscale]
ADDRESS = "10.99.0.2"
PATIENCE = 30.0


@pytest.fixture
def network() -> Iterator[str]:
    """A network namespace in which the tenants' names lead to ADDRESS; nothing leaves it."""
    name = f"acs-gateway-{os.getpid()}"
    if os.geteuid() != 0 or subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace can be made here (needs root and ip)")
    names = Path("/etc/netns") / name
    try:
        for words in (
            "link set lo up",
            "link add v0 type veth peer name v1",
            f"addr add {ADDRESS}/24 dev v0",
            "link set v0 up",
            "link set v1 up",
            "route add default via 10.99.0.1",
        ):
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        names.mkdir(parents=True)  # `ip netns exec` shows these files in place of the host's
        (names / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} acme.{DOMAIN} bolt.{DOMAIN}\n")
        (names / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        yield name
    finally:
        for file in names.glob("*"):
            file.unlink()
        if names.exists():
            names.rmdir()
        subprocess.run(["ip", "netns", "del", name], check=True)


class Headscale:
    """A real server in the namespace; its command line reaches it over a Unix socket, which namespaces do not divide."""

    def __init__(self, folder: Path) -> None:
        self.config = configure(folder)

    def tell(self, *words: str) -> str:
        done = subprocess.run(["headscale", "--config", str(self.config), *words], capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def answers(self) -> bool:
        done = subprocess.run(["headscale", "--config", str(self.config), "users", "list"], capture_output=True, check=False, timeout=20)
        return done.returncode == 0

    def key_for(self, account: str) -> str:
        user = json.loads(self.tell("users", "create", account, "-o", "json"))
        return str(json.loads(self.tell("preauthkeys", "create", "--user", str(user["id"]), "--expiration", "1h", "-o", "json"))["key"])

    def online(self) -> set[str]:
        return {node["given_name"] for node in json.loads(self.tell("nodes", "list", "-o", "json")) or [] if node.get("online")}


def test_clients_log_in_under_their_names_and_only_the_cut_tenant_reconnects(network, tmp_path):
    headscale = Headscale(tmp_path / "server")
    (tmp_path / "policy").write_text(policy.base())
    (tmp_path / "gateway").mkdir()
    haproxy = Haproxy(tmp_path / "gateway", bind=(f"{ADDRESS}:8080", f"{ADDRESS}:443"), run_in=["ip", "netns", "exec", network])
    with ExitStack() as stack:
        run = ["ip", "netns", "exec", network]
        stack.enter_context(process([*run, "headscale", "serve", "--config", str(headscale.config)], tmp_path / "headscale.log"))
        wait_for(headscale.answers, "headscale answers")
        headscale.tell("policy", "set", "--file", str(tmp_path / "policy"))
        haproxy.start()
        stack.callback(haproxy.kill)
        host, _, port = yaml.safe_load(headscale.config.read_text())["listen_addr"].rpartition(":")
        with Gateway(haproxy.socket) as gateway:
            converge(gateway, lambda: dict.fromkeys(("acme", "bolt"), Target(host, int(port))), domain=DOMAIN)
        for account in ("acme", "bolt"):
            folder = tmp_path / account
            folder.mkdir()
            words = [
                "tailscaled",
                "--tun=userspace-networking",
                f"--statedir={folder}",
                f"--socket={folder}/socket",
                "--port=0",
                "--no-logs-no-support",
            ]
            trust = {"SSL_CERT_FILE": str(haproxy.authority.ca), "TS_DISABLE_PORTMAPPER": "1"}
            client = Tailscale(folder, stack.enter_context(process([*run, *words], folder / "log", **trust)))
            wait_for(lambda c=client: c.run("status", "--json").returncode == 0, "tailscaled answers")
            client.up(f"https://{account}.{DOMAIN}", headscale.key_for(account), account)
        wait_for(lambda: headscale.online() == {"acme", "bolt"}, "both are online")
        before = sessions(haproxy)
        with Gateway(haproxy.socket) as gateway:
            gateway.cut("acme")
        begun = time.monotonic()
        wait_for(lambda: sessions(haproxy)["acme"][0] >= 1 and sessions(haproxy)["acme"][1] > before["acme"][1], "acme is back")
        print(f"back {time.monotonic() - begun:.2f} s after the cut")
        assert sessions(haproxy)["bolt"] == before["bolt"]
        wait_for(lambda: headscale.online() == {"acme", "bolt"}, "both are online again")


def sessions(haproxy: Haproxy) -> dict[str, tuple[int, int]]:
    """By account: open sessions, and all there ever were."""
    with Gateway(haproxy.socket) as gateway:
        rows = csv.DictReader(gateway._command("show stat").removeprefix("# ").splitlines())
        return {
            row["svname"]: (int(row["scur"]), int(row["stot"])) for row in rows if row["pxname"] == "tenants" and row["svname"] != "BACKEND"
        }


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.1)
