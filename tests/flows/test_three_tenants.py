"""Three tenants on one real server, five real clients: policies and a peering change live, and netmaps and packets agree with what they say at every step."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import close_old_connections
from django.utils import timezone

from placement import bindings, clusters, devices
from placement.engine.regions import Wish
from placement.models import Binding, Cluster, ClusterPolicy
from placement.policies import peerings, pushing, storing
from placement.policies.compiling import compile_cluster
from placement.policies.gathering import gather
from tenants.models import NetworkPolicy
from tests import factories
from tests.cluster_servers import serve_cluster
from tests.live import run_web, wait_for
from tests.placement.policies.oracle import Node
from tests.placement.policies.oracle import Server as Oracle
from tests.servers import Tailscale, run_tailscaled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.headscale, pytest.mark.tailscale]

PATIENCE = 20.0  # seconds until every client has what the server has sent it
WAIT = 1.5  # for an answer through the tunnel


class Greeter(socketserver.BaseRequestHandler):
    """What listens on every device: a userspace client hands connections to its port on to loopback."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.sendall(b"hello")


@contextlib.contextmanager
def greeter() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@dataclass
class Network:
    """The five devices, by name."""

    cluster_id: str
    clients: dict[str, Tailscale]
    ports: tuple[int, int]

    def push(self) -> None:
        """What the worker's schedule does once wishes have been quiet."""
        with contextlib.suppress(ClusterPolicy.DoesNotExist):
            pushing.push(self.cluster_id, timezone.now())
        policy = ClusterPolicy.objects.get(pk=self.cluster_id)
        assert (policy.done, policy.trouble) == (policy.wanted, "")

    def oracle(self) -> Oracle:
        fact = gather(self.cluster_id).fact
        return Oracle(compile_cluster(fact).text, fact)

    def agrees(self, step: str) -> None:
        """Netmaps first, then a connection from everybody to everybody on both ports."""
        begun = time.monotonic()
        oracle = self.oracle()
        nodes = {node.device.hostname: node for node in oracle.nodes}
        assert nodes.keys() == self.clients.keys()
        meant = {name: {other for other, far in nodes.items() if far != node and oracle.sees(node, far)} for name, node in nodes.items()}
        wait_for(lambda: self.seen() == meant, f"{step}: everybody sees {meant}", seconds=PATIENCE)
        heard = time.monotonic() - begun
        pairs = [
            (one, other, port)
            for one in nodes
            for other in nodes
            for port in self.ports[: 2 if other in meant[one] else 1]  # who does not even see the other is tried once
            if one != other
        ]
        wanted = {(one, other, port): self.allowed(oracle, nodes[one], nodes[other], port) for one, other, port in pairs}
        ordered = sorted(pairs, key=lambda pair: not wanted[pair])  # those that must get through first: so clients find a way to each other
        with ThreadPoolExecutor(12) as pool:
            got = dict(zip(ordered, pool.map(lambda pair: self.becomes(nodes, *pair, wanted=wanted[pair]), ordered), strict=True))
        assert {pair for pair in pairs if got[pair]} == {pair for pair in pairs if wanted[pair]}, step
        print(f"{step}: netmaps after {heard:.1f} s, {len(pairs)} connections tried, {sum(wanted.values())} allowed")

    def seen(self) -> dict[str, set[str]]:
        return {name: {peer["HostName"] for peer in (client.status().get("Peer") or {}).values()} for name, client in self.clients.items()}

    def becomes(self, nodes: dict[str, Node], one: str, other: str, port: int, *, wanted: bool) -> bool:
        """Whether a connection gets through, asked until it is as wanted: a client hears of a filter a moment after its server has sent it."""
        command = [
            "tailscale",
            f"--socket={self.clients[one].folder / 'socket'}",
            "nc",
            str(nodes[other].ips[0].network_address),
            str(port),
        ]
        deadline = time.monotonic() + PATIENCE
        while True:
            if wanted:  # clients look for a way to each other only now and then, but at once for a ping
                self.clients[one].run("ping", "--c=2", "--until-direct=false", "--timeout=2s", str(nodes[other].ips[0].network_address))
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as nc:
                assert nc.stdout
                answered, _, _ = select.select([nc.stdout], [], [], WAIT)
                through = bool(answered) and nc.stdout.read1(5) == b"hello"
                nc.kill()
            if through == wanted or time.monotonic() > deadline:
                return through
            time.sleep(0.1)

    @staticmethod
    def allowed(oracle: Oracle, one: Node, other: Node, port: int) -> bool:
        return oracle.reaches(one, ipaddress.ip_address(other.ips[0].network_address), "tcp", port)


def bound(tenant: Any) -> None:
    bindings.settle(tenant, wish=Wish(), now=timezone.now())


def write(tenant: Any, text: str) -> None:
    seen = NetworkPolicy.objects.of(tenant).select_related("current").first()
    storing.store(tenant, text, expected=seen.current.number if seen else 0, actor="system:tests", now=timezone.now())


def seen_by_acs(cluster_id: str) -> None:
    """What the consumer of events does."""
    with clusters.admin_of(Cluster.objects.select_related("fleet").get(pk=cluster_id)) as admin:
        sightings = [devices.sighting_of(node) for node in admin.nodes()]
    now = timezone.now()
    devices.observe(cluster_id, sightings, seen_at=now, now=now, complete=True)


def test_netmaps_and_packets_agree_with_the_policies_at_every_step(db: Any, tmp_path: Path) -> None:
    acme, bolt, crow = (factories.customer(name) for name in ("acme", "bolt", "crow"))
    with ExitStack() as stack:
        cluster_id, _server = stack.enter_context(serve_cluster(tmp_path / "server", real=True))
        service = stack.enter_context(run_web(tmp_path, workers=1))
        ports = (stack.enter_context(greeter()), stack.enter_context(greeter()))
        for customer in (acme, bolt, crow):
            bound(customer.tenant)
        write(acme.tenant, '{"tagOwners": {"tag:web": []}}')
        _key, tagged = factories.enrolment_key(acme.tenant, tags=["tag:web"])
        plan = {"acme-lap": acme.secret, "acme-web": tagged, "bolt-one": bolt.secret, "bolt-two": bolt.secret, "crow-one": crow.secret}
        network = Network(cluster_id, {name: stack.enter_context(run_tailscaled(tmp_path / name)) for name in plan}, ports)
        network.push()
        for name, secret in plan.items():
            answer = service.bootstrap(secret, registration_id=name, hostname=name)
            assert answer.status == 200, answer.body
            network.clients[name].up(answer.body["headscale_url"], answer.auth_key, name)
        close_old_connections()
        assert Binding.objects.across_tenants().filter(cluster_id=cluster_id).count() == 3
        seen_by_acs(cluster_id)
        told = {"actor": "system:tests", "now": timezone.now()}

        network.push()
        network.agrees("everybody reaches their own")

        write(
            acme.tenant,
            f'{{"tagOwners": {{"tag:web": []}}, "acls": [{{"action": "accept", "src": ["autogroup:member"], "dst": ["tag:web:{ports[0]}"]}}],'
            f' "tests": [{{"src": "acme-lap", "accept": ["tag:web:{ports[0]}"], "deny": ["tag:web:{ports[1]}"]}}]}}',
        )
        network.push()
        network.agrees("acme opens one port of its web server, one way")

        offered = peerings.offer(bolt.tenant, "crow", dst=["bolt-one"], services=[f"tcp:{ports[1]}"], **told)
        network.push()
        network.agrees("bolt offers crow one port of one device")
        peerings.accept(offered, ["*"], **told)
        network.push()
        network.agrees("crow accepts")

        write(bolt.tenant, '{"acls": []}')
        network.push()
        network.agrees("bolt's own devices are kept apart, the peering stays")

        peerings.end(offered, by=crow.tenant, **told)
        network.push()
        network.agrees("crow ends the peering")

        storing.roll_back(bolt.tenant, expected=1, to_number=0, **told)
        network.push()
        network.agrees("bolt goes back to the default")
