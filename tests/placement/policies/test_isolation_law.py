"""The law of the compiler: what a server makes of the compiled document is what each tenant's own document says within it, and the accepted peerings."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings

from placement.policies.compiling import LITERAL_FORM, SELF_FORM, compile_cluster
from placement.policies.facts import ClusterFact, DeviceFact, PeeringFact, TenantFact
from tenants.policies.document import Document, Place, Rule, Service, Word
from tests.placement.policies.oracle import Meaning, Node, Server
from tests.placement.policies.worlds import PACKETS, PROBES, address, clusters


def probes(cluster: ClusterFact) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    own = [address.network_address for tenant in cluster.tenants for device in tenant.devices for address in device.addresses]
    return [*own, *map(ipaddress.ip_address, PROBES)]


@pytest.mark.parametrize("form", [SELF_FORM, LITERAL_FORM, ""])
@settings(max_examples=60)
@given(cluster=clusters())
def test_the_server_allows_what_the_documents_and_the_peerings_say_and_nothing_else(form: str, cluster: ClusterFact) -> None:
    server, meaning = Server(compile_cluster(cluster, form=form).text, cluster), Meaning(cluster)
    for tenant in cluster.tenants:
        for device in tenant.devices:
            node = Node(tenant.account, device)
            for target in probes(cluster):
                if any(target in route for route in device.routes):
                    continue  # its own network is behind it, not beyond the tailnet
                for protocol, port in PACKETS:
                    said = meaning.allows(tenant, device, target, protocol, port)
                    done = server.reaches(node, target, protocol, port)
                    seen = protocol == "icmp" and done and not said and _is_own_router(cluster, node, target)
                    assert done == said or seen, (device.id, str(target), protocol, port, "meant" if said else "not meant")


def _is_own_router(cluster: ClusterFact, node: Node, target: object) -> bool:
    """Whoever may use an exit node or a router can see it, and so ping it."""
    tenant = cluster.tenant(node.account)
    assert tenant is not None
    via = {f"tag:{node.account}--{word.text[4:]}" for rule in tenant.document.rules or () for word in rule.via}
    routers = [device for device in tenant.devices if device.exit or via & set(device.tags)]
    return any(target in [ip.network_address for ip in device.addresses] for device in routers)


@settings(max_examples=100)
@given(cluster=clusters())
def test_devices_of_two_tenants_see_each_other_by_a_peering_alone(cluster: ClusterFact) -> None:
    compiled = compile_cluster(cluster)
    server = Server(compiled.text, cluster)
    joined = {frozenset((a, b)) for one in compiled.statements if one.peering for a in one.src.devices for b in one.dst.devices}
    for one in server.nodes:
        for other in server.nodes:
            if one.account != other.account:
                assert server.sees(one, other) == (frozenset((one.device.id, other.device.id)) in joined), (one.device.id, other.device.id)


@settings(max_examples=100)
@given(cluster=clusters())
def test_the_document_is_the_same_in_whatever_order_its_tenants_come(cluster: ClusterFact) -> None:
    turned = ClusterFact(cluster.cluster_id, cluster.tenants[::-1], cluster.peerings)
    assert compile_cluster(turned).text == compile_cluster(cluster).text


def test_a_peering_lends_nobody_an_exit_node() -> None:
    """Whoever sees an exit node may send through it what its own rules let out to the Internet."""
    word = (Word("*"),)
    tenants = [
        TenantFact(account, devices=(DeviceFact(f"{account}-exit", "exit", addresses=address(number, 0), exit=True), lap(account, number)))
        for number, account in enumerate(("acme", "bolt"))
    ]
    cluster = ClusterFact("eu1", tuple(tenants), (PeeringFact("p1", "acme", "bolt", word, word, (Service(),)),))
    server = Server(compile_cluster(cluster).text, cluster)
    nodes = {node.device.id: node for node in server.nodes}
    outside, inside = ipaddress.ip_address("8.8.8.8"), address(0, 1)[0].network_address
    assert server.reaches(nodes["bolt-lap"], inside, "tcp", 22)
    assert not any(server.sees(node, nodes["acme-exit"]) for node in nodes.values() if node.account == "bolt")
    assert not any(server.sees(node, nodes["bolt-exit"]) for node in nodes.values() if node.account == "acme")
    assert server.reaches(nodes["bolt-lap"], outside, "tcp", 443)
    alone = Server(
        compile_cluster(ClusterFact("eu1", (tenants[0], TenantFact("bolt", devices=(lap("bolt", 1),))), cluster.peerings)).text, cluster
    )
    assert not alone.reaches(nodes["bolt-lap"], outside, "tcp", 443)


def lap(account: str, number: int) -> DeviceFact:
    return DeviceFact(f"{account}-lap", "lap", addresses=address(number, 1))


def test_the_internet_by_way_of_an_exit_node_that_a_rule_names_is_the_servers_own() -> None:
    """Whatever is not for the Internet at large, such as an address for documentation, leaves there too: at an exit node of the tenant's own."""
    rule = Rule("acls[0]", Place(), (Word("*"),), (Word("*"),), via=(Word("tag:web"),))
    document = Document(tags={"tag:web": ()}, rules=(rule,))
    exit_node = DeviceFact("acme-exit", "exit", addresses=address(0, 0), exit=True, tags=("tag:acme--web",))
    cluster = ClusterFact("eu1", (TenantFact("acme", document, (exit_node, lap("acme", 0))),), ())
    server, meaning = Server(compile_cluster(cluster).text, cluster), Meaning(cluster)
    one = next(node for node in server.nodes if node.device.id == "acme-lap")
    for outside in map(ipaddress.ip_address, ("192.0.2.1", "8.8.8.8")):
        assert server.reaches(one, outside, "tcp", 22)
        assert meaning.allows(cluster.tenants[0], one.device, outside, "tcp", 22)
