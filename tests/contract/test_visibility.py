"""Who sees whom on a server that two tenants share, with which routes, and what their devices let in: by real clients where the server is real.

Some of these documents are what a compiler that keeps tenants apart must never write: they show a tenant's routers to the other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.conftest import serial
from tests.servers import Machine, Server, machine

pytestmark = pytest.mark.tailscale

EXIT = ["0.0.0.0/0", "::/0"]
PATIENCE = 15.0


@dataclass
class Shared:
    """Two tenants' devices, by short names, on one server."""

    server: Server
    mark: str
    machines: dict[str, Machine]
    addresses: dict[str, list[str]]

    def put(self, document: dict[str, Any]) -> None:
        """`acme`, `beta` and their devices' short names stand for this network's own."""
        words = {"tagOwners": {f"tag:{tag}": [] for tag in ("acme--web", "acme--router", "acme--exit")}, **document}
        text = json.dumps(words)
        for name in ("acme", "beta"):
            text = text.replace(f"{name}@", f"{self.mark}{name}@").replace(f"tag:{name}", f"tag:{self.mark}{name}")
        for name, (ipv4, _) in self.addresses.items():
            text = text.replace(f"<{name}>", ipv4)
        with self.server.admin() as admin:
            admin.put_policy(text)

    def seen(self) -> set[str]:
        """A line for each that a device sees: `lap: gate by 10.2.0.0/16`, with the prefixes that lead there."""
        return {
            f"{name}: {short.removeprefix(self.mark)}" + (f" by {' '.join(sorted(routes))}" if routes else "")
            for name, machine in self.machines.items()
            for short, routes in machine.peers().items()
            if short.startswith(self.mark)
        }

    def lets_in(self, name: str) -> set[tuple[str, str]]:
        """(source, destination) of what a device's filter has about these devices, by their short names."""
        called = {address: short for short, own in self.addresses.items() for address in own}
        found = set()
        for rule in self.machines[name].filter():
            targets = [port["IP"] for port in rule.get("DstPorts") or []]
            found |= {(called.get(source, source), called.get(target, target)) for source in rule["SrcIPs"] for target in targets}
        return found


@pytest.fixture(scope="module")
def shared(lone: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    mark = f"n{next(serial)}-"
    plan = {
        "lap": ("acme", "", []),
        "web": ("acme", "web", []),
        "router": ("acme", "router", ["10.1.0.0/24"]),
        "exit": ("acme", "exit", EXIT),
        "foe": ("beta", "", []),
        "gate": ("beta", "", ["10.1.0.0/24", "10.2.0.0/16", *EXIT]),
    }
    with ExitStack() as running, lone.admin() as admin:
        users = {name: admin.make_user(f"{mark}{name}") for name in ("acme", "beta")}
        machines = {name: running.enter_context(machine(lone, tmp_path_factory.mktemp("ts"))) for name in plan}
        addresses = {}
        for name, (tenant, tag, routes) in plan.items():
            tags = [f"tag:{mark}{tenant}--{tag}"] if tag else []
            key = admin.make_key(users[tenant].id, datetime.now(UTC) + timedelta(hours=1), tags=tags)
            machines[name].join(key.secret or "", f"{mark}{name}", routes=routes)
            node = next(node for node in admin.nodes() if node.name == f"{mark}{name}")
            eventually(lambda node=node: admin.node(node.id).online)
            assert set(admin.approve_routes(node.id, routes).approved_routes) == set(routes)
            addresses[name] = [node.ipv4 or "", node.ipv6 or ""]
        yield Shared(lone, mark, machines, addresses)
        admin.put_policy(json.dumps({"acls": []}))


def eventually(look: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.1)


def becomes(look: Callable[[], Any], wanted: Any) -> None:
    """A client hears of a change a moment later."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found == wanted


def grants(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"acls": [LITERAL], "grants": [{"ip": ["*"], **rule} for rule in rules]}


def through(*lines: str) -> set[str]:
    """`a - b`: each sees the other; `a: b`: one the other."""
    found = set()
    for line in lines:
        one, mutual, other = line.partition(" - ")
        found |= {f"{one}: {other}", f"{other.partition(' by ')[0]}: {one}"} if mutual else {line}
    return found


# without a rule that holds for all, a server tells a tagged device of whoever joins or changes
LITERAL = {"action": "accept", "src": ["100.127.255.255/32"], "dst": ["100.127.255.255/32:1"]}
SELF = {"src": ["autogroup:member"], "dst": ["autogroup:self"]}
EVERYWHERE = "0.0.0.0/0 ::/0"
CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "people see their own devices": (grants(SELF), through("foe - gate by 0.0.0.0/0 ::/0", "gate: foe")),
    "a person's rule to a tag shows both to each other": (
        grants({"src": ["acme@"], "dst": ["tag:acme--web"], "ip": ["tcp:443"]}),
        through("lap - web"),
    ),
    "a capability shows as well": (
        {"acls": [LITERAL], "grants": [{"src": ["acme@"], "dst": ["tag:acme--web"], "app": {"acme.example/cap/x": []}}]},
        through("lap - web"),
    ),
    "ssh alone shows nobody": (
        {"acls": [LITERAL], "ssh": [{"action": "accept", "src": ["acme@"], "dst": ["tag:acme--web"], "users": ["root"]}]},
        through(),
    ),
    "a subnet is served by whoever was first, and shows all who advertise it": (
        grants({"src": ["acme@"], "dst": ["10.1.0.0/24"]}),
        through("gate: lap", "lap - gate by 0.0.0.0/0", "lap - router by 10.1.0.0/24", "router: lap"),
    ),
    "a part of a subnet shows its routers": (
        grants({"src": ["acme@"], "dst": ["10.1.0.7"]}),
        through("gate: lap", "lap - gate by 0.0.0.0/0", "lap - router by 10.1.0.0/24", "router: lap"),
    ),
    "a subnet that another tenant's router serves shows that router": (
        grants({"src": ["acme@"], "dst": ["10.2.3.0/24"]}),
        through("gate: lap", "lap - gate by 0.0.0.0/0 10.2.0.0/16"),
    ),
    "a source in a subnet that another tenant's router serves shows that router": (
        grants({"src": ["10.2.0.7"], "dst": ["tag:acme--web"]}),
        through("gate: web", "web - gate by 0.0.0.0/0 10.2.0.0/16"),
    ),
    "the internet shows every exit node": (
        grants({"src": ["acme@"], "dst": ["autogroup:internet"]}),
        through("exit: lap", "gate: lap", "lap - exit by 0.0.0.0/0 ::/0", "lap - gate by 0.0.0.0/0 ::/0"),
    ),
    "a public address shows no exit node": (grants({"src": ["acme@"], "dst": ["8.8.8.8"]}), through()),
    "halves of the internet in two rules of one source show every exit node": (
        grants({"src": ["acme@"], "dst": ["0.0.0.0/1"]}, {"src": ["acme@"], "dst": ["128.0.0.0/1"]}),
        through(
            "exit: lap",
            "foe - lap",
            "gate: lap",
            "lap - exit by 0.0.0.0/0 ::/0",
            "lap - gate by 0.0.0.0/0 10.2.0.0/16 ::/0",
            "lap - router by 10.1.0.0/24",
            "lap - web",
            "router: lap",
        ),
    ),
    "anything shows all": (
        grants({"src": ["acme@"], "dst": ["*"]}),
        through(
            "exit: lap",
            "foe - lap",
            "gate: lap",
            "lap - exit by 0.0.0.0/0 ::/0",
            "lap - gate by 0.0.0.0/0 10.2.0.0/16 ::/0",
            "lap - router by 10.1.0.0/24",
            "lap - web",
            "router: lap",
        ),
    ),
    "from anybody": (
        grants({"src": ["*"], "dst": ["tag:acme--web"]}),
        through(
            "exit: web",
            "foe - web",
            "gate: web",
            "lap - web",
            "router: web",
            "web - exit by 0.0.0.0/0 ::/0",
            "web - gate by 0.0.0.0/0 10.2.0.0/16 ::/0",
            "web - router by 10.1.0.0/24",
        ),
    ),
    "the internet through one's own exit node": (
        grants({"src": ["acme@"], "dst": ["autogroup:internet"], "via": ["tag:acme--exit"]}),
        through("exit: lap"),
    ),
    "an exit node that may use itself shows another tenant's": (
        grants({"src": ["acme@", "tag:acme--exit"], "dst": ["autogroup:internet"], "via": ["tag:acme--exit"]}),
        through("exit: gate", "exit: lap"),
    ),
    "a subnet through one's own router": (
        grants({"src": ["acme@"], "dst": ["10.1.0.0/24"], "via": ["tag:acme--router"]}),
        through("router: lap"),
    ),
    "a router that may use itself shows another tenant's": (
        grants({"src": ["acme@", "tag:acme--router"], "dst": ["10.1.0.0/24"], "via": ["tag:acme--router"]}),
        through("router: gate by 0.0.0.0/0 ::/0", "router: lap"),
    ),
    "a person's devices that are routers, and through one's own router": (
        grants(SELF, {"src": ["beta@"], "dst": ["10.1.0.0/24"]}, {"src": ["acme@"], "dst": ["10.1.0.0/24"], "via": ["tag:acme--router"]}),
        through(
            "foe - gate by 0.0.0.0/0 ::/0",
            "foe - router by 10.1.0.0/24",
            "gate: foe",
            "gate: router by 10.1.0.0/24",
            "router: foe",
            "router: gate by 0.0.0.0/0 ::/0",
            "router: lap",
        ),
    ),
    "an exit node that is a peer for another reason is offered as exit": (
        grants({"src": ["acme@"], "dst": ["tag:acme--exit"], "ip": ["tcp:22"]}),
        through("exit: lap", "lap - exit by 0.0.0.0/0 ::/0"),
    ),
    "a router that is a peer for another reason is not offered for its subnets": (
        grants({"src": ["acme@"], "dst": ["tag:acme--router"], "ip": ["tcp:22"]}),
        through("lap - router"),
    ),
    "what a router serves, and the router itself": (
        grants(
            {"src": ["acme@"], "dst": ["10.1.0.0/24"], "via": ["tag:acme--router"]},
            {"src": ["acme@"], "dst": ["tag:acme--router"], "ip": ["icmp:*"]},
        ),
        through("lap - router by 10.1.0.0/24", "router: lap"),
    ),
    "the internet through one's own exit node, and that itself": (
        grants(
            {"src": ["acme@"], "dst": ["autogroup:internet"], "via": ["tag:acme--exit"]},
            {"src": ["acme@"], "dst": ["tag:acme--exit"], "ip": ["icmp:*"]},
        ),
        through("lap - exit by 0.0.0.0/0 ::/0", "exit: lap"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_who_sees_whom(shared: Shared, case: str) -> None:
    document, wanted = CASES[case]
    shared.put({"acls": [LITERAL]})
    becomes(shared.seen, set())
    shared.put(document)
    becomes(shared.seen, wanted)


FILTERS: dict[str, tuple[dict[str, Any], str, set[tuple[str, str]]]] = {
    "a rule to one's device": (grants({"src": ["acme@"], "dst": ["<web>"]}), "web", {("lap", "web")}),
    "a part of a subnet": (grants({"src": ["<lap>"], "dst": ["10.1.0.7", "10.5.0.0/16"]}), "router", {("lap", "10.1.0.7")}),
    "another tenant's public address at one's exit node": (grants({"src": ["<foe>"], "dst": ["8.8.8.8"]}), "exit", {("foe", "8.8.8.8")}),
    "what goes through a router is told to none but the router": (
        grants({"src": ["<lap>"], "dst": ["10.1.0.0/24"], "via": ["tag:acme--router"]}),
        "router",
        {("lap", "10.1.0.0/24")},
    ),
}


@pytest.mark.parametrize("case", FILTERS)
def test_what_a_device_lets_in(shared: Shared, case: str) -> None:
    document, name, wanted = FILTERS[case]
    shared.put(document)
    becomes(lambda: shared.lets_in(name), wanted)
