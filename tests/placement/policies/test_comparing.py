"""What of a server differs from what ACS meant: rules across tenants in every world that can be compiled, users, nodes, memory."""

from __future__ import annotations

import ipaddress
import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from acs.demo.simulator import filters, reading
from acs.demo.simulator.filters import Compiler
from acs.demo.simulator.nodes import Node as Simulated
from acs.demo.simulator.world import World
from placement.headscale import debug
from placement.headscale.admin import Node
from placement.headscale.debug import CapabilityGrant, FilterRule, Target
from placement.policies import comparing, crossing
from placement.policies.comparing import Known, Meant
from placement.policies.compiling import compile_cluster
from placement.policies.crossing import Holdings
from placement.policies.facts import ClusterFact
from tests.placement.policies.worlds import clusters

NOW = datetime(2026, 11, 1, tzinfo=UTC)
numbers = itertools.count(1)


def node(account: str = "acme", number: int = 1, **fields: Any) -> Node:
    plain: dict[str, Any] = {
        "id": number, "machine_key": f"mkey:{number}", "node_key": "nodekey:1", "ipv4": f"100.64.9.{number}", "ipv6": None, "hostname": "pos", "name": "pos",
        "user_id": 1, "user_name": account, "tags": (), "online": True, "last_seen": None, "expiry": None, "created_at": NOW,
        "registered_by": "authkey", "key_id": 7, "ephemeral": False, "approved_routes": (), "available_routes": (),
    }  # fmt: skip
    tagged = {"user_id": None, "user_name": "tagged-devices"} if fields.get("tags") else {}
    return Node(**{**plain, **tagged, **fields})


def world(cluster: ClusterFact) -> tuple[list[Node], Meant]:
    """Its nodes as an API shows them, and what ACS means of them."""
    found, known = [], {}
    for tenant in cluster.tenants:
        for device in tenant.devices:
            number = next(numbers)
            v4, v6 = (str(network.network_address) for network in device.addresses)
            routes = tuple(map(str, [*device.routes, *(["0.0.0.0/0", "::/0"] if device.exit else [])]))
            found.append(node(tenant.account, number, ipv4=v4, ipv6=v6, tags=device.tags, approved_routes=routes, available_routes=routes))
            known[number] = Known(tenant.account, f"mkey:{number}", device.tags, routes)
    users = {tenant.account: number for number, tenant in enumerate(cluster.tenants, 1)}
    peered = frozenset((peering.guest, peering.host) for peering in cluster.peerings)
    return found, Meant(users, known, peered=peered)


def in_force(cluster: ClusterFact, nodes: Iterable[Node]) -> list[FilterRule]:
    """What a server compiles of the cluster's document."""
    users = [{"id": n, "name": tenant.account, "email": "", "provider_identifier": ""} for n, tenant in enumerate(cluster.tenants, 1)]
    by_name = {user["name"]: user for user in users}
    shown = [_simulated(one, by_name.get(one.user_name)) for one in nodes]
    rules = Compiler(World(reading.read(compile_cluster(cluster).text), users, shown)).for_all()
    return [debug._rule(words) for words in filters.document(rules)]


def _simulated(one: Node, user: dict[str, Any] | None) -> Simulated:
    routes = list(one.approved_routes)
    known: Any = SimpleNamespace(
        id=one.id, tags=list(one.tags), user=user, ipv4=one.ipv4, ipv6=one.ipv6, approved_routes=routes, available_routes=routes
    )
    known.addresses = [one.ipv4, one.ipv6]
    known.subnet_routes = [route for route in routes if route not in ("0.0.0.0/0", "::/0")]
    found: Simulated = known
    return found


def faults(rules: Iterable[FilterRule], nodes: list[Node], meant: Meant) -> set[str]:
    return {fault.subject for fault in crossing.crossings(rules, crossing.holdings(nodes, meant), meant.peered, meant.silent)}


def rule(source: str, target: str) -> FilterRule:
    return FilterRule((source,), (Target(target, 0, 65535),), (), ())


# ---- packet filters ------------------------------------------------------------------------------------------------------
@settings(max_examples=150)
@given(cluster=clusters())
def test_what_a_server_compiles_of_any_world_joins_tenants_by_peerings_alone(cluster):
    nodes, meant = world(cluster)
    rules = in_force(cluster, nodes)
    assert faults(rules, nodes, meant) == set()
    assert crossing.in_force(rules)


@settings(max_examples=100)
@given(cluster=clusters(), data=st.data())
def test_one_rule_more_between_two_tenants_is_always_found(cluster, data):
    nodes, meant = world(cluster)
    pairs = [
        (one, other) for one, other in itertools.permutations(nodes, 2) if comparing.whose(one, meant) != comparing.whose(other, meant)
    ]
    pairs = [pair for pair in pairs if tuple(comparing.whose(one, meant) for one in pair) not in meant.peered]
    assume(pairs)
    one, other = data.draw(st.sampled_from(pairs))
    version = data.draw(st.sampled_from(("ipv4", "ipv6")))
    source, target = (getattr(end, version) for end in (one, other))
    source = data.draw(st.sampled_from((source, f"{source}-{source}", "*", f"{source}/{'32' if version == 'ipv4' else '128'}")))
    rules = in_force(cluster, nodes)
    place = data.draw(st.integers(0, len(rules)))
    found = faults([*rules[:place], rule(source, target), *rules[place:]], nodes, meant)
    assert f"{comparing.whose(one, meant)} -> {comparing.whose(other, meant)}" in found


def test_no_policy_at_all_is_found_at_once_and_told_of_twenty_pairs_at_most():
    nodes = [node(f"tenant-{n}", n, ipv4=f"100.64.0.{n}") for n in range(1, 100)]
    meant = Meant({f"tenant-{n}": n for n in range(1, 100)}, {})
    rules = [rule("*", "*")]
    assert len(faults(rules, nodes, meant)) == crossing.MOST_CROSSINGS
    assert not crossing.in_force(rules)


def test_capabilities_and_routes_join_tenants_as_addresses_do():
    meant = Meant({"acme": 1, "bolt": 2}, {})
    nodes = [node("acme", 1), node("bolt", 2, approved_routes=("10.2.0.0/16", "0.0.0.0/0", "::/0"))]
    capability = FilterRule(("100.64.9.1",), (), (), (CapabilityGrant(("100.64.9.2/32",), {"acme.example/cap": ()}),))
    assert faults([capability], nodes, meant) == {"acme -> bolt"}
    assert faults([rule("100.64.9.1", "10.2.3.0/24")], nodes, meant) == {"acme -> bolt"}
    assert faults([rule("100.64.9.1", "10.3.0.0/16")], nodes, meant) == set()
    assert faults([rule("100.64.9.0/24", "10.3.0.0/16")], nodes, meant) == set()


def test_a_peering_has_one_direction():
    meant = Meant({"acme": 1, "bolt": 2}, {}, peered=frozenset({("acme", "bolt")}))
    nodes = [node("acme", 1), node("bolt", 2)]
    assert faults([rule("100.64.9.1", "100.64.9.2")], nodes, meant) == set()
    assert faults([rule("100.64.9.2", "100.64.9.1")], nodes, meant) == {"bolt -> acme"}


def test_devices_of_a_closed_tenant_reach_nobody_not_even_each_other():
    meant = Meant({"acme": 1}, {}, silent=frozenset({"acme"}))
    assert faults([rule("100.64.9.1", "100.64.9.2")], [node("acme", 1), node("acme", 2)], meant) == {"acme -> acme"}


def test_a_device_of_nobody_is_nobodys_to_reach():
    meant = Meant({"acme": 1}, {})
    nodes = [node("acme", 1), node("eve", 2)]
    assert faults([rule("100.64.9.1", "100.64.9.2")], nodes, meant) == {"acme -> (nobody's)"}


def test_a_thousand_tenants_of_ten_devices_are_compared_in_a_moment():
    nodes, rules = [], []
    for tenant in range(1000):
        first = tenant * 10
        addresses = [f"100.{64 + n // 65536}.{n // 256 % 256}.{n % 256}" for n in range(first, first + 10)]
        nodes += [node(f"t{tenant}", first + n + 1, ipv4=ip, ipv6=f"fd7a:115c:a1e0::{first + n:x}") for n, ip in enumerate(addresses)]
        rules.append(FilterRule(tuple(addresses), tuple(Target(ip, 0, 65535) for ip in addresses), (), ()))
    meant = Meant({f"t{tenant}": tenant for tenant in range(1000)}, {})
    begun = time.process_time()
    assert faults(rules, nodes, meant) == set()
    assert faults([*rules, rule("100.64.0.0-100.64.0.10", "100.64.0.12")], nodes, meant) == {"t0 -> t1"}
    assert time.process_time() - begun < 10


@settings(max_examples=100)
@given(
    held=st.lists(st.tuples(st.integers(0, 60), st.integers(26, 32), st.sampled_from("abc")), max_size=12),
    asked=st.tuples(st.integers(0, 63), st.integers(0, 63)),
)
def test_whose_addresses_are_in_a_range_is_what_looking_at_each_says(held, asked):
    spans = [(ipaddress.ip_network(f"10.0.0.{first}/{length}", strict=False), account) for first, length, account in held]
    first, last = (ipaddress.ip_address(f"10.0.0.{end}") for end in sorted(asked))
    slowly = {account for network, account in spans if network.network_address <= last and network.broadcast_address >= first}
    assert Holdings(spans).of([f"{first}-{last}"]) == slowly


# ---- users and nodes -----------------------------------------------------------------------------------------------------
MEANT = Meant(
    users={"acme": 1, "bolt": 2},
    devices={1: Known("acme", "mkey:1"), 2: Known("acme", "mkey:2", ("tag:acme--web",), ("10.1.0.0/16",))},
    tags={"acme": frozenset({"tag:acme--web", "tag:acme--db"})},
)


def kinds(*nodes: Node) -> list[tuple[str, int | None]]:
    return [(fault.kind, fault.node_id) for fault in comparing.nodes(nodes, MEANT)]


def test_users_of_nobody_and_tenants_without_theirs():
    meant = replace(MEANT, homeless=frozenset({"crow"}))
    found = comparing.users([("acme", 1), ("bolt", 9), ("eve", 3), ("crow", 4)], meant)
    assert [(fault.kind, fault.subject, fault.account) for fault in found] == [
        ("stranger-user", "eve", ""),
        ("user-missing", "bolt", "bolt"),
    ]


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        (node("acme", 1), None),
        (node("acme", 1, tags=("tag:acme--db",)), None),
        (node("acme", 2, tags=("tag:acme--web",)), None),
        (node("acme", 2), None),
        (node("acme", 1, tags=("tag:bolt--web",)), "tag"),
        (node("acme", 1, tags=("tag:acme--web", "tag:bolt--web")), "tag"),
        (node("acme", 1, tags=("tag:web",)), "tag"),
        (node("acme", 1, tags=("tag:acme--ci",)), "tag"),
        (node("bolt", 2), "owner"),
        (node("bolt", 1), "owner"),
        (node("acme", 2, approved_routes=("10.1.0.0/16",)), None),
        (node("acme", 2, approved_routes=("10.1.0.0/16", "10.2.0.0/16")), "route"),
        (node("acme", 1, approved_routes=("0.0.0.0/0", "::/0")), "route"),
        (node("bolt", 7), None),
        (node("eve", 7), "stranger-node"),
        (node("acme", 7, tags=("tag:acme--a", "tag:bolt--a")), "stranger-node"),
        (node("bolt", 1, machine_key="mkey:other"), None),
    ],
)  # fmt: skip
def test_a_node_is_what_acs_meant_or_a_finding_of_its_kind(shown, kind):
    assert kinds(shown) == ([(kind, shown.id)] if kind else [])


def test_memory_that_differs_from_the_rows():
    nodes = [node("acme", 1), node("acme", 2, tags=("tag:acme--b", "tag:acme--a")), node("acme", 3), node("bolt", 4), node("acme", 5)]
    rows = {1: ("acme", ()), 2: ("", ("tag:acme--a", "tag:acme--b")), 3: ("", ("tag:acme--web",)), 4: ("acme", ())}
    assert [fault.node_id for fault in comparing.memory(nodes, rows, MEANT)] == [3, 4, 5]


def test_evidence_is_json():
    for fault in comparing.nodes([node("eve", 7), node("acme", 1, tags=("tag:bolt--web",))], MEANT):
        json.dumps(dict(fault.evidence))


def test_a_login_that_is_over_is_not_ended_again():
    assert comparing.has_ended(node(expiry=NOW), now=NOW)
    assert not comparing.has_ended(node(expiry=None), now=NOW)


def test_a_device_whose_tags_name_several_is_nobodys():
    assert comparing.shown(node(tags=("tag:acme--a", "tag:bolt--a"))) == comparing.STRANGER
    assert comparing.shown(node(tags=("tag:acme--a", "tag:acme--b"))) == "acme"
    assert comparing.whose(node("bolt", 1), MEANT) == "acme"
