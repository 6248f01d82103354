"""What a server tells an auditor on its metrics port: the rules in force and the nodes in memory, whatever was meant and stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from placement.errors import ClusterRefused, ClusterSilent, ClusterUnreachable
from placement.headscale import debug
from placement.headscale.admin import Admin, User
from placement.headscale.debug import CapabilityGrant, FilterRule, Target
from placement.headscale.fleet.binary import free_ports
from tests.servers import Machine, Server

LITERAL = {"action": "accept", "src": ["100.127.255.255/32"], "dst": ["100.127.255.255/32:1"]}
SELF = {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}
TO_LITERAL = FilterRule(("100.127.255.255",), (Target("100.127.255.255", 1, 1),), (), ())


@pytest.fixture
def server(lone: Server) -> Server:
    return lone


def rules(server: Server) -> list[FilterRule]:
    return debug.filter_rules("tested", server.metrics_url, 5)


def test_the_rules_in_force(admin: Admin, server: Server) -> None:
    grants = [
        {"src": ["100.64.9.1"], "dst": ["10.1.0.0/24", "100.64.9.2"], "ip": ["443", "tcp:80-90,22"]},
        {"src": ["100.64.9.1", "100.64.9.0", "192.0.2.5", "192.0.2.6"], "dst": ["*"], "ip": ["*"]},
        {"src": ["100.64.9.1"], "dst": ["100.64.9.3"], "ip": ["443"]},
        {"src": ["100.64.9.1"], "dst": ["100.64.9.2"], "app": {"acme.example/cap/b": [{"n": 1}], "tailscale.com/cap/relay": []}},
        {"src": ["nobody@"], "dst": ["100.64.9.2"], "ip": ["*"]},
        {"src": ["100.64.9.1"], "dst": ["10.2.0.0/24"], "ip": ["*"], "via": ["tag:acme--router"]},
    ]
    admin.put_policy(json.dumps({"tagOwners": {"tag:acme--router": []}, "grants": grants, "acls": [LITERAL, SELF]}))
    one, two = ("100.64.9.1",), "100.64.9.2"
    assert rules(server) == [
        FilterRule(one, (Target("10.1.0.0/24", 443, 443), Target(two, 443, 443), Target("100.64.9.3", 443, 443)), (), ()),
        FilterRule(one, tuple(Target(where, *ports) for where in ("10.1.0.0/24", two) for ports in ((80, 90), (22, 22))), (6,), ()),
        FilterRule(("100.64.9.0/31", "192.0.2.5-192.0.2.6"), (Target("*", 0, 65535),), (), ()),
        FilterRule(one, (), (), (CapabilityGrant(("100.64.9.2/32",), {"acme.example/cap/b": ({"n": 1},), "tailscale.com/cap/relay": ()}),)),
        FilterRule((two,), (), (), (CapabilityGrant(("100.64.9.1/32",), {"tailscale.com/cap/relay-target": ()}),)),
        TO_LITERAL,
    ]


def test_a_document_without_a_rule_for_all_has_none(admin: Admin, server: Server) -> None:
    for document in ({"acls": []}, {"grants": [], "acls": [SELF]}):
        admin.put_policy(json.dumps(document))
        assert rules(server) == []


def test_a_document_without_rules_lets_all_to_all(admin: Admin, server: Server) -> None:
    admin.put_policy(json.dumps({"groups": {}}))
    assert rules(server) == [FilterRule(("*",), (Target("*", 0, 65535),), (), ())]


def test_an_empty_document_is_stored_and_leaves_the_former_in_force(admin: Admin, server: Server) -> None:
    admin.put_policy(json.dumps({"acls": [LITERAL]}))
    admin.put_policy("")
    assert rules(server) == [TO_LITERAL]


def test_a_document_that_is_refused_for_a_failed_test_is_not_in_force(admin: Admin, server: Server) -> None:
    admin.put_policy(json.dumps({"acls": [LITERAL]}))
    with pytest.raises(ClusterRefused):
        admin.put_policy(json.dumps({"acls": [], "tests": [{"src": "100.64.9.1", "accept": ["100.64.9.2:1"]}]}))
    assert rules(server) == [TO_LITERAL]


def test_a_document_that_is_refused_for_the_unknown_target_of_an_attribute_is_in_force_all_the_same(admin: Admin, server: Server) -> None:
    document = json.dumps({"acls": [LITERAL]})
    admin.put_policy(document)
    with pytest.raises(ClusterRefused, match="nobody@"):
        admin.put_policy(json.dumps({"acls": [], "nodeAttrs": [{"target": ["nobody@"], "attr": ["x"]}]}))
    stored = admin.policy()
    assert stored is not None
    assert stored.document == document
    assert rules(server) == []
    admin.put_policy(document)
    assert rules(server) == [TO_LITERAL]


@pytest.mark.tailscale
def test_the_nodes_in_memory(admin: Admin, server: Server, user: User, new_key, new_machine) -> None:
    owned: Machine = new_machine()
    owned.join(new_key().secret, "MyRouter", routes=["10.88.0.0/24"])
    node = next(node for node in admin.nodes() if node.user_id == user.id)
    admin.approve_routes(node.id, ["10.88.0.0/24", "10.89.0.0/24"])
    tagged: Machine = new_machine()
    tagged.join(new_key(tags=["tag:acme--web"]).secret, "web")
    stored = {found.id: found for found in debug.store("tested", server.metrics_url, 5)}
    seen = stored[node.id]
    assert (seen.name, seen.hostname, seen.ipv4, seen.ipv6) == (node.name, "MyRouter", node.ipv4, node.ipv6)
    assert (seen.user_id, seen.user_name, seen.tags, seen.expiry) == (user.id, user.name, (), None)
    assert (seen.routes, seen.approved_routes) == (("10.88.0.0/24",), ("10.88.0.0/24", "10.89.0.0/24"))
    other = stored[max(stored)]
    assert (other.hostname, other.user_id, other.user_name, other.tags) == ("web", None, "", ("tag:acme--web",))
    assert (other.routes, other.approved_routes) == ((), ())
    assert list(stored) == sorted(stored)
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    admin.expire_node(node.id, soon)
    assert next(found.expiry for found in debug.store("tested", server.metrics_url, 5) if found.id == node.id) == soon


def test_who_comes_through_a_proxy_and_what_is_no_view_are_refused(server: Server) -> None:
    base = server.metrics_url.removesuffix("/metrics")
    answer = httpx2.get(f"{base}/debug/filter", headers={"X-Forwarded-For": "192.0.2.1"}, trust_env=False)
    assert (answer.status_code, answer.text) == (403, "debug access denied\n")
    assert httpx2.get(f"{base}/debug/nonsense", trust_env=False).status_code == 404
    assert httpx2.get(f"{base}/debug/mapresponses", trust_env=False).text == "HEADSCALE_DEBUG_DUMP_MAPRESPONSE_PATH not set"
    with pytest.raises(ClusterRefused) as refusal:
        debug.filter_rules("tested", f"{base}/nowhere/metrics", 5)
    assert refusal.value.status == 404


def test_no_server_and_a_server_of_another_kind_are_told_apart() -> None:
    with pytest.raises(ClusterUnreachable):
        debug.store("tested", f"http://127.0.0.1:{free_ports(1)[0]}/metrics", 2)
    for status, body in ((500, "internal server error"), (200, "[]"), (200, '{"1": {}}'), (200, "<html>"), (302, "")):
        transport = httpx2.MockTransport(lambda _, status=status, body=body: httpx2.Response(status, text=body))
        with pytest.raises(ClusterSilent):
            debug.store("tested", "http://server.example/metrics", 2, transport=transport)
