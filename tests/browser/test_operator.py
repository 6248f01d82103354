"""An operator's day in a real browser, against the service under the door's own rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone

from placement import events
from placement.models import Binding, Cluster, Fleet, Grant
from tenants import lifecycle
from tenants.models import AuditEvent, EnrolmentKey, Tenant
from tests import factories
from tests.admin.rows import fill
from tests.cluster_servers import serve_cluster
from tests.servers import Machine, Server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.browser]


@pytest.fixture
def server(django_db_setup: None, tmp_path: Path) -> Iterator[Server]:
    with serve_cluster(tmp_path / "server", real=False) as (_, running):
        yield running


def test_from_a_new_tenant_to_its_first_key_and_its_suspension(fleet_cluster, service, at_the_browser):
    olga = at_the_browser
    factories.plan(name="basic", title="Basic", max_devices=3)
    olga.goes("/admin/tenants/tenant/add/")
    olga.page.fill("#id_account", "Acme!")
    olga.page.select_option("#id_plan", "basic")
    olga.clicks("Create")
    assert "lower case letters" in olga.sees
    olga.shows("tenant-refused")
    olga.page.fill("#id_account", "acme-inc")
    olga.page.fill("#id_title", "Acme Incorporated")
    olga.clicks("Create")
    assert "0 / 3" in olga.sees
    olga.shows("tenant-new")

    olga.clicks("Issue an enrolment key")
    olga.page.fill("#id_description", "tills")
    olga.page.fill("#id_max_uses", "2")
    olga.shows("key-form")
    olga.clicks("Create")
    secret = olga.page.locator("#secret").inner_text()
    assert secret.startswith("acs-enrol-")
    olga.shows("key-once")
    olga.clicks("I have stored it")
    assert secret not in olga.page.content()
    olga.shows("key")

    answer = service.bootstrap(secret, registration_id="till-7", hostname="till-7")
    assert (answer.status, answer.body["cluster_id"]) == (200, fleet_cluster.cluster_id)
    grant = Grant.objects.across_tenants().get()
    olga.goes("/admin/placement/grant/")
    assert "till-7" in olga.sees
    olga.shows("grants")
    olga.goes(f"/admin/placement/grant/{grant.pk}/change/")
    assert "issued" in olga.sees
    olga.shows("grant")
    olga.goes("/admin/placement/binding/")
    assert "acme-inc" in olga.sees
    assert Binding.objects.across_tenants().get().cluster_id == fleet_cluster.cluster_id
    olga.shows("bindings")

    olga.goes("/admin/tenants/tenant/")
    assert "1 / 3" in olga.sees
    olga.clicks("acme-inc")
    olga.clicks("Suspend")
    assert Tenant.objects.get().state == "active", "it asks first"
    olga.page.fill("#id_reason", "unpaid")
    olga.shows("suspend")
    olga.clicks("Suspend")
    assert "suspended" in olga.sees
    olga.shows("tenant-suspended")
    assert service.bootstrap(secret, registration_id="till-8").code == "tenant-suspended"
    event = AuditEvent.objects.across_tenants().get(verb="tenant.suspend")
    assert (event.actor, event.detail) == ("operator:olga", {"reason": "unpaid"})


def test_many_at_once_with_one_confirmation(fleet_cluster, at_the_browser):
    olga = at_the_browser
    keys = [factories.customer().key for _ in range(3)]
    olga.goes("/admin/tenants/enrolmentkey/")
    olga.page.check("#action-toggle")
    olga.page.select_option("select[name=action]", "revoke")
    olga.clicks("Go")
    assert EnrolmentKey.objects.across_tenants().filter(revoked_at=None).count() == 3
    olga.shows("revoke-many")
    olga.clicks("Revoke")
    assert "3 rows" in olga.sees
    assert EnrolmentKey.objects.across_tenants().filter(revoked_at=None).count() == 0
    olga.shows("keys-revoked")
    assert len(keys) == 3


def test_a_device_on_a_running_server_and_its_clusters_state(server, service, at_the_browser):
    olga = at_the_browser
    customer = factories.customer("acme-inc")
    Machine(server).join(service.bootstrap(customer.secret, registration_id="till-7").auth_key, "till-7")
    events.consume(Fleet.objects.get())
    olga.goes("/admin/placement/device/")
    olga.clicks("till-7")
    olga.shows("device")
    olga.clicks("Rename")
    olga.page.fill("#id_name", "till-8")
    olga.shows("rename")
    olga.clicks("Rename")
    assert [node.name for node in server.admin().nodes()] == ["till-8"]
    olga.clicks("Expire")
    olga.clicks("Expire")
    assert server.admin().nodes()[0].expiry is not None
    olga.clicks("Delete")
    olga.clicks("Delete")
    assert server.admin().nodes() == []
    assert "gone" in olga.sees
    assert customer.quota().used == 0

    cluster = Cluster.objects.get()
    olga.goes(f"/admin/placement/cluster/{cluster.pk}/change/")
    olga.clicks("Drain")
    olga.clicks("Drain")
    cluster.refresh_from_db()
    assert cluster.state == "draining"


PAGES = {
    "glance": "/admin/",
    "tenants": "/admin/tenants/tenant/",
    "keys": "/admin/tenants/enrolmentkey/",
    "tokens": "/admin/tenants/apitoken/",
    "token-form": "/admin/tenants/apitoken/add/",
    "audit": "/admin/tenants/auditevent/",
    "verify": "/admin/tenants/auditevent/verify/",
    "clusters": "/admin/placement/cluster/",
    "devices": "/admin/placement/device/",
    "polls": "/admin/placement/pollrun/",
    "load": "/admin/placement/loadsample/",
    "outbox": "/admin/placement/outboxevent/",
    "slots": "/admin/placement/slot/",
    "plan-form": "/admin/tenants/plan/add/",
}


@pytest.mark.parametrize(("language", "word"), [("en", "Clusters"), ("zh-hans", "集群")])
def test_every_page_in_both_languages(language, word, fleet_clusters, at_the_browser):
    olga = at_the_browser
    clusters = [
        fleet_clusters(capacity=500, committed=180),
        fleet_clusters(region="us", capacity=200, committed=181, state="cordoned"),
        fleet_clusters(region="ap", capacity=40, committed=40, state="draining"),
        fleet_clusters(region="ap", state="offline"),
    ]
    fill(clusters[:3], tenants=12)
    if language != "en":
        with olga.page.expect_navigation():
            olga.page.locator("form.language button").click()
    for name, path in PAGES.items():
        olga.goes(path)
        assert olga.page.evaluate("document.documentElement.lang") == language
        olga.shows(f"{name}-{language}")
    olga.goes("/admin/")
    assert word in olga.sees
    olga.goes(f"/admin/placement/cluster/{clusters[0].cluster_id}/change/")
    olga.shows(f"cluster-{language}")
    olga.goes("/admin/tenants/auditevent/verify/")
    with olga.page.expect_navigation():
        olga.page.locator("#content input[type=submit]").click()
    olga.shows(f"verified-{language}")
    with olga.page.expect_navigation():
        olga.page.locator("#logout-form button").click()
    olga.shows(f"logged-out-{language}")


def test_the_tenant_of_a_key_is_found_by_typing(at_the_browser):
    olga = at_the_browser
    plan = factories.plan()
    for n in range(30):
        lifecycle.create(f"shop-{n}", plan=plan, now=timezone.now(), actor="system:tests")
    olga.goes("/admin/tenants/enrolmentkey/add/")
    olga.page.locator(".select2-selection").click()
    olga.page.locator(".select2-search__field").fill("shop-17")
    olga.page.get_by_role("option", name="shop-17").click()
    olga.shows("key-form-chosen")
    olga.clicks("Create")
    assert olga.page.locator("#secret").inner_text().startswith("acs-enrol-")
    assert EnrolmentKey.objects.across_tenants().get().tenant.account == "shop-17"
