"""Tagged devices: by keys made through the API or inserted by SQL, by the admin, and never by a client's own word."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import bcrypt
import pytest

from placement.errors import ClusterRefused
from placement.headscale.admin import Admin, Node, PreAuthKey, User
from tests.servers import JoinRefused, Machine, Server

pytestmark = pytest.mark.tailscale
NewMachine = Callable[[], Machine]
NewKey = Callable[..., PreAuthKey]


@pytest.fixture
def server(lone: Server) -> Server:
    return lone


@pytest.fixture
def tag(user: User) -> str:
    """One that no policy defines yet."""
    return f"tag:{user.name}--web"


def host(tag: str) -> str:
    """What a test's device calls itself."""
    return tag.removeprefix("tag:")


def the_node(admin: Admin, tag: str) -> Node:
    (node,) = [node for node in admin.nodes() if node.hostname == host(tag)]
    return node


def test_a_key_with_tags_lets_a_tagged_device_in_whatever_the_policy_defines(
    admin: Admin, new_key: NewKey, new_machine: NewMachine, server: Server, tag: str
) -> None:
    key = new_key(tags=[f"{tag}2", tag, tag])
    assert key.tags == (tag, f"{tag}2")
    assert next(found.tags for found in admin.keys() if found.id == key.id) == (tag, f"{tag}2")
    new_machine().join(key.secret or "", host(tag))
    node = the_node(admin, tag)
    assert (node.tags, node.user_id, node.user_name, node.key_id) == ((tag, f"{tag}2"), None, "tagged-devices", key.id)
    assert server.rows(f"select user_id, tags, expiry from nodes where id = {node.id}") == [(None, f'["{tag}","{tag}2"]', None)]


def test_a_key_that_was_inserted_with_tags_lets_a_tagged_device_in(
    admin: Admin, user: User, new_machine: NewMachine, server: Server, tag: str
) -> None:
    prefix, secret = secrets.token_hex(6), secrets.token_hex(32)
    hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4))
    now = datetime.now(UTC)
    with sqlite3.connect(server.database["sqlite"]["path"], timeout=10) as file:
        file.execute(
            "insert into pre_auth_keys (prefix, hash, user_id, reusable, ephemeral, used, tags, created_at, expiration)"
            " values (?, ?, ?, false, false, false, ?, ?, ?)",
            [prefix, hashed, user.id, json.dumps([tag]), *(moment.isoformat(sep=" ") for moment in (now, now + timedelta(hours=1)))],
        )
    file.close()
    new_machine().join(f"hskey-auth-{prefix}-{secret}", host(tag))
    node = the_node(admin, tag)
    assert (node.tags, node.user_id, node.user_name) == ((tag,), None, "tagged-devices")


def test_a_user_with_only_tagged_devices_can_be_deleted_and_they_stay(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine, tag: str
) -> None:
    new_machine().join(new_key(tags=[tag]).secret or "", host(tag))
    admin.delete_user(user.id)
    assert the_node(admin, tag).tags == (tag,)


def test_tags_are_changed_to_defined_ones_only(admin: Admin, new_key: NewKey, new_machine: NewMachine, tag: str) -> None:
    admin.put_policy(json.dumps({"tagOwners": {tag: []}, "acls": []}))
    new_machine().join(new_key(tags=[f"{tag}2"]).secret or "", host(tag))
    node = the_node(admin, tag)
    for wish in ([f"{tag}2"], [tag, f"{tag}2"], ["tag:nobody--web"]):
        with pytest.raises(ClusterRefused, match="invalid or not permitted") as refusal:
            admin.set_tags(node.id, wish)
        assert refusal.value.status == 400
    assert the_node(admin, tag).tags == (f"{tag}2",)
    assert admin.set_tags(node.id, [tag, tag]).tags == (tag,)


def test_a_device_with_a_key_that_asks_for_tags_is_refused_even_if_its_user_owns_them(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine, tag: str
) -> None:
    admin.put_policy(json.dumps({"tagOwners": {tag: [f"{user.name}@"]}, "acls": []}))
    for key in (new_key(), new_key(tags=[tag])):
        with pytest.raises(JoinRefused, match="invalid or not permitted"):
            new_machine().join(key.secret or "", host(tag), tags=[tag])
        assert not next(found.used for found in admin.keys() if found.id == key.id)
    assert [node for node in admin.nodes() if node.hostname == host(tag)] == []


def test_a_device_that_a_person_lets_in_gets_the_tags_that_the_person_owns(
    admin: Admin, user: User, new_machine: NewMachine, tag: str
) -> None:
    admin.put_policy(json.dumps({"tagOwners": {tag: []}, "acls": []}))
    asking = new_machine().ask(host(tag), tags=[tag])
    with pytest.raises(ClusterRefused, match="invalid or not permitted"):
        admin.register(user.name, asking)
    group = f"group:{user.name}"
    admin.put_policy(json.dumps({"groups": {group: [f"{user.name}@"]}, "tagOwners": {tag: [group]}, "acls": []}))
    asking = new_machine().ask(host(tag), tags=[tag])
    admin.register(user.name, asking)
    node = the_node(admin, tag)
    assert (node.tags, node.user_id) == ((tag,), None)


def test_routes_that_the_policy_approves_are_approved_when_they_are_announced(
    admin: Admin, user: User, new_key: NewKey, new_machine: NewMachine, tag: str
) -> None:
    approvers = {"routes": {"10.50.0.0/16": [tag]}, "exitNode": [f"{user.name}@"]}
    admin.put_policy(json.dumps({"tagOwners": {tag: []}, "autoApprovers": approvers, "acls": []}))
    new_machine().join(new_key(tags=[tag]).secret or "", host(tag), routes=["10.50.1.0/24", "10.51.0.0/24", "0.0.0.0/0", "::/0"])
    node = the_node(admin, tag)
    assert set(node.available_routes) == {"10.50.1.0/24", "10.51.0.0/24", "0.0.0.0/0", "::/0"}
    assert node.approved_routes == ("10.50.1.0/24",)
    admin.approve_routes(node.id, ["10.51.0.0/24"])
    admin.put_policy(json.dumps({"tagOwners": {tag: []}, "acls": []}))
    assert the_node(admin, tag).approved_routes == ("10.51.0.0/24",)
