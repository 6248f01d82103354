"""A device that is installed again gets a key although the quota is full, and a name is no way to bring in machines without end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acs.poll import poll
from placement import device_verbs
from placement.models import Device, Watch
from tests import factories
from tests.doors import bootstrap
from tests.fakes.fleet_server import FleetServer, serving
from tests.flows.test_events_and_polls import consume
from tests.flows.test_signed_bootstrap import code

pytestmark = pytest.mark.django_db(transaction=True)
NAME = {"registration_id": "till-7"}


@pytest.fixture
def server(fleet_cluster: Any) -> Iterator[FleetServer]:
    with serving(fleet_cluster) as running:
        yield running


class Cheat:
    """A tenant whose one bearer key and one name are used for ever new machines."""

    def __init__(self, server: FleetServer, quota: int) -> None:
        self.server, self.customer = server, factories.customer(max_devices=quota)
        self.serial = 0

    @property
    def used(self) -> int:
        return self.customer.quota().used

    def devices(self) -> list[Device]:
        return list(Device.objects.of(self.customer.tenant).filter(gone_at=None).order_by("joined_at", "node_id"))

    def bring(self, *, online: bool = True) -> Any:
        """A new machine asks under the old name, and joins if it gets a key."""
        answer = bootstrap(self.customer.secret, NAME)
        if answer.status_code == 200:
            self.serial += 1
            node_id = self.server.join(answer.json()["auth_key"], f"{self.customer.account}-{self.serial}")
            if not online:
                self.server.online.discard(node_id)
            consume()
        return answer

    def look(self) -> None:
        Watch.objects.filter(pk=self.server.cluster.cluster_id).update(attempted_at=None)
        poll(self.server.cluster.cluster_id, now=timezone.now())

    def delete(self, device: Device) -> None:
        device_verbs.delete(device, now=timezone.now(), actor="system:tests")


def test_a_device_that_is_installed_again_gets_in_at_the_limit_and_its_next_machine_does_not(server):
    cheat = Cheat(server, quota=1)
    assert [cheat.bring().status_code for _ in range(2)] == [200, 200]
    cheat.look()
    assert cheat.used == 2, "both are online: two machines"
    refused = cheat.bring()
    assert code(refused) == (403, "quota-exceeded")
    assert "delete those" in refused.json()["detail"]
    cheat.delete(cheat.devices()[0])
    assert cheat.bring().status_code == 200


def test_machines_that_hide_from_each_other_are_counted_before_they_are_seen_together(server):
    cheat = Cheat(server, quota=1)
    assert [cheat.bring(online=False).status_code for _ in range(4)] == [200, 200, 403, 403]
    server.online = set(server.node_ids())
    cheat.look()
    assert (cheat.used, len(cheat.devices())) == (2, 2)


def test_below_the_limit_one_may_install_again_without_deleting_first(server):
    cheat = Cheat(server, quota=3)
    assert [cheat.bring(online=False).status_code for _ in range(5)] == [200, 200, 200, 200, 403]
    assert cheat.used == 1


def test_a_name_whose_key_nobody_used_gets_its_key_again_at_the_limit(server):
    customer = factories.customer(max_devices=1)
    first, again = (bootstrap(customer.secret, NAME).json()["auth_key"] for _ in range(2))
    other = bootstrap(factories.enrolment_key(customer.tenant)[1], NAME).json()["auth_key"]
    assert first == again != other


acts = st.lists(st.sampled_from(["bring", "bring", "hide", "look", "wake", "delete"]), min_size=4, max_size=14)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(quota=st.integers(1, 3), acts=acts)
def test_one_name_never_takes_more_than_one_place_past_the_quota(server, quota, acts):
    cheat = Cheat(server, quota)
    for act in (*acts, "wake", "look"):
        if act in ("bring", "hide"):
            assert cheat.bring(online=act == "bring").status_code in (200, 403)
        elif act == "look":
            cheat.look()
        elif act == "wake":
            server.online = set(server.node_ids())
        elif found := cheat.devices():
            cheat.delete(found[0])
        assert cheat.used <= quota + 1
    assert len(cheat.devices()) <= quota + 1
    for device in cheat.devices():
        cheat.delete(device)
    assert cheat.used == 0
    assert cheat.bring().status_code == 200
