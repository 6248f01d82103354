"""What operators and their machines ask: is it alive, is it ready, how does it stand; and what the logs say and do not say."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.utils import timezone
from psycopg_pool import PoolTimeout

from acs import health, metrics
from acs.urls import handler400, handler403, handler404, handler500, urlpatterns  # noqa: F401 - the site's own, beside the broken views below
from placement import alerts
from placement.models import Alert, Heat, PollRun
from tests import factories
from tests.api.callers import operator, said
from tests.conftest import manage, superuser, url_as
from tests.doors import bootstrap
from tests.live import run_web, wait_for


def _broken(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


def _without_database(request: HttpRequest) -> HttpResponse:
    raise OperationalError("the connection was lost")


def _without_connection(request: HttpRequest) -> HttpResponse:
    raise PoolTimeout("none free")


urlpatterns = [
    *urlpatterns,
    path("api/broken", _broken),
    path("api/without-database", _without_database),
    path("broken", _broken),
    path("without-connection", _without_connection),
]


def asked(path: str, **headers: str) -> Any:
    return Client(raise_request_exception=False).get(path, headers=headers)


def test_healthz_touches_nothing(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    answer = asked("/healthz", Cookie="sessionid=abc")  # the database is out of reach in this test: pytest-django sees to it
    assert (answer.status_code, answer.content) == (200, b"ok\n")


@pytest.mark.django_db
def test_readyz_is_ready_when_every_part_is():
    answer = asked("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True), answer.content
    assert set(answer.json()["parts"]) == {"database", "valkey", "migrations", "events"}


@pytest.mark.django_db
def test_readyz_names_valkey(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    answer = asked("/readyz")
    assert answer.status_code == 503
    assert {name for name, state in answer.json()["parts"].items() if state != "ok"} == {"valkey"}


@pytest.mark.django_db(transaction=True)
def test_readyz_names_the_events_when_nobody_consumes_them(settings, fleet_cluster):
    put = "insert into headscale.event (at, cluster_id, kind, node_id) values (now() - interval '10 minutes', %s, 'node.insert', 1)"
    with superuser() as admin:
        admin.execute(put, [fleet_cluster.cluster_id])
    answer = asked("/readyz")
    assert answer.status_code == 503
    assert re.match(r"the oldest unconsumed event is 6\d\d s old", answer.json()["parts"]["events"])
    settings.READY_OUTBOX_SECONDS = 900
    assert asked("/readyz").status_code == 200


READY_ELSEWHERE = "from django.test import Client; a = Client().get('/readyz'); print(a.status_code, a.content.decode())"


def ready_elsewhere(**environment: str) -> tuple[str, dict[str, str]]:
    said = manage("shell", "--no-imports", "-c", READY_ELSEWHERE, role="owner", ACS_DB_POOL_TIMEOUT="1", **environment)
    status, _, body = said.stdout.strip().partition(" ")
    return status, json.loads(body)["parts"]


def test_readyz_names_a_database_that_does_not_answer(django_db_setup):
    status, parts = ready_elsewhere(DATABASE_URL="postgresql://acs_web@127.0.0.1:1/acs")
    assert status == "503"
    assert parts == {"database": "no answer", "valkey": "ok", "migrations": "no answer", "events": "no answer"}


def test_readyz_names_migrations_that_are_missing(django_db_setup):
    status, parts = ready_elsewhere(DATABASE_URL=url_as("postgres", "postgres"))
    assert status == "503"
    assert parts["database"] == "ok"
    assert parts["migrations"].endswith("not applied")


def test_the_applied_migrations_are_looked_up_once(django_db_setup, db, django_assert_num_queries):
    look = health.Migrations()
    look()
    with django_assert_num_queries(0):
        look()


def gauges(answer: Any) -> dict[str, float]:
    assert answer.status_code == 200, answer.content
    lines = [line for line in answer.content.decode().splitlines() if not line.startswith("#")]
    return {name: float(number) for name, _, number in (line.rpartition(" ") for line in lines)}


@pytest.mark.django_db
def test_metrics_count_bootstraps_and_show_how_things_stand(fleet_cluster):
    cluster_id, customer = fleet_cluster.cluster_id, factories.customer(max_devices=1)
    before = gauges(asked("/metrics"))
    assert [bootstrap(customer.secret).status_code for _ in range(3)] == [200, 403, 403]
    bootstrap("acs-enrol-wrong")
    bootstrap(None, raw=b"{")
    metrics.count_poll(cluster_id, PollRun.Outcome.FAILED)
    now = gauges(asked("/metrics"))

    def rise(name: str) -> float:
        return now[name] - before.get(name, 0)

    assert rise(f'acs_bootstraps_total{{cluster_id="{cluster_id}",code="ok"}}') == 1
    assert rise('acs_bootstraps_total{cluster_id="",code="quota-exceeded"}') == 2
    assert rise('acs_bootstraps_total{cluster_id="",code="bad-credential"}') == 1
    assert rise('acs_bootstraps_total{cluster_id="",code="malformed-request"}') == 1
    assert rise('acs_bootstrap_seconds_count{code="ok"}') == 1
    assert now[f'acs_polls_total{{cluster_id="{cluster_id}",outcome="failed"}}'] == 1
    assert now['acs_grants{state="issued"}'] == 1
    assert now[f'acs_cluster_committed{{cluster_id="{cluster_id}"}}'] == 5
    assert now["acs_audit_unsealed"] >= 2
    assert (now["acs_outbox_depth"], now["acs_outbox_lag_seconds"], now["acs_database_up"]) == (0, 0, 1)


@pytest.mark.django_db
def test_metrics_show_each_clusters_load_and_the_open_alerts(fleet_clusters):
    hot, new = (fleet_clusters().cluster_id for _ in range(2))
    Heat.objects.create(cluster_id=hot, at=timezone.now() - timedelta(seconds=30), measured=1.25, breaker_open=True)
    Heat.objects.create(cluster_id=new)
    alerts.raise_(Alert.Kind.BREAKER, hot, facts={}, now=timezone.now())
    now = gauges(asked("/metrics"))
    assert now[f'acs_cluster_measured{{cluster_id="{hot}"}}'] == 1.25
    assert f'acs_cluster_measured{{cluster_id="{new}"}}' not in now
    assert [now[f'acs_cluster_breaker_open{{cluster_id="{name}"}}'] for name in (hot, new)] == [1, 0]
    assert 30 <= now[f'acs_cluster_load_age_seconds{{cluster_id="{hot}"}}'] < 40
    assert {kind: now[f'acs_alerts_open{{kind="{kind}"}}'] for kind in ("breaker", "samples-stale", "no-room")} == {
        "breaker": 1, "samples-stale": 0, "no-room": 0,
    }  # fmt: skip


@pytest.mark.django_db
def test_a_scrape_costs_a_fixed_number_of_queries(fleet_clusters, django_assert_max_num_queries):
    for _ in range(4):
        fleet_clusters()
        factories.customer()
    with django_assert_max_num_queries(18):
        asked("/metrics")


@pytest.mark.django_db
def test_metrics_are_for_this_machine_or_for_the_holder_of_their_token(settings):
    assert asked("/metrics").status_code == 200
    assert said(asked("/metrics", **{"X-Forwarded-For": "127.0.0.1"})) == (401, "bad-credential")
    for address in ("192.0.2.1", "::ffff:192.0.2.1", "", "garbage"):
        assert said(Client().get("/metrics", REMOTE_ADDR=address)) == (401, "bad-credential")
    settings.METRICS_TOKEN = "scraper"
    assert said(asked("/metrics")) == (401, "bad-credential")
    for wrong in ("Bearer scrape", "Bearer scraper2", "scraper", "Bearer \xff"):
        assert said(asked("/metrics", Authorization=wrong)) == (401, "bad-credential")
    assert Client().get("/metrics", headers={"Authorization": "Bearer scraper"}, REMOTE_ADDR="192.0.2.1").status_code == 200


def test_an_unknown_address_under_api_is_a_problem_and_elsewhere_a_page():
    assert said(asked("/api/v2/tenants")) == (404, "not-found")
    assert said(asked("/api/v1/tenants/")) == (404, "not-found")
    assert asked("/nowhere")["Content-Type"].startswith("text/html")


def test_a_host_that_is_not_ours_is_refused_in_the_callers_words():
    assert said(asked("/api/v1/tenants", Host="evil.example")) == (400, "malformed-request")
    assert asked("/nowhere", Host="evil.example").status_code == 400


@pytest.mark.urls(__name__)
def test_a_fault_of_ours_is_a_problem_without_detail_under_api():
    answer = asked("/api/broken")
    assert said(answer) == (500, "internal-error")
    assert answer.json().keys() == {"type", "title", "status", "code"}
    assert len(answer["X-Request-ID"]) == 32
    assert asked("/broken").status_code == 500


@pytest.mark.urls(__name__)
def test_a_database_that_is_away_is_503_with_retry_after_in_every_view():
    for address in ("/api/without-database", "/without-connection"):
        answer = asked(address)
        assert said(answer) == (503, "service-unavailable")
        assert int(answer["Retry-After"]) > 0
        assert "lost" not in answer.content.decode()


def test_a_database_that_is_away_is_503_at_every_door(django_db_setup):
    ask = (
        "from django.test import Client; c = Client(raise_request_exception=False); c.cookies['sessionid'] = 'x' * 32\n"
        "for p in ('/api/v1/tenants', '/api/v1/derp/a.json', '/admin/', '/admin/login/'):\n"
        "    print(p, c.get(p, headers={'Authorization': 'Bearer acs-api-x'}).status_code)\n"
        "print('/api/v1/bootstrap', c.generic('POST', '/api/v1/bootstrap', b'{}', headers={'Authorization': 'Bearer x'}).status_code)"
    )
    done = manage("shell", "--no-imports", "-c", ask, DATABASE_URL="postgresql://acs_web@127.0.0.1:1/acs", ACS_DB_POOL_TIMEOUT="1")
    answers = dict(line.split() for line in done.stdout.splitlines() if line.startswith("/"))
    assert answers.pop("/admin/login/") in ("200", "503")
    assert set(answers.values()) == {"503"}, answers


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_the_logs_tell_request_cluster_and_actor_and_no_secret_and_all_workers_count_together(fleet_cluster, tmp_path: Path):
    customer, chief = factories.customer("acme-inc"), operator()
    folder = tmp_path / "metrics"
    folder.mkdir()
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "GUNICORN_CMD_ARGS": "--config python:acs.gunicorn", "ACS_LOG_LEVEL": "DEBUG"}
    with run_web(tmp_path, workers=2, threads=2, **environment) as web:
        keys = [web.bootstrap(customer.secret, hostname=f"till-{number}").auth_key for number in range(8)]
        told = httpx2.post(
            f"{web.url}/api/v1/tenants/acme-inc/enrolment-keys?x={keys[0]}",
            json={"description": "more"},
            headers={"Authorization": f"Bearer {chief.secret}", "X-Request-ID": "traced-by-the-caller"},
        )
        web.bootstrap(customer.secret, colour=keys[0])
        counted = gauges(httpx2.get(f"{web.url}/metrics"))
        assert counted[f'acs_bootstraps_total{{cluster_id="{fleet_cluster.cluster_id}",code="ok"}}'] == 8
        assert counted["acs_database_up"] == 1
        assert httpx2.get(f"{web.url}/readyz").json()["ready"]
        assert counted["acs_outbox_depth"] == 0
        wait_for(lambda: "traced-by-the-caller" in web.log.read_text(), "the log has the request", log=web.log)
        log = web.log.read_text()
    assert all(keys)
    for secret in (customer.secret, chief.secret, told.json()["secret"], *keys):
        assert secret not in log
        assert secret[-24:] not in log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    admitted = [line for line in lines if line.get("path") == "/api/v1/bootstrap" and line["status"] == 200]
    assert len(admitted) == 8
    assert {line["cluster_id"] for line in admitted} == {fleet_cluster.cluster_id}
    assert len({line["request_id"] for line in admitted}) == 8
    [made] = [line for line in lines if line.get("request_id") == "traced-by-the-caller" and line["event"] == "request"]
    assert (made["status"], made["tenant"], made["actor"][:6]) == (201, "acme-inc", "token:")
    assert told.headers["X-Request-ID"] == "traced-by-the-caller"


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_the_web_role_has_the_rights_for_every_act_of_an_operator(fleet_cluster, tmp_path: Path):
    factories.customer("acme-inc")
    plan, chief = factories.plan().name, operator()
    with (
        run_web(tmp_path, workers=1) as web,
        httpx2.Client(base_url=f"{web.url}/api/v1/", headers={"Authorization": f"Bearer {chief.secret}"}) as link,
    ):
        done = [
            link.post("tenants", json={"account": "bolt", "plan": plan}),
            link.patch("tenants/bolt", json={"plan": plan, "title": "Bolt"}),
            *[link.post(f"tenants/bolt/{verb}", json={}) for verb in ("suspend", "resume", "close", "reopen")],
            link.post("tenants/acme-inc/api-tokens", json={"scopes": ["devices:core"]}),
            *[
                link.patch(f"clusters/{fleet_cluster.cluster_id}", json={"state": state})
                for state in ("cordoned", "draining", "active", "offline")
            ],
            *[link.get(path) for path in ("tenants", "plans", "clusters", "bindings", "tenants/acme-inc/grants", "tenants/acme-inc/audit")],
        ]
        key = link.post("tenants/bolt/enrolment-keys", json={}).json()
        done.append(link.delete(f"tenants/bolt/enrolment-keys/{key['id']}"))
    assert [(str(answer.url), answer.status_code, answer.text) for answer in done if answer.status_code not in (200, 201)] == []


@pytest.mark.django_db
def test_the_audit_is_exported_and_proven_by_its_command(capsys):
    tenant = factories.tenant("acme-inc")
    factories.enrolment_key(tenant)
    call_command("audit", "seal")
    call_command("audit", "verify")
    assert "acme-inc  whole  2 sealed  0 unsealed" in capsys.readouterr().out
    call_command("audit", "export", "--account", "acme-inc")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["verb"], event["position"]) for event in events] == [("tenant.create", 1), ("enrolment_key.issue", 2)]
    assert all(re.fullmatch("[0-9a-f]{64}", event["hash"]) for event in events)
    assert timezone.now() - timezone.datetime.fromisoformat(events[0]["at"]) < timedelta(minutes=5)
