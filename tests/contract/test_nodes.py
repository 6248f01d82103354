"""Devices: how they come in with keys, what the server tells of them, and what may be done to them."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from placement.errors import ClusterRefused
from placement.headscale.admin import Admin, Node, PreAuthKey, User
from tests.servers import JoinRefused, Machine, Server

pytestmark = pytest.mark.tailscale
NewMachine = Callable[[], Machine]
NewKey = Callable[..., PreAuthKey]
FUTURE = datetime(2032, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def secret(key: PreAuthKey) -> str:
    assert key.secret is not None
    return key.secret


def nodes_of(admin: Admin, user: User) -> list[Node]:
    return [node for node in admin.nodes() if node.user_id == user.id]


def sole_node(admin: Admin, user: User) -> Node:
    (node,) = nodes_of(admin, user)
    return node


def eventually(look: Callable[[], Any], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.1)


def test_a_device_joins_with_a_key_and_the_server_tells_of_it(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine, server: Server
) -> None:
    key = new_key()
    new_machine().join(secret(key), "MyLaptop-1")
    eventually(lambda: sole_node(admin, user).online)
    node = sole_node(admin, user)
    assert (node.hostname, node.name, node.user_name) == ("MyLaptop-1", "mylaptop-1", user.name)
    assert (node.key_id, node.ephemeral, node.registered_by, node.tags, node.expiry) == (key.id, False, "auth_key", (), None)
    assert node.machine_key.startswith("mkey:")
    assert node.node_key.startswith("nodekey:")
    assert ipaddress.ip_address(node.ipv4 or "") in ipaddress.ip_network("100.64.0.0/10")
    assert ipaddress.ip_address(node.ipv6 or "") in ipaddress.ip_network("fd7a:115c:a1e0::/48")
    assert admin.node(node.id).machine_key == node.machine_key
    assert next(found.used for found in admin.keys() if found.id == key.id)


def test_the_answer_about_a_node_has_every_field(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine, server: Server
) -> None:
    new_machine().join(secret(new_key()), "fields")
    headers = {"Authorization": f"Bearer {server.api_key}"}
    found = next(
        node for node in httpx2.get(f"{server.url}/api/v1/node", headers=headers).json()["nodes"] if node["user"]["id"] == str(user.id)
    )
    assert set(found) == {
        *("id", "machineKey", "nodeKey", "discoKey", "ipAddresses", "name", "user", "lastSeen", "expiry", "preAuthKey", "createdAt"),
        *("registerMethod", "givenName", "online", "approvedRoutes", "availableRoutes", "subnetRoutes", "tags"),
    }
    assert found["preAuthKey"]["key"].endswith("-***")
    assert found["registerMethod"] == "REGISTER_METHOD_AUTH_KEY"


def test_its_row_has_the_form_that_a_restarted_server_reads(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine, server: Server
) -> None:
    key = new_key()
    new_machine().join(secret(key), "rowed")
    node = sole_node(admin, user)
    ((machine_key, node_key, disco_key, host, ipv4, ipv6, *rest),) = server.rows(
        "select machine_key, node_key, disco_key, host_info, ipv4, ipv6, hostname, given_name, user_id, register_method, tags, auth_key_id, expiry,"
        f" approved_routes, deleted_at from nodes where id = {node.id}"
    )
    assert (machine_key, node_key, ipv4, ipv6) == (node.machine_key, node.node_key, node.ipv4, node.ipv6)
    assert disco_key.startswith("discokey:")
    assert '"Hostname":"rowed"' in host
    assert rest == ["rowed", "rowed", user.id, "authkey", None, key.id, None, None, None]


def test_a_single_use_key_lets_one_device_in(admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine) -> None:
    key = new_key()
    new_machine().join(secret(key), "first")
    with pytest.raises(JoinRefused, match="authkey already used"):
        new_machine().join(secret(key), "second")
    assert [node.hostname for node in nodes_of(admin, user)] == ["first"]


def test_of_devices_that_race_with_one_key_one_gets_in(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine, server: Server
) -> None:
    key = secret(new_key())
    machines = [new_machine() for _ in range(3 if server.is_real else 16)]

    def try_to_join(number: int) -> str:
        try:
            machines[number].join(key, f"racer{user.id}-{number}")
        except JoinRefused as refusal:
            return str(refusal)
        return "in"

    with ThreadPoolExecutor(len(machines)) as pool:
        outcomes = sorted(pool.map(try_to_join, range(len(machines))), key=lambda outcome: outcome != "in")
    assert outcomes[0] == "in"
    assert all("authkey already used" in outcome for outcome in outcomes[1:])
    assert len(nodes_of(admin, user)) == 1


def test_an_expired_and_a_revoked_and_an_unknown_key_let_nobody_in(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine
) -> None:
    # A machine for each: a client that was refused repeats its old answer for a moment when it is asked again.
    expired = admin.make_key(user.id, datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(JoinRefused, match="authkey expired"):
        new_machine().join(secret(expired), "late")
    revoked = new_key()
    admin.expire_key(revoked.id)
    with pytest.raises(JoinRefused, match="authkey expired"):
        new_machine().join(secret(revoked), "late")
    deleted = new_key()
    admin.delete_key(deleted.id)
    with pytest.raises(JoinRefused, match="invalid pre auth key"):
        new_machine().join(secret(deleted), "late")
    forged = new_key()
    with pytest.raises(JoinRefused, match="invalid auth key"):
        new_machine().join(f"{secret(forged)[:-4]}0000", "late")
    assert nodes_of(admin, user) == []


def test_the_same_machine_keeps_its_row_and_address_and_a_fresh_key_is_used_up(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine
) -> None:
    machine = new_machine()
    machine.join(secret(new_key()), "again")
    before = sole_node(admin, user)
    second = new_key()
    machine.join(secret(second), "again")
    eventually(lambda: sole_node(admin, user).node_key != before.node_key)
    after = sole_node(admin, user)
    assert (after.id, after.ipv4, after.ipv6, after.machine_key, after.name) == (
        before.id,
        before.ipv4,
        before.ipv6,
        before.machine_key,
        before.name,
    )
    assert after.key_id == second.id
    assert next(found.used for found in admin.keys() if found.id == second.id)


def test_the_same_machine_under_another_user_is_a_second_node(admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine) -> None:
    machine, other = new_machine(), admin.make_user(f"{user.name}-other")
    machine.join(secret(new_key()), "moved-over")
    machine.join(secret(admin.make_key(other.id, FUTURE)), "moved-over-again")
    assert sole_node(admin, user).machine_key == sole_node(admin, other).machine_key
    assert sole_node(admin, user).ipv4 != sole_node(admin, other).ipv4


def test_of_two_devices_of_one_name_the_second_gets_a_suffix(admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine) -> None:
    new_machine().join(secret(new_key()), "Same-Name")
    new_machine().join(secret(new_key()), "same-name")
    assert sorted(node.name for node in nodes_of(admin, user)) == ["same-name", "same-name-1"]


def test_a_user_with_nodes_cannot_be_deleted(admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine) -> None:
    new_machine().join(secret(new_key()), "keeper")
    with pytest.raises(ClusterRefused, match=r"user not empty: node\(s\) found") as refusal:
        admin.delete_user(user.id)
    assert refusal.value.status == 500
    admin.delete_node(sole_node(admin, user).id)
    admin.delete_user(user.id)


def test_a_node_is_renamed_once_to_a_free_label(admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine, server: Server) -> None:
    new_machine().join(secret(new_key()), "plain")
    new_machine().join(secret(new_key()), "taken")
    plain, taken = sorted(nodes_of(admin, user), key=lambda node: node.id)
    renamed = admin.rename(plain.id, f"renamed{plain.id}")
    assert (renamed.name, renamed.hostname) == (f"renamed{plain.id}", "plain")
    assert server.rows(f"select given_name from nodes where id = {plain.id}") == [(f"renamed{plain.id}",)]
    with pytest.raises(ClusterRefused, match="not unique") as refusal:
        admin.rename(plain.id, taken.name)
    assert refusal.value.status == 500
    for bad in ("with space", "dotted.name", "-dash", "x" * 64):
        with pytest.raises(ClusterRefused, match=r"not a valid DNS label|too long"):
            admin.rename(plain.id, bad)


def test_expiring_a_node_now_later_and_never(admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine) -> None:
    new_machine().join(secret(new_key()), "mortal")
    node = sole_node(admin, user)
    assert admin.expire_node(node.id, FUTURE).expiry == FUTURE
    assert admin.expire_node(node.id, never=True).expiry is None
    expired = admin.expire_node(node.id).expiry
    assert expired is not None
    assert abs(datetime.now(UTC) - expired) < timedelta(minutes=1)


def test_routes_are_approved_and_withdrawn(admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine) -> None:
    new_machine().join(secret(new_key()), "router")
    node = sole_node(admin, user)
    assert admin.approve_routes(node.id, ["10.1.0.0/16", "0.0.0.0/0"]).approved_routes == ("0.0.0.0/0", "10.1.0.0/16", "::/0")
    assert admin.approve_routes(node.id, []).approved_routes == ()
    with pytest.raises(ClusterRefused, match="parsing route"):
        admin.approve_routes(node.id, ["nonsense"])


def test_tags_need_the_policy_and_take_the_node_from_its_user(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine, server: Server
) -> None:
    new_machine().join(secret(new_key()), "server")
    node = sole_node(admin, user)
    tag = f"tag:{user.name}--web"
    with pytest.raises(ClusterRefused, match="invalid or not permitted") as refusal:
        admin.set_tags(node.id, [tag])
    assert refusal.value.status == 400
    for bad, status in (([], 400), (["web"], 500), (["tag:Upper"], 500)):
        with pytest.raises(ClusterRefused) as refusal:
            admin.set_tags(node.id, bad)
        assert refusal.value.status == status
    admin.put_policy(json.dumps({"tagOwners": {tag: []}, "acls": []}))
    admin.set_tags(node.id, [tag])
    tagged = next(found for found in admin.nodes() if found.id == node.id)
    assert (tagged.tags, tagged.user_id, tagged.user_name, tagged.key_id) == ((tag,), None, "tagged-devices", node.key_id)
    assert server.rows(f"select user_id, tags from nodes where id = {node.id}") == [(None, f'["{tag}"]')]


def test_unknown_nodes_are_refused_by_every_call(admin: Admin) -> None:
    refusals = {}
    for name, call in {
        "get": lambda: admin.node(987654),
        "delete": lambda: admin.delete_node(987654),
        "rename": lambda: admin.rename(987654, "free"),
        "expire": lambda: admin.expire_node(987654),
        "tags": lambda: admin.set_tags(987654, ["tag:x"]),
        "routes": lambda: admin.approve_routes(987654, ["10.0.0.0/8"]),
    }.items():
        with pytest.raises(ClusterRefused) as refusal:
            call()
        refusals[name] = refusal.value.status
    assert refusals == {"get": 404, "delete": 404, "rename": 500, "expire": 500, "tags": 404, "routes": 400}


def test_an_unknown_login_is_refused(admin: Admin, user: User) -> None:
    with pytest.raises(ClusterRefused, match="invalid prefix") as malformed:
        admin.register(user.name, "nonsense")
    with pytest.raises(ClusterRefused, match="not found in registration cache") as unknown:
        admin.register(user.name, "hskey-authreq-" + "a" * 24)
    with pytest.raises(ClusterRefused, match="user not found") as nobody:
        admin.register("nobody-here", "hskey-authreq-" + "a" * 24)
    assert {error.value.status for error in (malformed, unknown, nobody)} == {500}


def test_backfilling_a_complete_server_changes_nothing(admin: Admin) -> None:
    assert admin.backfill_ips() == []


def test_a_device_without_a_key_is_let_in_by_name(admin: Admin, user: User, new_machine: NewMachine) -> None:
    machine = new_machine()
    auth_id = machine.ask("interactive")
    node = admin.register(user.name, auth_id)
    assert (node.hostname, node.user_id, node.key_id, node.registered_by) == ("interactive", user.id, None, "cli")
    with pytest.raises(ClusterRefused, match="not found in registration cache"):
        admin.register(user.name, auth_id)


def test_the_same_machine_let_in_again_keeps_its_row_and_under_another_user_is_a_second_node(
    admin: Admin, user: User, new_machine: NewMachine
) -> None:
    machine, other = new_machine(), admin.make_user(f"{user.name}-other")
    first = admin.register(user.name, machine.ask("again"))
    machine.leave()
    again = admin.register(user.name, machine.ask("again"))
    assert (again.id, again.ipv4, again.name, again.created_at) == (first.id, first.ipv4, first.name, first.created_at)
    assert again.node_key != first.node_key
    machine.leave()
    second = admin.register(other.name, machine.ask("again"))
    assert (second.machine_key, second.user_name) == (first.machine_key, other.name)
    assert second.id != first.id
    assert second.ipv4 != first.ipv4


def test_a_tagged_machine_is_handed_over_in_place_to_whoever_lets_it_in_and_can_be_given_back(
    admin: Admin, user: User, new_machine: NewMachine, server: Server
) -> None:
    """On a fleet the database refuses it, and the server's memory has done it all the same: what cannot be stored is not undone there."""
    machine, other, tag = new_machine(), admin.make_user(f"{user.name}-other"), f"tag:{user.name}--pos"
    first = admin.register(user.name, machine.ask("managed"))
    admin.put_policy(json.dumps({"tagOwners": {tag: []}, "acls": []}))
    admin.set_tags(first.id, [tag])
    machine.leave()
    on_fleet = server.database["type"] == "postgres"
    with pytest.raises(ClusterRefused, match=f"device {first.id} belongs to tenant {user.name}") if on_fleet else nullcontext():
        admin.register(other.name, machine.ask("managed"))
    stolen = admin.node(first.id)
    assert (stolen.ipv4, stolen.tags, stolen.user_name) == (first.ipv4, (), other.name)

    admin.expire_node(first.id)
    admin.set_tags(first.id, [tag])
    back = admin.node(first.id)
    assert (back.tags, back.user_id) == ((tag,), None)
    assert back.expiry is not None
    assert back.expiry <= datetime.now(UTC)
    assert server.rows(f"select user_id, tags from nodes where id = {first.id}") == [(None, f'["{tag}"]')]


def test_an_ephemeral_device_is_gone_when_it_logs_out_and_another_one_stays_expired(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine
) -> None:
    passing, staying = new_machine(), new_machine()
    passing.join(secret(new_key(ephemeral=True)), "passing")
    staying.join(secret(new_key()), "staying")
    assert {node.hostname: node.ephemeral for node in nodes_of(admin, user)} == {"passing": True, "staying": False}
    passing.leave()
    staying.leave()
    eventually(lambda: [node.hostname for node in nodes_of(admin, user)] == ["staying"])
    eventually(lambda: (sole_node(admin, user).expiry or FUTURE) < datetime.now(UTC))


def test_what_the_tests_of_a_policy_see_of_devices(admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine) -> None:
    """Rules to autogroup:self are not seen: under the self rule alone a user's device does not reach its own kind in a test."""
    new_machine().join(secret(new_key()), f"tested{user.id}")
    eventually(lambda: len(nodes_of(admin, user)) == 1)
    me, address = f"{user.name}@", sole_node(admin, user).ipv4
    self_rule = {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}
    literal = {"action": "accept", "src": [me], "dst": [f"{me}:443"]}
    reaches_itself = {"src": me, "accept": [f"{address}:443"]}
    with pytest.raises(ClusterRefused, match="expected ALLOWED, got DENIED"):
        admin.check_policy(json.dumps({"acls": [self_rule], "tests": [reaches_itself]}))
    admin.check_policy(json.dumps({"acls": [self_rule, literal], "tests": [reaches_itself]}))
    admin.check_policy(json.dumps({"acls": [self_rule], "tests": [{"src": me, "deny": [f"{address}:443"]}]}))
    admin.check_policy(json.dumps({"tests": [reaches_itself]}))
    admin.check_policy(json.dumps({"acls": [{**literal, "src": ["autogroup:member"]}], "tests": [reaches_itself]}))
