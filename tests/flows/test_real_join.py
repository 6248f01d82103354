"""The main job on real input: tailscale clients that bootstrap let in, on a headscale server that ACS made, registered and watches."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest
from django.utils import timezone

from acs.poll import poll
from placement.models import Device, Grant, Watch
from tests import factories
from tests.cluster_servers import serve_cluster
from tests.live import LiveService, run_consumer, run_web, wait_for
from tests.servers import JoinRefused, Tailscale, run_tailscaled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]


def join(service: LiveService, client: Tailscale, customer: factories.Customer, name: str) -> str:
    answer = service.bootstrap(customer.secret, registration_id=name, hostname=name)
    assert answer.status == 200, answer.body
    client.up(answer.body["headscale_url"], answer.auth_key, name)
    return answer.auth_key


def peers(client: Tailscale) -> set[str]:
    return {peer["HostName"] for peer in (client.status().get("Peer") or {}).values()}


def look_again(cluster_id: str) -> None:
    """A poll now, however recent the last one."""
    Watch.objects.filter(pk=cluster_id).update(attempted_at=None)
    assert poll(cluster_id, now=timezone.now()).outcome == "ok"


@pytest.mark.headscale
@pytest.mark.tailscale
def test_two_tenants_on_one_real_server_join_see_their_own_and_nobody_else(db, tmp_path):
    acme, bolt = factories.customer("acme-inc"), factories.customer("bolt")
    with ExitStack() as stack:
        cluster_id, server = stack.enter_context(serve_cluster(tmp_path / "a", real=True))
        service = stack.enter_context(run_web(tmp_path, workers=1))
        stack.enter_context(run_consumer(tmp_path))
        names = {"acme-one": acme, "acme-two": acme, "bolt-one": bolt, "bolt-two": bolt}
        clients = {name: stack.enter_context(run_tailscaled(tmp_path / name)) for name in names}
        for name, customer in names.items():
            key = join(service, clients[name], customer, name)
            begun = time.monotonic()
            wait_for(
                lambda held=customer, n=name: Grant.objects.of(held.tenant).filter(state="redeemed", slot__registration_id=n).exists(),
                "it is redeemed",
                seconds=1,
            )
            print(f"{name}: redeemed {time.monotonic() - begun:.2f} s after tailscale up returned")
        for name, customer in names.items():
            own = {other for other, of in names.items() if of is customer and other != name}
            wait_for(lambda c=clients[name], o=own: peers(c) == o, f"{name} sees exactly {own}")
            [other] = own
            address = clients[other].status()["Self"]["TailscaleIPs"][0]
            pinged = clients[name].run("ping", "--c=3", "--until-direct=false", "--timeout=5s", address)
            assert "pong" in pinged.stdout, pinged.stdout + pinged.stderr
        look_again(cluster_id)
        for customer in (acme, bolt):
            devices = Device.objects.of(customer.tenant)
            assert {(d.online, d.unexpected, d.gone_at) for d in devices} == {(True, "", None)}
            assert customer.quota().used == 2

        stranger = stack.enter_context(run_tailscaled(tmp_path / "again"))
        with pytest.raises(JoinRefused):
            stranger.up(server.url, key, "again")
        look_again(cluster_id)
        assert bolt.quota().used == 2


def test_on_the_simulator_devices_appear_leave_and_free_their_slots(db, tmp_path):
    from tests.servers import machine

    customer = factories.customer("acme-inc")
    with ExitStack() as stack:
        cluster_id, server = stack.enter_context(serve_cluster(tmp_path / "a", real=False))
        service = stack.enter_context(run_web(tmp_path, workers=1))
        stack.enter_context(run_consumer(tmp_path))
        device = stack.enter_context(machine(server, tmp_path / "device"))
        device.join(service.bootstrap(customer.secret).auth_key, "till-7")
        wait_for(lambda: Device.objects.of(customer.tenant).filter(name="till-7").exists(), "the consumer saw it")
        look_again(cluster_id)
        assert Device.objects.of(customer.tenant).get().online
        with server.admin() as admin:
            admin.delete_node(Device.objects.of(customer.tenant).get().node_id)
        wait_for(lambda: Device.objects.of(customer.tenant).filter(gone_at__isnull=False).exists(), "the consumer saw it go")
        look_again(cluster_id)
        assert customer.quota().used == 0
