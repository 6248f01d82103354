"""A server that three tenants share, with a few devices each, for attacks of one tenant on the others: on the simulator and on headscale.

The server and what joined it outlive a test; the tenants' rows, documents, people and routes are each test's own.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from acs.poll import poll
from placement import devices, routing
from placement.clusters import seal_key
from placement.headscale.admin import Admin
from placement.models import Binding, Cluster, Device, PolicyPush, Route, Slot, Watch
from placement.policies import auditing, pushing, wishes
from placement.policies.compiling import compile_cluster
from placement.policies.facts import ClusterFact, server_tag
from placement.policies.gathering import gather
from placement.policies.storing import World
from tenants.models import Tenant
from tests import factories
from tests.conftest import clusters_to_drop, make_fleet_cluster
from tests.placement.policies.oracle import Server as Oracle
from tests.servers import Machine, Server, machine, run_headscale, run_simulator

ACCOUNTS = ("acme", "bolt", "crow")
EXIT = ("0.0.0.0/0", "::/0")
# short name -> tenant, what it calls itself, tag, what it announces; in the order of joining, so that acme's printer is renamed
PLAN: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "vault": ("bolt", "printer", "", ()),
    "gate": ("bolt", "gate", "", ("10.2.0.0/16", "81.2.69.0/24", *EXIT)),
    "lap": ("acme", "printer", "", ()),
    "exit": ("acme", "way-out", "exit", ("10.2.3.0/24", "10.9.0.0/16", "0.0.0.0/1", *EXIT)),
    "relic": ("crow", "relic", "", ()),
    "till": ("crow", "till", "", ()),
}
ROUTED = ("10.2.0.0/16", "81.2.69.0/24", *EXIT)  # of bolt's gate, approved unless a test says otherwise
PATIENCE = 15.0


@dataclass
class Home:
    """A running server and what it is to ACS. `names`: short names of devices by those that the server gave them."""

    server: Server
    admin: Admin
    cluster_id: str
    folder: Path
    users: dict[str, int]
    machines: dict[str, Machine]
    names: dict[str, str]

    def key(self, account: str, *tags: str) -> str:
        words = [f"tag:{account}--{tag}" for tag in tags]
        return self.admin.make_key(self.users[account], datetime.now(UTC) + timedelta(hours=1), tags=words).secret or ""


@contextmanager
def home(folder: Path, program: str, where: str = "fleet", *, plan: dict[str, Any] | None = None) -> Iterator[Home]:
    """`where`: `fleet`, in our database, or `alone`, with one of its own."""
    cluster = make_fleet_cluster(**({"fleet_id": None} if where == "alone" else {}))
    clusters_to_drop.remove(cluster.cluster_id)  # it outlives the first test
    database = {"database_url": cluster.url} if where == "fleet" else {}
    run = run_headscale if program == "headscale" else run_simulator
    with ExitStack() as stack:
        stack.callback(clusters_to_drop.append, cluster.cluster_id)
        server = stack.enter_context(run(folder, prefix_v4=cluster.prefix_v4, prefix_v6=cluster.prefix_v6, **database))
        admin = stack.enter_context(server.admin(cluster.cluster_id))
        users = {account: admin.make_user(account).id for account in ACCOUNTS}
        made = Home(server, admin, cluster.cluster_id, folder, users, {}, {})
        stack.callback(_clear, admin)
        for short, (account, hostname, tag, routes) in (PLAN if plan is None else plan).items():
            made.machines[short] = stack.enter_context(machine(server, folder / short))
            made.machines[short].join(made.key(account, *([tag] if tag else [])), hostname, routes=routes)
            made.names[next(node.name for node in admin.nodes() if node.name not in made.names)] = short
        yield made


def _clear(admin: Admin) -> None:
    for node in admin.nodes():
        admin.delete_node(node.id)
    for user in admin.users():
        admin.delete_user(user.id)


@dataclass
class Shore:
    """The server as a test finds it: three active tenants, whose devices ACS has seen."""

    home: Home
    cluster: Cluster
    tenants: dict[str, Tenant]

    @property
    def admin(self) -> Admin:
        return self.home.admin

    def device(self, short: str) -> Device:
        name = next(name for name, known in self.home.names.items() if known == short)
        return Device.objects.across_tenants().get(cluster=self.cluster, name=name, gone_at=None)

    def observe(self) -> None:
        now = timezone.now()
        sightings = [devices.sighting_of(node) for node in self.admin.nodes()]
        devices.observe(self.cluster.pk, sightings, seen_at=now, now=now, complete=True)

    def remove(self, hostname: str) -> None:
        """A device that came during a test."""
        for node in self.admin.nodes():
            if node.hostname == hostname:
                self.admin.delete_node(node.id)
        self.observe()

    def look(self) -> None:
        """A poll."""
        Watch.objects.filter(pk=self.cluster.pk).update(attempted_at=None)
        done = poll(self.cluster.pk, now=timezone.now())
        assert done is not None
        assert done.outcome == "ok"

    def route(self, short: str, *prefixes: str) -> None:
        """Prefixes that somebody approved; the server hears of them with the next push."""
        at, now = self.device(short), timezone.now()
        for prefix in prefixes:
            Route.objects.create(
                tenant=at.tenant, device=at, cluster=self.cluster, prefix=prefix, state="approved", decided_at=now, created_at=now
            )

    def write(self, account: str, **sections: Any) -> None:
        """The tenant's policy from now on, whatever it says."""
        factories.policy(self.tenants[account], *(["tag:exit"] if account == "acme" else []), **sections)

    def push(self) -> PolicyPush:
        """What the tenants wish for, now; then what their routers may route."""
        now = timezone.now()
        wishes.touch(self.cluster.pk, now=now)
        done = pushing.push(self.cluster.pk, now)
        assert done is not None
        assert (done.state, done.reason) == ("stored", "")
        routing.tell(self.cluster, [self.device(short).node_id for short in ("gate", "exit") if short in self.home.machines])
        return done

    def audit(self) -> list[tuple[str, str]]:
        """Kind and subject of what one finds."""
        return sorted((found.kind, found.subject) for found in auditing.audit(self.cluster.pk, timezone.now()).found)

    @property
    def fact(self) -> ClusterFact:
        return gather(self.cluster.pk).fact

    def oracle(self, world: World | None = None) -> Oracle:
        """Of the cluster as it is, or as it would be."""
        fact = world.fact if world else self.fact
        return Oracle((world.compiled if world else compile_cluster(fact)).text, fact)

    def sights(self, oracle: Oracle) -> dict[str, set[str]]:
        """Whom each device is shown, in short names."""
        short = self.home.names
        return {
            short[one.device.name]: {short[other.device.name] for other in oracle.nodes if other != one and oracle.sees(one, other)}
            for one in oracle.nodes
        }

    def seen(self) -> dict[str, set[str]]:
        """The same as the clients are told."""
        return {short: {self.home.names[name] for name in at.peers()} for short, at in self.home.machines.items()}

    def agrees(self) -> dict[str, set[str]]:
        """Whom each device is shown, once all of them have heard what the document says."""
        meant = self.sights(self.oracle())
        becomes(self.seen, meant)
        return meant


def becomes(look: Callable[[], Any], wanted: Any) -> None:
    """A client hears of a change a moment later."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found == wanted


def apart(oracle: Oracle) -> bool:
    """Whether no device of a tenant sees one of another, and no filter would let it in there, nor to what is routed there."""
    for one in oracle.nodes:
        for other in (node for node in oracle.nodes if node.account != one.account):
            targets = [*(ip.network_address for ip in other.ips), *(route.network_address + 7 for route in other.device.routes)]
            let_in = (oracle.lets_in(other, ip, target, "tcp", port) for ip in one.ips for target in targets for port in (22, 443))
            if oracle.sees(one, other) or any(let_in):
                return False
    return True


@contextmanager
def shore(at: Home) -> Iterator[Shore]:
    """Inside a test's transaction."""
    Cluster.objects.filter(pk=at.cluster_id).update(
        admin_url=at.server.url,
        metrics_url=at.server.metrics_url,
        admin_key_sealed=seal_key(at.cluster_id, at.server.api_key),
        registered_at=timezone.now(),
        state="active",
    )
    cluster = Cluster.objects.select_related("fleet").get(pk=at.cluster_id)
    tenants = {account: factories.tenant(account) for account in ACCOUNTS}
    for account, tenant in tenants.items():
        Binding.objects.create(tenant=tenant, cluster=cluster, headscale_user_id=at.users[account], expected_load=1, reason="test")
    factories.policy(tenants["acme"], "tag:exit")
    made = Shore(at, cluster, tenants)
    made.observe()
    for short in at.machines:
        Slot.objects.across_tenants().filter(devices=made.device(short)).update(registration_id=f"{short}-007")
    if "gate" in at.machines:
        made.route("gate", *ROUTED)
    yield made


def document(section: str = "", *, tags: str = "") -> str:
    """A text of acme's with one more section; `tags` beside the one that its device carries."""
    more = f",\n {section}" if section else ""
    return f'{{"tagOwners": {{"tag:exit": []{tags}}}{more}}}'


def rule(src: str, dst: str, **more: Any) -> dict[str, Any]:
    return {"action": "accept", "src": [src], "dst": [dst], **more}


def owners(shore: Shore, text: str, section: str, *, having: str = "") -> set[frozenset[str]]:
    """Of each entry of a compiled document's section (those that have a certain field), whose tokens stand in it; `?` is nobody's alone."""
    body = json.loads("\n".join(line for line in text.splitlines() if not line.startswith("//")))
    known = {f"{tenant.account}@": tenant.account for tenant in shore.fact.tenants}
    for tenant in shore.fact.tenants:
        known |= {str(ip.network_address): tenant.account for device in tenant.devices for ip in device.addresses}
        known |= {server_tag(tenant.account, tag): tenant.account for tag in tenant.document.tags.keys() | tenant.kept_tags}
    fields = ("src", "dst", "target", "via")
    entries = [entry for entry in body.get(section, ()) if not having or having in entry]
    return {frozenset(known.get(token, "?") for field in fields for token in entry.get(field, ())) for entry in entries}


def free_address(shore: Shore, *, version: int) -> str:
    """One of the cluster's that no device has."""
    prefix = shore.cluster.prefix_v4 if version == 4 else shore.cluster.prefix_v6
    return str(ipaddress.ip_network(prefix).network_address + 3000)
