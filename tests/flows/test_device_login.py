"""Devices without a key: a person opens the address that the device shows, confirms, and owns the login; over HTTP, with the simulator."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.test import Client
from django.utils import timezone

from acs.demo.simulator import device as simulated
from acs.poll import poll
from placement import bindings, clusters, events
from placement.engine.regions import Wish
from placement.models import Binding, Cluster, Device, DeviceLogin, Fleet, Slot, Watch
from tenants import lifecycle, members
from tenants.models import AuditEvent, Membership, Quota, Tenant
from tests import factories
from tests.cluster_servers import serve_cluster, serve_external
from tests.live import STEP, LiveService, race, race_here, run_web, wait_for
from tests.servers import Server

pytestmark = pytest.mark.django_db(transaction=True)
NEVER = "hskey-authreq-" + "a" * 24


@pytest.fixture(autouse=True)
def _static_files_without_a_manifest(settings: Any) -> None:
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}


@pytest.fixture
def home(db: None, tmp_path: Path) -> Iterator[tuple[str, Server]]:
    """A cluster of the fleet on the simulator."""
    with serve_cluster(tmp_path / "home", real=False) as served:
        yield served


@pytest.fixture(params=["fleet", "external"])
def any_home(db: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, Server]]:
    served = serve_cluster(tmp_path / "home", real=False) if request.param == "fleet" else serve_external(tmp_path / "home")
    with served as (cluster_id, server):
        yield cluster_id, server


def browser(person: Any) -> Client:
    client = Client()
    client.force_login(person)
    return client


def confirm(client: Client, auth_id: str, tenant: Any, query: str = "") -> Any:
    return client.post(f"/register/{auth_id}{query}", {"tenant": tenant.account}, follow=True)


def look_again(cluster_id: str, *, later: timedelta = timedelta(0)) -> None:
    Watch.objects.filter(pk=cluster_id).update(attempted_at=None)
    assert poll(cluster_id, now=timezone.now() + later).outcome == "ok"


def used(tenant: Tenant) -> int:
    return Quota.objects.get(tenant=tenant).used


def text(answer: Any) -> str:
    return str(answer.content.decode())


def test_a_person_confirms_and_the_device_is_in_and_known_as_theirs(any_home):
    cluster_id, server = any_home
    tenant = factories.tenant("acme-inc", max_devices=3)
    ann = factories.person("ann@people.example", of=tenant)
    auth_id = simulated.ask_to_log_in(server.url, "laptop-of-ann")
    client = browser(ann)
    asked = client.get(f"/register/{auth_id}")
    assert asked.status_code == 200
    for words in (
        "acme-inc",
        "0 of 3 taken",
        auth_id.removeprefix("hskey-authreq-")[:6],
        "Only confirm what you have just started yourself",
    ):
        assert words in text(asked)
    assert auth_id.removeprefix("hskey-authreq-")[:12] not in text(asked).replace(f"/register/{auth_id}", "")
    assert DeviceLogin.objects.across_tenants().count() == 0, "looking confirms nothing"

    done = confirm(client, auth_id, tenant)
    assert (done.status_code, done.redirect_chain) == (200, [(f"/register/{auth_id}", 303)])
    assert "laptop-of-ann" in text(done)
    device = Device.objects.of(tenant).get()
    login = DeviceLogin.objects.of(tenant).get()
    assert (device.hostname, device.brought_by, device.unexpected, device.slot) == ("laptop-of-ann", ann, "", login.slot)
    assert (login.state, login.node_id, login.device, login.user) == ("registered", device.node_id, device, ann)
    assert auth_id.encode() not in bytes(login.auth_digest)
    look_again(cluster_id, later=timedelta(minutes=1))
    assert (used(tenant), Slot.objects.of(tenant).filter(released_at=None).count()) == (1, 1)
    verbs = AuditEvent.objects.of(tenant).filter(verb__startswith="device_login").order_by("id").values_list("verb", "actor")
    assert list(verbs) == [("device_login.confirm", f"person:{ann.pk}"), ("device_login.register", f"person:{ann.pk}")]


def test_whatever_order_event_and_answer_come_in_the_device_has_one_slot(home):
    """The fleet tells of the node before the server has answered the call: the consumer runs beside every confirmation here."""
    cluster_id, server = home
    tenant = factories.tenant(max_devices=30)
    people = [factories.person(of=tenant) for _ in range(4)]
    auth_ids = [simulated.ask_to_log_in(server.url, f"host-{n}") for n in range(12)]
    done = threading.Event()

    def act(number: int) -> int:
        if number == 0:
            while not done.is_set():
                events.consume(Fleet.objects.get(pk="default"))
            return 200
        statuses = [confirm(browser(people[number % 4]), auth_id, tenant).status_code for auth_id in auth_ids[number - 1 :: 4]]
        if number == 4:
            done.set()
        return max(statuses)

    assert set(race_here(5, act)) == {200}
    events.consume(Fleet.objects.get(pk="default"))
    look_again(cluster_id, later=timedelta(minutes=1))
    devices = Device.objects.of(tenant).filter(gone_at=None)
    assert {device.unexpected for device in devices} == {""}
    assert len({device.slot_id for device in devices}) == len(devices) == 12
    assert used(tenant) == 12
    by_host = {login.device.hostname: login.user_id for login in DeviceLogin.objects.of(tenant).select_related("device")}
    assert by_host == {device.hostname: device.brought_by_id for device in devices}


def test_twice_is_once_and_another_person_or_tenant_is_told_that_it_was_used(home):
    _, server = home
    acme, bolt = factories.tenant("acme-inc", max_devices=1), factories.tenant("bolt")
    ann, bob = factories.person(of=acme), factories.person(of=bolt)
    members.add(bolt, ann, "member", now=timezone.now(), actor="system:tests")
    auth_id = simulated.ask_to_log_in(server.url, "laptop")
    answers = race_here(6, lambda _: confirm(browser(ann), auth_id, acme))
    assert {answer.status_code for answer in answers} <= {200, 202}, [text(answer) for answer in answers]
    assert confirm(browser(ann), auth_id, acme).status_code == 200
    assert browser(ann).get(f"/register/{auth_id}").status_code == 200
    for answer in (confirm(browser(bob), auth_id, bolt), browser(bob).get(f"/register/{auth_id}"), confirm(browser(ann), auth_id, bolt)):
        assert answer.status_code == 409
        assert "was used already" in text(answer)
    assert Device.objects.across_tenants().count() == 1
    assert Slot.objects.across_tenants().filter(released_at=None).count() == 1


@pytest.mark.processes
def test_two_tenants_that_race_for_one_id_end_with_one_owner_and_one_slot(home, tmp_path, static_root):
    cluster_id, server = home
    tenants = [factories.tenant() for _ in range(2)]
    cookies = [browser(factories.person(of=tenant)).cookies["sessionid"].value for tenant in tenants]
    with run_web(tmp_path, workers=3, threads=4, ACS_STATIC_ROOT=str(static_root)) as service:
        for number in range(5):
            auth_id = simulated.ask_to_log_in(server.url, f"wanted-{number}")
            answers = race(8, lambda n, asked=auth_id: post(service, asked, tenants[n % 2].account, cookies[n % 2]))
            seen = [{answer.status_code for answer in answers[side::2]} for side in (0, 1)]
            assert {409} in seen, seen
            assert any(statuses <= {303, 202} for statuses in seen), seen
    look_again(cluster_id, later=timedelta(minutes=3))
    assert DeviceLogin.objects.across_tenants().exclude(state="refused").count() == 5
    with server.admin() as admin:
        owners = Counter(node.user_name for node in admin.nodes())
    for tenant in tenants:
        assert used(tenant) == owners[tenant.account] == Slot.objects.of(tenant).filter(released_at=None).count()
    assert sum(owners.values()) == 5


def post(service: LiveService, auth_id: str, account: str, cookie: str, **headers: str) -> httpx2.Response:
    """As a browser does it: fetch the page, send its form."""
    with httpx2.Client(base_url=service.url, cookies={"sessionid": cookie}, timeout=30) as client:
        client.get("/accounts/")
        token = client.cookies["csrftoken"]
        headers |= {"X-CSRFToken": token, "Referer": f"{service.url}/register/{auth_id}"}
        return client.post(f"/register/{auth_id}", data={"tenant": account}, headers=headers)


def test_every_refusal_is_a_page_that_says_what_to_do(home):
    cluster_id, server = home
    tenant = factories.tenant("acme-inc", max_devices=1)
    ann = factories.person(of=tenant)
    client = browser(ann)

    def told(answer: Any, status: int, code: str) -> None:
        assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8"), text(answer)
        assert code in text(answer)
        assert "What to do" in text(answer)
        assert answer["Cache-Control"].startswith("max-age=0, no-cache, no-store")

    for bad in ("hskey-authreq-short", NEVER + "a", "nodekey:abc", "../api", "hskey-authreq-" + "a" * 23 + "%"):
        told(client.get(f"/register/{bad}"), 400, "malformed")
    told(Client().get("/register/x"), 400, "malformed")
    to_sign_in = Client().get(f"/register/{NEVER}?host=a.example")
    assert (to_sign_in.status_code, to_sign_in["Location"]) == (302, f"/accounts/login/?next=/register/{NEVER}%3Fhost%3Da.example")
    told(confirm(client, NEVER, tenant), 410, "expired")
    told(browser(factories.person()).get(f"/register/{NEVER}"), 403, "not-entitled")
    for role in ("billing", "auditor"):
        told(browser(factories.person(of=tenant, role=role)).get(f"/register/{NEVER}"), 403, "not-entitled")
    told(confirm(client, NEVER, factories.tenant("not-mine")), 403, "not-entitled")
    told(confirm(client, NEVER, tenant, "?host=[::broken"), 410, "expired")

    waiting = simulated.ask_to_log_in(server.url, "first")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ann)
    assert strict.post(f"/register/{waiting}", {"tenant": "acme-inc"}).status_code == 403
    assert confirm(client, waiting, tenant).status_code == 200
    waiting = simulated.ask_to_log_in(server.url, "second")
    told(client.get(f"/register/{waiting}"), 403, "quota-exceeded")
    told(confirm(client, waiting, tenant), 403, "quota-exceeded")
    lifecycle.change_plan(tenant, factories.plan(max_devices=5), now=timezone.now(), actor="system:tests")
    lifecycle.suspend(tenant, now=timezone.now(), actor="system:tests")
    told(client.get(f"/register/{waiting}"), 403, "tenant-suspended")
    told(confirm(client, waiting, tenant), 403, "tenant-suspended")
    lifecycle.resume(tenant, now=timezone.now(), actor="system:tests")
    clusters.offline(Cluster.objects.get(pk=cluster_id), now=timezone.now(), actor="system:tests")
    told(confirm(client, waiting, tenant), 503, "cluster-busy")
    Cluster.objects.filter(pk=cluster_id).update(state="active", admin_url="http://127.0.0.1:9")
    down = confirm(client, waiting, tenant)
    told(down, 503, "cluster-busy")
    assert down["Retry-After"] == "30"
    Cluster.objects.filter(pk=cluster_id).update(admin_url=server.url)
    assert confirm(client, waiting, tenant).status_code == 200, "what was never sent may be confirmed again"
    assert Slot.objects.of(tenant).filter(released_at=None).count() == 2


def test_a_login_at_another_cluster_is_sent_to_the_right_login_server(home, tmp_path, settings):
    cluster_id, server = home
    tenant = factories.tenant("acme-inc")
    client = browser(factories.person(of=tenant))
    with serve_cluster(tmp_path / "other", real=False) as (other_id, other):
        bindings.settle(tenant, wish=Wish(cluster=cluster_id), now=timezone.now())
        lives, foreign = Binding.objects.of(tenant).get().cluster, {cluster_id: other, other_id: server}
        elsewhere = foreign[lives.cluster_id]
        auth_id = simulated.ask_to_log_in(elsewhere.url, "lost")
        host = elsewhere.url.removeprefix("http://")
        other_name = other_id if lives.cluster_id == cluster_id else cluster_id
        for query in (f"?host={host}", f"?cluster={other_name}"):
            for answer in (client.get(f"/register/{auth_id}{query}"), confirm(client, auth_id, tenant, query)):
                assert answer.status_code == 409
                assert f"tailscale up --login-server={lives.client_url} --force-reauth" in text(answer)
        assert client.get(f"/register/{auth_id}", headers={"X-Forwarded-Host": host}).status_code == 409
        assert confirm(client, auth_id, tenant).status_code == 410, "without a hint its own server is asked, and does not know it"
        settings.TENANT_DOMAIN = "ts.example"
        assert "https://acme-inc.ts.example" in text(client.get(f"/register/{auth_id}?cluster={other_name}"))
        assert client.get(f"/register/{auth_id}?host=acme-inc.ts.example").status_code == 200
        assert Slot.objects.of(tenant).filter(released_at=None).count() == 0

        newcomer = factories.tenant("newcomer")
        answer = confirm(browser(factories.person(of=newcomer)), auth_id, newcomer, f"?host={host}")
        assert answer.status_code == 200, "a tenant without a home gets it where its first device asked"
        assert Binding.objects.of(newcomer).get().cluster_id == other_name


def test_a_member_of_several_tenants_chooses(home):
    _, server = home
    acme, bolt = factories.tenant("acme-inc"), factories.tenant("bolt")
    ann = factories.person(of=acme)
    members.add(bolt, ann, "admin", now=timezone.now(), actor="system:tests")
    auth_id = simulated.ask_to_log_in(server.url, "laptop")
    client = browser(ann)
    choice = client.get(f"/register/{auth_id}?host=x.example")
    assert "?tenant=bolt&amp;host=x.example" in text(choice)
    assert "Add the device" not in text(choice)
    assert "Add a device to bolt?" in text(client.get(f"/register/{auth_id}?tenant=bolt"))
    assert client.get(f"/register/{auth_id}?tenant=nobody").status_code == 403
    assert client.post(f"/register/{auth_id}", {}).status_code == 403, "nothing is chosen for somebody who has a choice"
    assert confirm(client, auth_id, bolt).status_code == 200
    assert Device.objects.of(bolt).count() == 1


def test_a_member_who_was_removed_meanwhile_confirms_nothing(home):
    _, server = home
    tenant = factories.tenant()
    ann = factories.person(of=tenant)
    auth_id = simulated.ask_to_log_in(server.url, "laptop")
    client = browser(ann)
    assert client.get(f"/register/{auth_id}").status_code == 200
    members.remove(Membership.objects.of(tenant).select_related("tenant").get(), now=timezone.now(), actor="system:tests")
    assert confirm(client, auth_id, tenant).status_code == 403


def test_confirmations_are_limited_per_person(home, settings):
    settings.DEVICE_LOGIN_LIMIT = "2/minute"
    tenant = factories.tenant()
    client = browser(factories.person(of=tenant))
    assert [confirm(client, NEVER, tenant).status_code for _ in range(3)] == [410, 410, 429]


def test_the_same_machine_signed_in_again_keeps_its_row_and_one_slot(home):
    cluster_id, server = home
    tenant = factories.tenant(max_devices=4)
    ann, bob = factories.person(of=tenant), factories.person(of=tenant)
    machine_key = "mkey:" + "ab" * 32
    for person in (ann, bob):
        auth_id = simulated.ask_to_log_in(server.url, "laptop", machine_key=machine_key)
        assert confirm(browser(person), auth_id, tenant).status_code == 200
        look_again(cluster_id, later=timedelta(minutes=1))
        device = Device.objects.of(tenant).get(gone_at=None)
        assert device.brought_by == person
        assert [slot.pk for slot in Slot.objects.of(tenant).filter(released_at=None)] == [device.slot_id]
        assert used(tenant) == 1


def test_a_machine_that_came_with_a_key_keeps_its_registration_when_a_person_signs_it_in(home):
    from tests.doors import bootstrap

    cluster_id, server = home
    customer = factories.customer(max_devices=2)
    key = bootstrap(customer.secret, {"registration_id": "till-7"}).json()["auth_key"]
    joined = simulated.join(server.url, key, "till-7")
    events.consume(Fleet.objects.get(pk="default"))
    auth_id = simulated.ask_to_log_in(server.url, "till-7", machine_key=joined.machine_key)
    ann = factories.person(of=customer.tenant)
    assert confirm(browser(ann), auth_id, customer.tenant).status_code == 200
    look_again(cluster_id, later=timedelta(minutes=1))
    device = Device.objects.of(customer.tenant).get(gone_at=None)
    assert (device.slot.registration_id, device.brought_by, customer.quota().used) == ("till-7", ann, 1)


@contextmanager
def losing_answers(server: Server, *, before: bool) -> Iterator[str]:
    """In front of the server: a registration's answer never comes back; with `before` it does not even reach the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not before:
                httpx2.post(server.url + self.path, content=body, headers={"Authorization": self.headers["Authorization"]})
            self.close_connection = True

        def log_message(self, *words: Any) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}"
    proxy.shutdown()
    proxy.server_close()


def test_what_a_silent_server_did_is_found_out_by_a_later_poll(any_home):
    cluster_id, server = any_home
    tenant = factories.tenant(max_devices=2)
    ann = factories.person(of=tenant)
    client = browser(ann)
    bindings.settle(tenant, wish=Wish(), now=timezone.now())
    for before in (False, True):
        auth_id = simulated.ask_to_log_in(server.url, f"lost-{before}")
        with losing_answers(server, before=before) as url:
            Cluster.objects.filter(pk=cluster_id).update(admin_url=url)
            answer = confirm(client, auth_id, tenant)
            assert (answer.status_code, "Not known yet" in text(answer)) == (503, True)
            assert confirm(client, auth_id, tenant).status_code == 503, "a repeat asks nobody"
        Cluster.objects.filter(pk=cluster_id).update(admin_url=server.url)
        if not before:
            look_again(cluster_id)
        assert DeviceLogin.objects.of(tenant).get(state="unknown").user == ann, "too early to say"
        look_again(cluster_id, later=timedelta(minutes=3 + before))
        assert {device.hostname: device.brought_by for device in Device.objects.of(tenant)} == {"lost-False": ann}
        assert used(tenant) == 1
        if before:
            again = confirm(client, auth_id, tenant)
            assert (again.status_code, "lost-true" in text(again)) == (200, True), "nothing was registered: the id may be confirmed again"
        else:
            assert client.get(f"/register/{auth_id}").status_code == 200


@pytest.mark.processes
def test_a_kill_anywhere_leaves_either_a_device_with_its_slot_or_nothing(home, tmp_path, static_root):
    cluster_id, server = home
    tenant = factories.tenant(max_devices=200)
    cookie = browser(factories.person(of=tenant)).cookies["sessionid"].value
    with run_web(
        tmp_path,
        workers=3,
        threads=2,
        application="tests.crash_wsgi:application",
        ACS_STATIC_ROOT=str(static_root),
        ACS_DEVICE_LOGIN_LIMIT="1000/minute",
    ) as service:
        post(service, simulated.ask_to_log_in(server.url, "first"), tenant.account, cookie)  # places the tenant
        for number in range(1, 80, STEP):
            auth_id, before = simulated.ask_to_log_in(server.url, f"host-{number}"), set(service.workers())
            try:
                answer = post(service, auth_id, tenant.account, cookie, **{"X-Crash-At": f"{number}:after"})
            except httpx2.HTTPError:
                wait_for(lambda held=before: set(service.workers()) - held, "a new worker stands in", log=service.log)
                continue
            assert answer.status_code == 303, answer.text
            break
    assert number > 10
    look_again(cluster_id, later=timedelta(minutes=3))
    with server.admin() as admin:
        nodes = {node.id for node in admin.nodes()}
    assert len(nodes) > 3
    devices = Device.objects.of(tenant).filter(gone_at=None)
    assert {device.node_id for device in devices} == nodes
    assert {device.unexpected for device in devices} == {""}
    assert len({device.slot_id for device in devices}) == len(nodes) == used(tenant)
    assert not DeviceLogin.objects.of(tenant).filter(state__in=DeviceLogin.OPEN).exists()
    print(f"killed at every {STEP}. of {number - 1} points, {len(nodes)} devices are in")


def test_another_tenants_managed_device_is_turned_away(db, tmp_path):
    """On an external server a tagged device is handed over in place to whoever approves it: its session ends at once, and nothing counts."""
    with serve_external(tmp_path / "x") as (cluster_id, server):
        acme, bolt = factories.tenant("acme-inc"), factories.tenant("bolt")
        machine_key = "mkey:" + "cd" * 32
        assert (
            confirm(
                browser(factories.person(of=acme)), simulated.ask_to_log_in(server.url, "pos", machine_key=machine_key), acme
            ).status_code
            == 200
        )
        with server.admin() as admin:
            [node] = admin.nodes()
            factories.policy(acme, "tag:pos")
            admin.put_policy('{"tagOwners": {"tag:acme-inc--pos": []}, "acls": []}')
            admin.set_tags(node.id, ["tag:acme-inc--pos"])
            look_again(cluster_id, later=timedelta(seconds=1))
            stolen = confirm(browser(factories.person(of=bolt)), simulated.ask_to_log_in(server.url, "pos", machine_key=machine_key), bolt)
            assert (stolen.status_code, "belongs to another network" in text(stolen)) == (409, True)
            assert (admin.node(node.id).tags, admin.node(node.id).expiry <= timezone.now()) == (("tag:acme-inc--pos",), True)
        assert Slot.objects.of(bolt).filter(released_at=None).count() == 0
        assert Device.objects.of(bolt).count() == 0


def test_on_the_fleet_the_database_keeps_a_managed_device_where_it_is(home):
    cluster_id, server = home
    acme, bolt = factories.tenant("acme-inc"), factories.tenant("bolt")
    machine_key = "mkey:" + "cd" * 32
    assert (
        confirm(browser(factories.person(of=acme)), simulated.ask_to_log_in(server.url, "pos", machine_key=machine_key), acme).status_code
        == 200
    )
    with server.admin() as admin:
        [node] = admin.nodes()
        admin.put_policy('{"tagOwners": {"tag:acme-inc--pos": []}, "acls": []}')
        admin.set_tags(node.id, ["tag:acme-inc--pos"])
        look_again(cluster_id, later=timedelta(seconds=1))
    stolen = confirm(browser(factories.person(of=bolt)), simulated.ask_to_log_in(server.url, "pos", machine_key=machine_key), bolt)
    assert (stolen.status_code, "belongs to another network" in text(stolen)) == (409, True)
    assert Slot.objects.of(bolt).filter(released_at=None).count() == 0


def test_a_login_is_in_no_log(home, caplog):
    tenant = factories.tenant()
    client = browser(factories.person(of=tenant))
    client.get(f"/register/{NEVER}")
    Client().get("/accounts/password/reset/key/1-secretsecret/")
    logged = " ".join(str(record.msg) for record in caplog.records)
    assert "/register/…" in logged
    assert NEVER not in logged
    assert "secretsecret" not in logged
