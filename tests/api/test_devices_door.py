"""Devices through /api/v1, on a server that runs: what is asked of it happens there, and what it cannot do is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from placement import events
from placement.models import Cluster, ClusterPolicy, Device, Fleet
from tenants.models import AuditEvent
from tests import factories
from tests.api.callers import Program, program_of, said
from tests.cluster_servers import serve_cluster
from tests.doors import bootstrap
from tests.servers import Machine, Server

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(django_db_setup: None, tmp_path: Path) -> Iterator[Server]:
    with serve_cluster(tmp_path, real=False) as (_, running):
        yield running


@pytest.fixture
def customer(server: Server) -> factories.Customer:
    return factories.customer("acme-inc")


@pytest.fixture
def program(customer: factories.Customer) -> Program:
    return program_of(customer.tenant)


def join(server: Server, customer: factories.Customer, name: str) -> Machine:
    machine = Machine(server)
    machine.join(bootstrap(customer.secret, {"registration_id": name}).json()["auth_key"], name)
    events.consume(Fleet.objects.get())
    return machine


def only(program: Program, query: str = "") -> dict[str, Any]:
    [device] = program.get(f"tenants/acme-inc/devices{query}").json()["results"]
    return device


def names(program: Program, query: str = "") -> set[str]:
    return {device["name"] for device in program.get(f"tenants/acme-inc/devices{query}").json()["results"]}


def test_a_device_that_joined_is_listed_renamed_expired_and_deleted(server, customer, program):
    join(server, customer, "till-7")
    device = only(program)
    assert (device["name"], device["registration_id"], device["unexpected"], device["brought_by"]) == ("till-7", "till-7", "", None)
    Device.objects.of(customer.tenant).update(brought_by=factories.person("ann@people.example"))
    device = only(program)
    assert device["brought_by"] == "ann@people.example"
    path = f"tenants/acme-inc/devices/{device['id']}"
    assert program.get(path).json() == device

    assert program.patch(path, {"name": "till-8"}).json()["name"] == "till-8"
    assert [node.name for node in server.admin().nodes()] == ["till-8"]

    assert program.post(f"{path}/expire").json()["key_expires_at"] is not None
    assert server.admin().nodes()[0].expiry is not None

    assert program.get("tenants/acme-inc/quota").json()["used"] == 1
    assert program.delete(path).json()["gone_at"] is not None
    assert server.admin().nodes() == []
    assert program.get("tenants/acme-inc/quota").json()["used"] == 0
    assert program.get("tenants/acme-inc/devices").json()["results"] == []
    assert program.delete(path).status_code == 200
    for answer in (program.patch(path, {"name": "till-9"}), program.post(f"{path}/expire")):
        assert said(answer) == (409, "wrong-state")
    done = [event.verb for event in AuditEvent.objects.of(customer.tenant).filter(verb__startswith="device.").order_by("id")]
    assert done == ["device.rename", "device.expire", "device.delete"]


def test_a_device_is_given_tags_in_its_tenants_words_and_does_not_lose_them_again(server, customer, program):
    join(server, customer, "till-7")
    path = f"tenants/acme-inc/devices/{only(program)['id']}/tags"
    assert said(program.call("PUT", path, {"tags": ["tag:pos"]})) == (400, "malformed-request")
    factories.policy(customer.tenant, "tag:pos", "tag:web")
    early = program.call("PUT", path, {"tags": ["tag:pos"]})
    assert said(early) == (409, "wrong-state")
    assert "on its way" in early.json()["detail"], "the policy that declares the tag has not reached the server"
    tags = ["tag:acme-inc--pos", "tag:acme-inc--web"]
    server.admin().put_policy(json.dumps({"tagOwners": {tag: [] for tag in tags}, "acls": []}))
    assert program.call("PUT", path, {"tags": ["tag:web", "tag:pos"]}).json()["tags"] == ["tag:pos", "tag:web"]
    assert list(server.admin().nodes()[0].tags) == tags
    assert Device.objects.of(customer.tenant).get().tags == tags
    assert ClusterPolicy.objects.get().wanted > 0, "what the compiled policy says has changed"
    none = program.call("PUT", path, {"tags": []})
    assert said(none) == (409, "wrong-state")
    assert "does not become untagged again" in none.json()["detail"]
    told = AuditEvent.objects.of(customer.tenant).get(verb="device.set_tags").detail
    assert (told["before"], told["tags"]) == ([], ["tag:pos", "tag:web"])
    events.consume(Fleet.objects.get())
    assert only(program)["tags"] == ["tag:pos", "tag:web"], "the event says the same, and whose device it is"


def test_devices_are_found_by_name_and_the_gone_ones_on_request(server, customer, program):
    join(server, customer, "till-1")
    join(server, customer, "till-2")
    program.delete(f"tenants/acme-inc/devices/{only(program, '?name=till-1')['id']}")
    assert names(program) == {"till-2"}
    assert names(program, "?gone=true") == {"till-1", "till-2"}
    assert names(program, "?name=till-1") == set()
    assert names(program, "?gone=false&name=till-2") == {"till-2"}
    online = names(program, "?online=true")
    assert online | names(program, "?online=false") == {"till-2"}
    assert said(program.get("tenants/acme-inc/devices?online=perhaps")) == (400, "malformed-request")
    assert said(program.get("tenants/acme-inc/devices?colour=red")) == (400, "malformed-request")


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "Till"}, {"name": "a.b"}, {"name": 7}, {"name": "a" * 64}, {"name": "ok", "tags": []}]
)
def test_a_name_that_is_no_label_is_refused_before_the_server_is_asked(server, customer, program, body):
    join(server, customer, "till-7")
    assert said(program.patch(f"tenants/acme-inc/devices/{only(program)['id']}", body)) == (400, "malformed-request")
    assert only(program)["name"] == "till-7"


def test_while_its_server_is_down_the_answer_is_503_and_nothing_is_written(server, customer, program):
    join(server, customer, "till-7")
    Cluster.objects.update(admin_url="http://127.0.0.1:9")
    path = f"tenants/acme-inc/devices/{only(program)['id']}"
    for answer in (program.patch(path, {"name": "till-8"}), program.post(f"{path}/expire"), program.delete(path)):
        assert said(answer) == (503, "cluster-busy")
        assert int(answer["Retry-After"]) > 0
    assert only(program)["name"] == "till-7"
