"""Real clients without a key, on real headscale: the address that the client shows, through the gateway, at a real browser, until it runs."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
import yaml
from django.utils import timezone

from acs.poll import poll
from placement.models import Device, DeviceLogin, Slot, Watch
from tenants.models import Quota
from tests import factories
from tests.cluster_servers import serve_cluster, serve_external
from tests.fakes.stun import relay_map
from tests.flows.test_device_login import browser as signed_in
from tests.flows.test_device_login import post
from tests.gateway.conftest import Haproxy
from tests.live import race, run_consumer, run_web, wait_for
from tests.servers import run_tailscaled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.headscale, pytest.mark.tailscale]
PASSWORD = "correct horse battery"
SOON = 3.0  # seconds from the confirmation to a running client


@pytest.mark.haproxy
@pytest.mark.browser
def test_the_address_of_tailscale_up_leads_a_person_to_a_running_client(db, static_root, tmp_path, monkeypatch):
    tenant = factories.tenant("acme-inc")
    ann = factories.person("ann@people.example", of=tenant, password=PASSWORD)
    (tmp_path / "gateway").mkdir()
    with ExitStack() as stack:
        service = stack.enter_context(run_web(tmp_path, workers=2, ACS_STATIC_ROOT=str(static_root)))
        gateway = Haproxy(tmp_path / "gateway", acs_url=service.url).start()
        stack.callback(gateway.kill)
        relays = tmp_path / "relays.yaml"
        relays.write_text(yaml.safe_dump(stack.enter_context(relay_map())))
        home = serve_cluster(tmp_path / "a", real=True, client_url=f"http://127.0.0.1:{gateway.http}", derp_map=relays)
        cluster_id, server = stack.enter_context(home)
        stack.enter_context(run_consumer(tmp_path))
        client = stack.enter_context(run_tailscaled(tmp_path / "laptop"))
        client.ask(server.url, "laptop-of-ann")
        address = client.status()["AuthURL"]
        assert address.startswith(f"http://127.0.0.1:{gateway.http}/register/hskey-authreq-")

        monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        page = stack.enter_context(chromium())
        page.goto(address)
        assert page.url.startswith(f"{service.url}/accounts/login/")
        page.get_by_label("Email").fill("ann@people.example")
        page.get_by_label("Password").fill(PASSWORD)
        page.locator("main").get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Add the device").wait_for()
        assert f"host=127.0.0.1%3A{gateway.http}" in page.url
        assert "Only confirm what you have just started yourself." in page.locator("main").inner_text()
        confirmed = time.monotonic()
        page.get_by_role("button", name="Add the device").click()
        wait_for(lambda: client.status()["BackendState"] == "Running", "the client runs", seconds=20)
        took = time.monotonic() - confirmed
        page.get_by_role("heading", name="The device is in").wait_for()
        assert "laptop-of-ann" in page.locator("main").inner_text()
        print(f"running {took:.2f} s after the confirmation")
        assert took < SOON
        look_again(cluster_id)
        device = Device.objects.of(tenant).get()
        assert (device.brought_by, device.online, device.unexpected) == (ann, True, "")
        assert Quota.objects.get(tenant=tenant).used == 1

        page.goto(address)
        assert "The device is in" in page.locator("main").inner_text(), "the same person opens the address again"


def test_two_tenants_that_race_for_one_real_login_end_with_one_owner(db, static_root, tmp_path):
    """Headscale itself says yes to both in some of such races."""
    tenants = [factories.tenant("acme-inc"), factories.tenant("bolt")]
    cookies = [signed_in(factories.person(of=tenant)).cookies["sessionid"].value for tenant in tenants]
    with ExitStack() as stack:
        cluster_id, server = stack.enter_context(serve_cluster(tmp_path / "a", real=True))
        service = stack.enter_context(run_web(tmp_path, workers=2, threads=4, ACS_STATIC_ROOT=str(static_root)))
        stack.enter_context(run_consumer(tmp_path))
        for number in range(3):
            client = stack.enter_context(run_tailscaled(tmp_path / f"wanted-{number}"))
            auth_id = client.ask(server.url, f"wanted-{number}")
            answers = race(4, lambda n, asked=auth_id: post(service, asked, tenants[n % 2].account, cookies[n % 2]))
            statuses = [{answer.status_code for answer in answers[side::2]} for side in (0, 1)]
            assert {409} in statuses, statuses
            assert client.is_running()
        look_again(cluster_id, later=timedelta(minutes=3))
        with server.admin() as admin:
            owners = Counter(node.user_name for node in admin.nodes())
    assert sum(owners.values()) == DeviceLogin.objects.across_tenants().filter(state="registered").count() == 3
    for tenant in tenants:
        assert Quota.objects.get(tenant=tenant).used == owners[tenant.account] == Slot.objects.of(tenant).filter(released_at=None).count()


@pytest.mark.parametrize("where", ["fleet", "external"])
def test_a_managed_device_of_another_tenant_stays_out(db, static_root, tmp_path, where):
    """Left to itself the server hands a tagged device over to whoever approves it, in place."""
    acme, bolt = factories.tenant("acme-inc"), factories.tenant("bolt")
    ann, bob = (signed_in(factories.person(of=tenant)).cookies["sessionid"].value for tenant in (acme, bolt))
    home = serve_cluster(tmp_path / "a", real=True) if where == "fleet" else serve_external(tmp_path / "a", real=True)
    with ExitStack() as stack:
        cluster_id, server = stack.enter_context(home)
        service = stack.enter_context(run_web(tmp_path, workers=1, ACS_STATIC_ROOT=str(static_root)))
        client = stack.enter_context(run_tailscaled(tmp_path / "pos"))
        assert post(service, client.ask(server.url, "pos"), "acme-inc", ann).status_code == 303
        assert client.is_running()
        with server.admin() as admin:
            [node] = admin.nodes()
            factories.policy(acme, "tag:pos")
            admin.put_policy('{"tagOwners": {"tag:acme-inc--pos": []}, "acls": []}')
            admin.set_tags(node.id, ["tag:acme-inc--pos"])
            look_again(cluster_id, later=timedelta(seconds=1))
            client.logout()
            stolen = post(service, client.ask(server.url, "pos"), "bolt", bob)
            assert (stolen.status_code, "belongs to another network" in stolen.text) == (409, True)
            [node] = admin.nodes()
            assert (node.user_name, node.tags) == ("tagged-devices", ("tag:acme-inc--pos",))
            assert node.expiry <= timezone.now()
        assert not client.is_running(patience=1)
        assert server.rows("select user_id, tags from nodes") == [(None, '["tag:acme-inc--pos"]')]
        assert Slot.objects.of(bolt).filter(released_at=None).count() == Device.objects.of(bolt).count() == 0


def look_again(cluster_id: str, *, later: timedelta = timedelta(0)) -> None:
    Watch.objects.filter(pk=cluster_id).update(attempted_at=None)
    assert poll(cluster_id, now=timezone.now() + later).outcome == "ok"


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        page = opened.new_page(locale="en-GB")
        page.set_default_timeout(15_000)
        yield page
        opened.close()
