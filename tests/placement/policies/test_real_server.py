"""Documents of random clusters on a real server: it takes each, and the rules that it makes of them are those that the oracle reads in them."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from placement.headscale import debug
from placement.headscale.admin import Admin
from placement.policies.compiling import compile_cluster
from placement.policies.facts import ClusterFact, DeviceFact, TenantFact
from tenants.policies.document import Attribute, Place, SshRule, Word
from tests.headscale_rows import write
from tests.placement.policies.oracle import Address, Compiled, Server
from tests.placement.policies.worlds import ACCOUNTS, PACKETS, PEOPLE, PREFIXES, PROBES, address, documents, words
from tests.servers import Server as Running
from tests.servers import run_headscale

pytestmark = pytest.mark.headscale

PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1}


def devices(account: str, number: int) -> tuple[DeviceFact, ...]:
    """A person's laptop, a device with a key, a tagged one, a router with an exit."""
    prefix = ipaddress.ip_network(PREFIXES[account])
    named = [("printer", {"person": PEOPLE[0]}), ("till-7", {}), ("nas", {"tags": (f"tag:{account}--web",)})]
    router: dict[str, Any] = {"tags": (f"tag:{account}--db",), "routes": (prefix,), "exit": True}
    return tuple(
        DeviceFact(id=f"{account}-{index}", name=f"{name}-{number}", hostname=name, addresses=address(number, index), **more)
        for index, (name, more) in enumerate([*named, ("gate", router)])
    )


WORLD = ClusterFact(
    "real",
    tuple(
        TenantFact(account, devices=devices(account, number), members=frozenset(PEOPLE), kept_tags=frozenset({"tag:web", "tag:db"}))
        for number, account in enumerate(ACCOUNTS)
    ),
)


DEVICES = [ip.network_address for tenant in WORLD.tenants for device in tenant.devices for ip in device.addresses[:1]]
POINTS: list[Any] = [*DEVICES, *map(ipaddress.ip_address, PROBES)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("real")
    with run_headscale(folder):
        pass
    write(folder, WORLD)
    with run_headscale(folder) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: Running) -> Iterator[Admin]:
    with server.admin() as opened:
        yield opened


@st.composite
def worlds(draw: Any) -> ClusterFact:
    tenants = []
    for tenant in WORLD.tenants:
        document = draw(documents())
        shell = SshRule(
            "ssh[0]", Place(), "accept", draw(st.sampled_from(((Word("autogroup:member"),), (Word("*"),)))), (Word("tag:web"),), ("root",)
        )
        attribute = Attribute("nodeAttrs[0]", Place(), draw(words()), ("randomize-client-port",))
        tenants.append(dataclasses.replace(tenant, document=dataclasses.replace(document, ssh=(shell,), attributes=(attribute,))))
    return dataclasses.replace(WORLD, tenants=tuple(tenants))


@settings(max_examples=20, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cluster=worlds())
def test_a_real_server_takes_every_document_and_makes_of_it_what_the_oracle_reads(
    server: Running, admin: Admin, cluster: ClusterFact
) -> None:
    compiled = compile_cluster(cluster)
    admin.check_policy(compiled.text)
    admin.put_policy(compiled.text)
    in_force = debug.filter_rules("real", server.metrics_url, timeout=10)
    read = [rule for rule in Server(compiled.text, cluster).rules if rule.only_at is None]
    for source in POINTS:
        for target in POINTS:
            for protocol, port in PACKETS:
                told = any(admits(rule, source, target, PROTOCOLS[protocol], port) for rule in in_force)
                assert told == meant(read, source, target, protocol, port), (source, target, protocol, port)


def admits(rule: debug.FilterRule, source: Address, target: Address, protocol: int, port: int) -> bool:
    """Whether a rule as the server shows it lets a packet through."""
    return (
        (not rule.protocols or protocol in rule.protocols)
        and any(source in network for text in rule.sources for network in spread(text))
        and any(to.first <= port <= to.last and any(target in network for network in spread(to.address)) for to in rule.targets)
    )


def meant(rules: list[Compiled], source: Address, target: Address, protocol: str, port: int) -> bool:
    return any(
        any(source in network for network in rule.src)
        and any(target in network for network in rule.dst)
        and any(want in ("", protocol) and first <= port <= last for want, first, last in rule.services)
        for rule in rules
    )


@functools.cache
def spread(text: str) -> list[Any]:
    """The server writes neighbours as ranges."""
    first, _, last = text.partition("-")
    if last:
        return list(ipaddress.summarize_address_range(ipaddress.ip_address(first), ipaddress.ip_address(last)))
    return [ipaddress.ip_network(first)]
