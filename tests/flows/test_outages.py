"""Parts that are down: PostgreSQL restarted under load, Valkey gone, an external server that refuses, hangs or is not there."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest
from django.utils import timezone

from acs.poll import poll
from acs.sweep import sweep
from placement import clusters
from placement.models import Binding, Cluster, Grant, Watch
from tests import factories
from tests.cluster_servers import serve_external
from tests.conftest import manage, url_as
from tests.doors import bootstrap
from tests.live import run_web, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def private_database(tmp_path_factory):
    """A PostgreSQL of this test's own, which it may restart, with the fleet's schema in it."""
    import tempfile
    from pathlib import Path

    from acs.demo.embedded import Postgres, make_database

    with tempfile.TemporaryDirectory(prefix="acs-pg-") as name:
        Path(name).chmod(0o711)
        server = Postgres(Path(name) / "pg").start()
        try:
            make_database(server, "acs")
            owner = server.url("acs", "acs_owner")
            manage("migrate", "-v0", by_hand=True, DATABASE_URL=owner)
            manage("fleet", "init", "--without-binary", by_hand=True, DATABASE_URL=owner)
            yield server
        finally:
            server.stop("immediate")


@pytest.mark.processes
def test_postgresql_restarted_under_load_is_503_and_service_resumes_by_itself(tmp_path, tmp_path_factory):
    with private_database(tmp_path_factory) as server:
        owner, web = server.url("acs", "acs_owner"), server.url("acs", "acs_web")
        manage("fleet", "add-cluster", "down", "--region", "eu", "--listen", "127.0.0.1:1", "--metrics-listen", "127.0.0.1:2",
               "--client-url", "http://127.0.0.1:1", "--out", str(tmp_path / "c"), by_hand=True, DATABASE_URL=owner)  # fmt: skip
        with psycopg.connect(owner) as connection:
            connection.execute("update placement_cluster set state = 'active', registered_at = now()")
        told = manage("demo", "--admin-password", "not-used-here", "--new-secrets", role="web", DATABASE_URL=web).stdout
        secret = told.split('"enrolment key": "')[1].split('"')[0]
        with run_web(tmp_path, workers=2, DATABASE_URL=web, ACS_DB_POOL_TIMEOUT="2") as service:
            assert service.bootstrap(secret, registration_id="before").status == 200
            seen: Counter[int] = Counter()
            stop = threading.Event()

            def ask(who: int) -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    answer = service.bootstrap(secret, registration_id=f"device-{who}")
                    seen[answer.status] += 1
                    if answer.status == 503:
                        assert answer.code == "service-unavailable"
                        assert int(answer.headers["retry-after"]) > 0

            threads = [threading.Thread(target=ask, args=(who,)) for who in range(6)]
            for thread in threads:
                thread.start()
            time.sleep(1.0)
            server.stop("immediate")
            time.sleep(1.5)
            server._server.ensure_postgres_running()
            wait_for(
                lambda: service.bootstrap(secret, registration_id="after").status == 200,
                "service resumes by itself",
                seconds=15,
                log=service.log,
            )
            stop.set()
            for thread in threads:
                thread.join()
        assert set(seen) <= {200, 503}, seen
        assert seen[503] > 0
        with psycopg.connect(owner) as connection:
            used, slots, grants = connection.execute(
                "select (select sum(used) from tenants_quota), (select count(*) from placement_slot where released_at is null),"
                " (select count(*) from placement_grant)"
            ).fetchone()
        with psycopg.connect(server.url("acs", "postgres")) as connection:
            keys = connection.execute("select count(*) from headscale.pre_auth_keys").fetchone()[0]
        assert used == slots == grants == keys


@pytest.mark.processes
def test_a_full_pool_is_503_and_not_a_hang(fleet_cluster, tmp_path):
    customer = factories.customer(max_devices=100)
    with run_web(tmp_path, workers=1, threads=8, ACS_DB_POOL="1", ACS_DB_POOL_TIMEOUT="1") as service:
        assert service.bootstrap(customer.secret).status == 200
        with psycopg.connect(url_as("acs_owner")) as holder:
            holder.execute("select 1 from tenants_tenant for update")
            begun = time.monotonic()
            answers: list[int] = []
            threads = [threading.Thread(target=lambda: answers.append(service.bootstrap(customer.secret).status)) for _ in range(4)]
            for thread in threads:
                thread.start()
            wait_for(lambda: len(answers) >= 3, "those without a connection are told", seconds=8)
            assert set(answers) == {503}
            assert time.monotonic() - begun < 6
            holder.rollback()
            for thread in threads:
                thread.join()
        assert service.bootstrap(customer.secret).status == 200


class Fault(BaseHTTPRequestHandler):
    """What stands where the server was: answers 500 in headscale's words, refuses, or says nothing for long."""

    mode = "500"

    def answer(self) -> None:
        if self.mode == "hang":
            time.sleep(3)
            return
        body = b'{"code": 2, "message": "failed to create preauthkey", "details": []}'
        self.send_response(500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the library's names

    def log_message(self, *words: object) -> None:  # noqa: ARG002
        return


@contextmanager
def faulty(mode: str):
    handler = type("Faulty", (Fault,), {"mode": mode})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def external(tmp_path):
    """A customer whose tenant lives on an external cluster that works."""
    with serve_external(tmp_path / "x") as (cluster_id, server):
        customer = factories.customer(max_devices=3)
        assert bootstrap(customer.secret).status_code == 200
        yield customer, cluster_id, server


def look_again(cluster_id: str, **later: float):
    Watch.objects.filter(pk=cluster_id).update(attempted_at=None)
    return poll(cluster_id, now=timezone.now() + timedelta(**later))


def test_an_external_cluster_mints_by_its_api_and_the_replay_hears_the_same_key(external):
    customer, _, server = external
    one, two = (bootstrap(customer.secret, idempotency_key="k").json() for _ in range(2))
    assert one["auth_key"] == two["auth_key"]
    assert customer.quota().used == 2
    with server.admin() as admin:
        assert len(admin.keys()) == 2
    sealed = Grant.objects.of(customer.tenant).filter(idempotency_key="k").get().answer_sealed
    assert one["auth_key"] not in sealed


@pytest.mark.parametrize(
    ("mode", "status", "code"), [("500", 502, "cluster-error"), ("hang", 503, "cluster-busy"), ("down", 503, "cluster-busy")]
)
def test_a_server_that_refuses_hangs_or_is_down_is_told_with_retry_after_and_leaves_no_lost_slot(external, settings, mode, status, code):
    customer, cluster_id, _server = external
    settings.CLUSTER_TIMEOUT = 1.0
    good = Cluster.objects.get(pk=cluster_id).admin_url
    with faulty(mode) as fault:
        Cluster.objects.filter(pk=cluster_id).update(admin_url=closed_port() if mode == "down" else fault)
        answer = bootstrap(customer.secret, {"registration_id": "till-7"})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert int(answer["Retry-After"]) > 0
        again = bootstrap(customer.secret, {"registration_id": "till-7"})
        assert again.status_code in (502, 503)
    Cluster.objects.filter(pk=cluster_id).update(admin_url=good)
    if mode == "hang":
        assert Grant.objects.of(customer.tenant).filter(state="unknown").count() == 1
        look_again(cluster_id, minutes=3)  # the sweeper finds that the key was never made
    assert customer.quota().used == 1
    assert bootstrap(customer.secret, {"registration_id": "till-7"}).status_code == 200
    assert customer.quota().used == 2


def test_a_key_that_was_made_in_silence_is_found_by_its_expiration_and_ended(external):
    """The server made the key, its answer was lost: nobody knows the secret, so the key goes and the slot is free."""
    customer, cluster_id, server = external
    cluster, binding = Cluster.objects.get(pk=cluster_id), Binding.objects.of(customer.tenant).get()
    lost = Grant.objects.of(customer.tenant).get()
    Grant.objects.of(customer.tenant).update(
        state="unknown", key_id=None, answer_sealed="", created_at=timezone.now() - timedelta(minutes=5)
    )
    with clusters.admin_of(cluster) as admin:
        assert any(key.expiration == lost.expires_at and key.user_id == binding.headscale_user_id for key in admin.keys())
    look_again(cluster_id)
    with server.admin() as admin:
        assert all(key.expiration <= timezone.now() for key in admin.keys())
    look_again(cluster_id, seconds=5)
    assert customer.quota().used == 0


def test_a_key_whose_slot_got_another_one_is_expired_on_the_external_server_and_holds_its_slot_until_then(external):
    """The same device came with another credential: of its two keys one may still be used, and the sweeper sees to it."""
    customer, cluster_id, server = external
    _key, other = factories.enrolment_key(customer.tenant)
    first = bootstrap(customer.secret, {"registration_id": "till-7"}).json()["auth_key"]
    second = bootstrap(other, {"registration_id": "till-7"}).json()["auth_key"]
    assert first != second
    replaced = Grant.objects.of(customer.tenant).get(state="expired")
    assert replaced.expires_at > timezone.now()
    look_again(cluster_id, seconds=5)
    assert Grant.objects.of(customer.tenant).get(pk=replaced.pk).settled_at is None  # its key could still be used
    sweep(cluster_id, now=timezone.now())
    with server.admin() as admin:
        ends = {key.id: key.expiration for key in admin.keys()}
    assert ends[replaced.key_id] <= timezone.now()
    assert sum(end > timezone.now() for end in ends.values()) == 2  # the first customer's, and the device's new one
    look_again(cluster_id, seconds=10)
    assert Grant.objects.of(customer.tenant).get(pk=replaced.pk).settled_at is not None
    assert customer.quota().used == 2
