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

from placement.headscale.admin import Admin
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

    def seen(self) -> dict[str, dict[str, list[str]]]:
        """For each device that sees one of the others: whom, and the routes that lead there."""
        views = {name: self._view(machine) for name, machine in self.machines.items()}
        return {name: view for name, view in views.items() if view}

    def _view(self, machine: Machine) -> dict[str, list[str]]:
        told = {name.removeprefix(self.mark): sorted(routes) for name, routes in machine.peers().items() if name.startswith(self.mark)}
        return dict(sorted(told.items()))

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
    while look() != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert look() == wanted


def grants(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"grants": [{"ip": ["*"], **rule} for rule in rules]}


SELF = {"src": ["autogroup:member"], "dst": ["autogroup:self"]}
CASES: dict[str, tuple[dict[str, Any], dict[str, dict[str, list[str]]]]] = {
    "nothing": ({"acls": []}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_who_sees_whom(shared: Shared, case: str) -> None:
    document, wanted = CASES[case]
    shared.put(document)
    becomes(shared.seen, wanted)
