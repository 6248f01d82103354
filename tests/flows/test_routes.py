"""Routes from their announcement to their end: seen by polls, decided by people and policies, kept on the server as decided, and never across tenants."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from acs.demo.simulator import device as simulated
from acs.poll import poll
from placement import routing
from placement.errors import RouteConflict
from placement.models import Cluster, ClusterPolicy, Device, Route, Watch
from placement.policies import pushing, wishes
from tenants.models import AuditEvent
from tests import factories
from tests.api.callers import program_of, said
from tests.cluster_servers import serve_cluster
from tests.conftest import manage
from tests.doors import bootstrap
from tests.servers import Server

pytestmark = pytest.mark.django_db(transaction=True)
EXIT = ["0.0.0.0/0", "::/0"]


@dataclass
class Place:
    """A cluster with the simulator behind it."""

    cluster_id: str
    server: Server
    machines: dict[str, str] = field(default_factory=dict)

    def join(self, customer: factories.Customer, name: str, *routes: str, secret: str = "") -> Device:
        """A device comes, or comes again, and announces these routes; a poll has seen it."""
        key = bootstrap(secret or customer.secret, {"registration_id": name}).json()["auth_key"]
        self.machines[name] = simulated.join(self.server.url, key, name, machine_key=self.machines.get(name), routes=routes).machine_key
        self.look()
        return Device.objects.of(customer.tenant).get(slot__registration_id=name, gone_at=None)

    def look(self) -> None:
        Watch.objects.filter(pk=self.cluster_id).update(attempted_at=None)
        done = poll(self.cluster_id, now=timezone.now())
        assert done is not None
        assert done.outcome == "ok"

    def push(self) -> None:
        """The document that knows of exit nodes and public prefixes runs: now the server may approve them."""
        done = pushing.push(self.cluster_id, timezone.now(), after=(routing.after_push,))
        assert done is not None
        assert (done.state, done.reason) == ("stored", "")

    def approved(self, device: Device) -> set[str]:
        return set(self.server.admin().node(device.node_id).approved_routes)

    def wishes(self) -> int:
        return ClusterPolicy.objects.filter(pk=self.cluster_id).values_list("wanted", flat=True).first() or 0


@pytest.fixture
def place(django_db_setup: None, tmp_path: Path) -> Iterator[Place]:
    with serve_cluster(tmp_path, real=False) as (cluster_id, server):
        yield Place(cluster_id, server)


@pytest.fixture
def acme(place: Place) -> factories.Customer:
    return factories.customer("acme-inc")


def act(verb: Any, route: Route, **more: Any) -> Route:
    return verb(route, now=timezone.now(), actor="system:tests", **more)


def states(customer: factories.Customer) -> dict[str, str]:
    return dict(Route.objects.of(customer.tenant).order_by("pk").values_list("prefix", "state"))


def route_of(customer: factories.Customer, prefix: str, **of: Any) -> Route:
    return Route.objects.of(customer.tenant).get(prefix=prefix, **of)


def test_a_route_is_announced_approved_refused_and_waits_again(place, acme):
    program = program_of(acme.tenant)
    device = place.join(acme, "router", "10.1.0.0/16")
    [route] = program.get("tenants/acme-inc/routes").json()["results"]
    assert (route["prefix"], route["state"], route["announced"], route["exit_node"], route["device"]) == (
        "10.1.0.0/16", "waiting", True, False, str(device.pk),
    )  # fmt: skip
    assert program.get(f"tenants/acme-inc/devices/{device.pk}/routes?state=waiting").json()["results"] == [route]
    assert program.get("tenants/acme-inc/routes?state=approved").json()["results"] == []
    assert place.approved(device) == set()

    at, wishes = f"tenants/acme-inc/routes/{route['id']}", place.wishes()
    approved = program.post(f"{at}/approve").json()
    assert (approved["state"], approved["decided_by"].startswith("token:")) == ("approved", True)
    assert place.approved(device) == {"10.1.0.0/16"}
    assert place.wishes() > wishes, "what the compiled policy says has changed"
    assert said(program.post(f"{at}/approve")) == (409, "wrong-state")
    place.look()
    assert place.approved(device) == {"10.1.0.0/16"}

    assert program.post(f"{at}/refuse", {"reason": "not here"}).json()["reason"] == "not here"
    assert place.approved(device) == set()
    assert program.post(f"{at}/withdraw").json()["state"] == "waiting"
    assert said(program.post(f"{at}/withdraw")) == (409, "wrong-state")
    told = list(AuditEvent.objects.of(acme.tenant).filter(verb__startswith="route.").order_by("id").values_list("verb", flat=True))
    assert told == ["route.approve", "route.refuse", "route.withdraw"]


def test_routes_need_their_own_scope(place, acme):
    place.join(acme, "router", "10.1.0.0/16")
    reader = program_of(acme.tenant, "routes:read")
    [route] = reader.get("tenants/acme-inc/routes").json()["results"]
    assert said(reader.post(f"tenants/acme-inc/routes/{route['id']}/approve")) == (403, "missing-scope")
    assert said(program_of(acme.tenant, "devices:core").get("tenants/acme-inc/routes")) == (403, "missing-scope")


def test_an_exit_node_is_approved_for_both_versions_together_and_several_tenants_have_one(place, acme):
    bolt = factories.customer("bolt")
    for customer in (acme, bolt):
        device = place.join(customer, f"exit-{customer.account}", *EXIT)
        act(routing.approve, route_of(customer, "::/0"))
        assert states(customer) == {"0.0.0.0/0": "approved", "::/0": "approved"}
        assert place.approved(device) == set(), "before the document knows of it, whoever sees it could use it"
        place.push()
        assert place.approved(device) == set(EXIT)
    place.look()
    assert states(acme) == states(bolt) == {"0.0.0.0/0": "approved", "::/0": "approved"}
    act(routing.refuse, route_of(acme, "0.0.0.0/0"))
    assert states(acme) == {"0.0.0.0/0": "refused", "::/0": "refused"}


def test_a_route_that_somebody_approved_on_the_server_is_not_adopted_but_removed(place, acme):
    device = place.join(acme, "router", "10.1.0.0/16")
    place.server.admin().approve_routes(device.node_id, ["10.1.0.0/16", "10.9.0.0/16", *EXIT])
    place.look()
    assert states(acme) == {"10.1.0.0/16": "waiting", "10.9.0.0/16": "waiting"}
    assert not route_of(acme, "10.9.0.0/16").announced
    assert place.approved(device) == set()


def test_what_the_server_did_not_take_it_takes_after_the_next_poll(place, acme):
    device = place.join(acme, "router", "10.1.0.0/16")
    url = Cluster.objects.get(pk=place.cluster_id).admin_url
    Cluster.objects.update(admin_url="http://127.0.0.1:9")
    assert act(routing.approve, route_of(acme, "10.1.0.0/16")).state == "approved"
    assert place.approved(device) == set()
    Cluster.objects.update(admin_url=url)
    place.look()
    assert place.approved(device) == {"10.1.0.0/16"}
    place.server.admin().approve_routes(device.node_id, [])
    place.look()
    assert place.approved(device) == {"10.1.0.0/16"}, "what drifts is mended"


def test_a_route_that_vanishes_keeps_its_approval_and_a_devices_end_ends_it(place, acme):
    device = place.join(acme, "router", "10.1.0.0/16", "10.2.0.0/16")
    act(routing.approve, route_of(acme, "10.1.0.0/16"))
    device = place.join(acme, "router", "10.2.0.0/16")
    assert dict(Route.objects.of(acme.tenant).values_list("prefix", "announced")) == {"10.1.0.0/16": False, "10.2.0.0/16": True}
    assert states(acme)["10.1.0.0/16"] == "approved"
    place.join(acme, "another")
    place.server.admin().delete_node(device.node_id)
    place.look()
    assert states(acme) == {}
    assert Device.objects.of(acme.tenant).get(pk=device.pk).gone_at is not None


@pytest.mark.parametrize("prefix", ["100.100.0.0/16", "fd7a:115c:a1e0::/64", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "8.0.0.0/7"])
def test_a_prefix_that_nobody_may_route_is_refused_from_the_start_and_for_good(place, acme, prefix):
    device = place.join(acme, "router", prefix)
    route = route_of(acme, prefix)
    assert (route.state, route.decided_by) == ("refused", "system:rules")
    answer = program_of(acme.tenant).post(f"tenants/acme-inc/routes/{route.pk}/approve")
    assert said(answer) == (409, "wrong-state")
    assert prefix in answer.json()["detail"]
    assert place.approved(device) == set()


def test_an_overlap_with_another_tenant_is_refused_and_other_clusters_are_offered(place, acme, fleet_clusters):
    bolt, third = factories.customer("bolt"), factories.customer("third")
    place.join(bolt, "bolts-router", "10.1.0.0/16")
    act(routing.approve, route_of(bolt, "10.1.0.0/16"))
    device = place.join(acme, "router", "10.1.2.0/24", "10.2.0.0/16")
    free, taken, elsewhere = fleet_clusters(), fleet_clusters(), fleet_clusters(region="us")
    held = Device.objects.create(
        tenant=third.tenant, cluster=taken.row, node_id=1, machine_key="m", node_key="n", name="d", joined_at=timezone.now(), seen_at=timezone.now()
    )  # fmt: skip
    Route.objects.create(
        tenant=third.tenant, device=held, cluster=taken.row, prefix="10.0.0.0/8", state="approved", created_at=timezone.now(), decided_at=timezone.now()
    )  # fmt: skip
    answer = program_of(acme.tenant).post(f"tenants/acme-inc/routes/{route_of(acme, '10.1.2.0/24').pk}/approve")
    assert said(answer) == (409, "route-conflict")
    assert answer.json()["clusters"] == [free.cluster_id]
    assert elsewhere.cluster_id not in answer.content.decode()
    assert "bolt" not in answer.content.decode()
    assert states(acme)["10.1.2.0/24"] == "waiting"
    act(routing.approve, route_of(acme, "10.2.0.0/16"))
    assert place.approved(device) == {"10.2.0.0/16"}
    act(routing.refuse, route_of(bolt, "10.1.0.0/16"))
    act(routing.approve, route_of(acme, "10.1.2.0/24"))
    assert place.approved(device) == {"10.2.0.0/16", "10.1.2.0/24"}


def test_two_routers_of_one_tenant_may_have_the_same_route(place, acme):
    devices = [place.join(acme, name, "10.1.0.0/16") for name in ("router-1", "router-2")]
    for device in devices:
        act(routing.approve, route_of(acme, "10.1.0.0/16", device=device))
    assert [place.approved(device) for device in devices] == [{"10.1.0.0/16"}] * 2


def test_of_tenants_that_race_for_overlapping_prefixes_exactly_one_wins(place):
    customers = [factories.customer(f"racer-{number}") for number in range(4)]
    for number, customer in enumerate(customers):
        place.join(customer, f"router-{number}", f"10.1.{number}.0/{24 if number else 16}")
    routes = [Route.objects.of(customer.tenant).get() for customer in customers]
    for _ in range(3):
        Route.objects.across_tenants().update(state="waiting")

        def try_to_get(route: Route) -> str:
            try:
                return act(routing.approve, route).state
            except RouteConflict:
                return "conflict"
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            got = dict(zip(routes, pool.map(try_to_get, routes), strict=True))
        won = {route.prefix for route, outcome in got.items() if outcome == "approved"}
        assert won == set(Route.objects.across_tenants().filter(state="approved").values_list("prefix", flat=True))
        assert won in ({"10.1.0.0/16"}, {"10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24"}), "either the one around the others, or these"


def test_a_policy_approves_routes_of_whom_it_names_and_nobody_elses(place, acme):
    approvers = {"routes": {"10.0.0.0/8": ["tag:router"]}, "exitNode": ["tag:router"]}
    factories.policy(acme.tenant, "tag:router", autoApprovers=approvers)
    _, secret = factories.enrolment_key(acme.tenant, tags=["tag:router"])
    plain = place.join(acme, "plain", "10.5.0.0/16")
    router = place.join(acme, "router", "10.1.0.0/16", "192.168.1.0/24", *EXIT, secret=secret)
    assert router.tags == ["tag:acme-inc--router"]
    assert states(acme) == {
        "10.5.0.0/16": "waiting", "10.1.0.0/16": "approved", "192.168.1.0/24": "waiting", "0.0.0.0/0": "approved", "::/0": "approved",
    }  # fmt: skip
    assert place.approved(router) == {"10.1.0.0/16"}, "an exit node waits for the document that knows of it"
    place.push()
    assert (place.approved(router), place.approved(plain)) == ({"10.1.0.0/16", *EXIT}, set())
    wishes.touch(place.cluster_id, now=timezone.now())
    routing.tell(router.cluster, [router.node_id])
    assert place.approved(router) == {"10.1.0.0/16", *EXIT}, "what works goes on while another document is on its way"
    told = AuditEvent.objects.of(acme.tenant).filter(verb="route.approve").values_list("actor", flat=True)
    assert list(told) == ["system:policy"] * 2

    act(routing.refuse, route_of(acme, "10.1.0.0/16"))
    place.look()
    assert states(acme)["10.1.0.0/16"] == "refused", "a person's decision comes before the policy's"
    act(routing.withdraw, route_of(acme, "10.1.0.0/16"))
    place.look()
    assert states(acme)["10.1.0.0/16"] == "approved"


def test_what_a_policy_approves_is_still_refused_where_another_tenant_routes_it(place, acme):
    bolt = factories.customer("bolt")
    place.join(bolt, "bolts-router", "10.1.0.0/16")
    act(routing.approve, route_of(bolt, "10.1.0.0/16"))
    factories.policy(acme.tenant, autoApprovers={"routes": {"10.0.0.0/8": ["autogroup:member"]}})
    device = place.join(acme, "router", "10.1.0.0/16")
    assert states(acme) == {"10.1.0.0/16": "waiting"}
    assert "bolt" not in route_of(acme, "10.1.0.0/16").reason
    assert place.approved(device) == set()
    act(routing.refuse, route_of(bolt, "10.1.0.0/16"))
    place.look()
    assert states(acme) == {"10.1.0.0/16": "approved"}


def test_a_device_that_announces_without_end_fills_no_table(place, acme, monkeypatch):
    device = place.join(acme, "router", "10.1.0.0/16")
    act(routing.approve, route_of(acme, "10.1.0.0/16"))
    for start in (0, 100):
        many = [f"10.{number // 200 + 2}.{number % 200}.0/24" for number in range(start, start + 300)]
        routing.observe(place.cluster_id, {device.node_id: (many, ["10.1.0.0/16"])}, now=timezone.now())
        assert Route.objects.of(acme.tenant).count() <= routing.MOST
    assert states(acme)["10.1.0.0/16"] == "approved"


def test_on_the_command_line(place, acme):
    place.join(acme, "router", "10.1.0.0/16")
    number = str(route_of(acme, "10.1.0.0/16").pk)
    assert "10.1.0.0/16" in manage("route", "list", "acme-inc", role="web").stdout
    assert manage("route", "approve", number, role="web").stdout == "10.1.0.0/16 of router is approved\n"
    assert "approved already" in manage("route", "approve", number, role="web", check=False).stderr
    assert manage("route", "refuse", number, "--reason", "no", role="web").stdout.endswith("is refused\n")
    assert manage("route", "withdraw", number, role="web").stdout.endswith("is waiting\n")
    assert "There is no route" in manage("route", "approve", "0", role="web", check=False).stderr
