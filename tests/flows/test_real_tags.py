"""Tags and routes on real servers: a device that joins with a tagged credential is tagged from the start, and routes what its tenant may."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from django.utils import timezone

from acs.poll import poll
from placement import routing
from placement.models import Device, Route, Watch
from placement.policies import pushing
from tests import factories
from tests.cluster_servers import serve_cluster, serve_external
from tests.live import run_web
from tests.servers import run_tailscaled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.headscale, pytest.mark.tailscale]


def look_again(cluster_id: str) -> None:
    Watch.objects.filter(pk=cluster_id).update(attempted_at=None)
    done = poll(cluster_id, now=timezone.now())
    assert done is not None
    assert done.outcome == "ok"


@pytest.mark.parametrize("where", ["fleet", "external"])
def test_a_device_is_tagged_from_the_start_and_its_routes_are_as_they_were_decided(db, tmp_path, where):
    customer = factories.customer("acme-inc")
    factories.policy(customer.tenant, "tag:router", autoApprovers={"routes": {"10.0.0.0/8": ["tag:router"]}})
    _key, secret = factories.enrolment_key(customer.tenant, tags=["tag:router"])
    home = serve_cluster(tmp_path / "a", real=True) if where == "fleet" else serve_external(tmp_path / "a", real=True)
    with ExitStack() as stack:
        cluster_id, server = stack.enter_context(home)
        service = stack.enter_context(run_web(tmp_path, workers=1))
        client = stack.enter_context(run_tailscaled(tmp_path / "router"))
        answer = service.bootstrap(secret, registration_id="router", hostname="router")
        assert answer.status == 200, answer.body
        client.up(server.url, answer.auth_key, "router", "--advertise-routes=10.1.0.0/16,192.168.7.0/24", "--advertise-exit-node")
        admin = stack.enter_context(server.admin())
        [node] = admin.nodes()
        assert (node.tags, node.user_id) == (("tag:acme-inc--router",), None)

        look_again(cluster_id)
        device = Device.objects.of(customer.tenant).get()
        assert (device.tags, device.unexpected, device.grant.state) == (["tag:acme-inc--router"], "", "redeemed")
        assert dict(Route.objects.of(customer.tenant).values_list("prefix", "state")) == {
            "10.1.0.0/16": "approved", "192.168.7.0/24": "waiting", "0.0.0.0/0": "waiting", "::/0": "waiting",
        }  # fmt: skip
        assert admin.node(node.id).approved_routes == ("10.1.0.0/16",)
        routing.approve(Route.objects.of(customer.tenant).get(prefix="::/0"), now=timezone.now(), actor="system:tests")
        assert admin.node(node.id).approved_routes == ("10.1.0.0/16",), "an exit node waits for the document that knows of it"
        pushing.push(cluster_id, timezone.now(), after=(routing.after_push,))
        assert set(admin.node(node.id).approved_routes) == {"10.1.0.0/16", "0.0.0.0/0", "::/0"}
        admin.approve_routes(node.id, ["192.168.7.0/24"])
        look_again(cluster_id)
        assert set(admin.node(node.id).approved_routes) == {"10.1.0.0/16", "0.0.0.0/0", "::/0"}
        look_again(cluster_id)
        assert Route.objects.of(customer.tenant).filter(state="approved").count() == 3
