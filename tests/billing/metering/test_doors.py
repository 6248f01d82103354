"""Metering through the doors: polls, the API, the command, the operators' pages, the rights of each kind of process."""

from __future__ import annotations

import re
from datetime import timedelta

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from acs import poll as polling
from acs import standings, tasks
from acs.poll import Observation
from billing.metering import usage
from billing.models import Correction, Meter, OpenSession
from placement import bindings, pollruns
from placement.devices import Sighting
from placement.engine.regions import Wish
from placement.models import Cluster, PollRun, Stay, Watch
from tests import factories
from tests.api.callers import operator, program_of, said
from tests.billing.metering.world import DAY, at, lives, poll, polls, roll

pytestmark = pytest.mark.django_db
TOMORROW = DAY + timedelta(days=1)


@pytest.fixture(autouse=True)
def _plain_static_files(settings):
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}


@pytest.fixture
def used(fleet_cluster):
    """A tenant with two devices that were online for ten minutes, one of them for twenty."""
    tenant, devices = lives(fleet_cluster, devices=2)
    polls(fleet_cluster, at("10:00:00"), at("10:10:00"), {1, 2})
    polls(fleet_cluster, at("10:11:00"), at("10:20:00"), {2}, {1: at("10:10:00")})
    roll()
    return tenant, devices, fleet_cluster


# ---- polls -----------------------------------------------------------------------------------------------------------


def sighting(number: int, account: str, **fields) -> Sighting:
    now = timezone.now()
    base = {
        "node_id": number, "account": account, "key_id": None, "machine_key": f"mkey:{number}", "node_key": f"nodekey:{number}",
        "ipv4": f"100.64.1.{number}", "ipv6": None, "hostname": f"host-{number}", "name": f"host-{number}", "tags": (),
        "ephemeral": False, "joined_at": now, "last_seen": now, "key_expires_at": None, "online": True,
    }  # fmt: skip
    return Sighting(**{**base, **fields})


def record(cluster, account: str, when, *, online: bool = True, **fields):
    seen = Observation(when, [sighting(1, account, online=online, last_seen=when)], {}, None, **fields)
    return polling.record(cluster, seen, seconds=0.1, now=timezone.now())


def test_a_tenant_that_is_placed_stays_and_its_polls_are_metered(fleet_cluster):
    tenant, now = factories.tenant(), timezone.now()
    bindings.settle(tenant, wish=Wish(), now=now - timedelta(minutes=5))
    assert list(Stay.objects.of(tenant).values_list("cluster_id", "since", "until")) == [
        (fleet_cluster.cluster_id, now - timedelta(minutes=5), None)
    ]
    cluster = Cluster.objects.get(pk=fleet_cluster.cluster_id)
    Watch.objects.create(cluster=cluster)
    for ago in (120, 60, 60, 90, 0):  # one of them twice, one late
        record(cluster, tenant.account, now - timedelta(seconds=ago))
    told = usage.used(tenant, now - timedelta(minutes=10), now + timedelta(seconds=1))
    assert (told.active_devices, told.device_seconds) == (1, 120)
    assert PollRun.objects.filter(outcome="ok").count() == 3


def test_a_poll_from_the_future_is_suspect_and_changes_nothing(fleet_cluster):
    cluster, now = Cluster.objects.get(pk=fleet_cluster.cluster_id), timezone.now()
    Watch.objects.create(cluster=cluster)
    run = record(cluster, "nobody", now + timedelta(hours=1))
    assert run.outcome == "suspect"
    assert not Meter.objects.exists()
    assert Watch.objects.get().complete_at is None


def test_a_deleted_binding_ends_the_stay(fleet_cluster):
    tenant = factories.tenant()
    bindings.settle(tenant, wish=Wish(), now=timezone.now()).delete()
    assert Stay.objects.of(tenant).get().until is not None


# ---- API -------------------------------------------------------------------------------------------------------------


def query(by: str, start=DAY, end=TOMORROW) -> str:
    return f"usage?from={start:%Y-%m-%dT%H:%M:%SZ}&to={end:%Y-%m-%dT%H:%M:%SZ}&by={by}"


def test_a_tenant_reads_its_use_by_hour_day_and_device(used):
    tenant, devices, cluster = used
    for program in (program_of(tenant, "billing:read"), operator("billing:read")):
        told = {by: program.get(f"tenants/{tenant.account}/{query(by)}").json() for by in ("hour", "day", "device")}
        assert {(one["active_devices"], one["device_seconds"]) for one in told.values()} == {(2, 1800)}
        assert told["hour"]["hours"] == [
            {"hour": f"{at('10:00:00'):%Y-%m-%dT%H:%M:%SZ}", "cluster_id": cluster.cluster_id, "device_seconds": 1800}
        ]
        assert told["day"]["days"] == [{"day": str(DAY.date()), "active_devices": 2, "device_seconds": 1800}]
        assert {row["device_id"]: row["device_seconds"] for row in told["device"]["devices"]} == {
            str(devices[0].pk): 600, str(devices[1].pk): 1200,
        }  # fmt: skip


def test_devices_come_in_pages(used):
    tenant, _, _ = used
    program = program_of(tenant, "billing:read")
    first = program.get(f"tenants/{tenant.account}/{query('device')}&limit=1").json()
    second = program.get(first["next"]).json()
    assert len({row["device_id"] for row in first["devices"] + second["devices"]}) == 2
    assert second["next"] is None


def test_use_is_for_those_whose_it_is(used):
    tenant, _, _ = used
    path = f"tenants/{tenant.account}/{query('day')}"
    assert said(program_of(tenant, "auth_keys").get(path)) == (403, "missing-scope")
    assert said(program_of(factories.tenant(), "billing:read").get(path)) == (404, "not-found")
    assert said(program_of(tenant, "billing:read").post(path, {})) == (403, "missing-scope")


@pytest.mark.parametrize(
    "wrong", [query("week"), query("day", TOMORROW, DAY), query("hour", DAY - timedelta(days=40)), "usage?from=yesterday", "usage?form=1", "usage?to=0001-01-01T00:00:00Z"]
)  # fmt: skip
def test_what_is_no_period_is_said_to_be_none(used, wrong):
    tenant, _, _ = used
    assert said(operator("billing:read").get(f"tenants/{tenant.account}/{wrong}")) == (400, "malformed-request")


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys):
    def call(*words: str) -> str:
        call_command("usage", *words)
        return capsys.readouterr().out

    return call


def test_the_command_shows_a_month_and_goes_down_to_the_polls(run, used):
    tenant, devices, cluster = used
    assert f"on {cluster.cluster_id}: 1800 s" in run("show", tenant.account, "--month", f"{DAY:%Y-%m}")
    assert re.search(rf"{devices[1].pk} +till-2 +1200", run("drill", tenant.account, str(DAY.date())))
    pollruns.write(cluster.cluster_id, started_at=at("10:03:00"), seconds=0.1, outcome="ok", nodes=2, online=2)
    drilled = run("drill", tenant.account, str(DAY.date()), str(devices[0].pk))
    assert "offline" in drilled
    assert "600 s count" in drilled
    assert "2 of 2 online" in drilled
    open_one = run("drill", tenant.account, str(DAY.date()), str(devices[1].pk))
    assert "so far; 1200 s count" in open_one
    assert re.search(rf"{cluster.cluster_id} +1200 +21", run("coverage", str(DAY.date())))


def test_the_command_corrects_and_rebuilds(run, used):
    tenant, _, cluster = used
    since, until = f"{at('10:00:00'):%Y-%m-%dT%H:%MZ}", f"{at('10:05:00'):%Y-%m-%dT%H:%MZ}"
    assert "nothing of" in run("correct", cluster.cluster_id, since, until, "the uplink was down")
    assert run("rebuild") == "1 days were rebuilt\n"
    assert usage.used(tenant, DAY, TOMORROW).device_seconds == 1200
    assert run("rebuild", cluster.cluster_id, str(DAY.date())) == "1 days were rebuilt\n"
    with pytest.raises(CommandError, match="needs a reason"):
        run("correct", cluster.cluster_id, since, until, " ")


def test_the_command_says_what_it_cannot_show_or_make_again(run, used):
    tenant, devices, cluster = used
    for words, why in (
        (("rebuild", "nowhere"), "no cluster 'nowhere'"),
        (("rebuild", cluster.cluster_id, "2019-06-01", "2019-06-30"), "not kept any more"),
        (("rebuild", cluster.cluster_id, str(TOMORROW.date()), str(DAY.date())), "is no range of time"),
        (("rebuild", cluster.cluster_id, str(timezone.now().date() + timedelta(days=1))), "is no range of time"),
        (("show", tenant.account, "--month", "2019-06"), "not known any more"),
        (("drill", tenant.account, "2019-06-11"), "not known any more"),
        (("drill", tenant.account, "2019-06-11", str(devices[0].pk)), "not kept any more"),
    ):
        with pytest.raises(CommandError, match=why):
            run(*words)


def test_the_command_corrects_one_tenant_or_device_and_takes_it_back(run, used):
    tenant, devices, _cluster = used
    since, until = f"{at('10:00:00'):%Y-%m-%dT%H:%MZ}", f"{at('10:05:00'):%Y-%m-%dT%H:%MZ}"
    run("correct", "--device", str(devices[0].pk), since, until, "cloned")
    assert usage.used(tenant, DAY, TOMORROW).device_seconds == 1500
    run("correct", since, until, "a test", "--tenant", tenant.account)
    assert usage.used(tenant, DAY, TOMORROW).device_seconds == 1200
    told = run("corrections")
    assert (str(devices[0].pk) in told, tenant.account in told) == (True, True)
    for made in Correction.objects.across_tenants():
        assert "is taken back" in run("undo", str(made.pk), "it was another one")
    assert usage.used(tenant, DAY, TOMORROW).device_seconds == 1800
    assert run("corrections", tenant.account).count("taken back") == 2
    for wrong in (("undo", "0", "x"), ("correct", since, until, "of whom?"), ("correct", "--device", str(tenant.pk), since, until, "x")):
        with pytest.raises(CommandError):
            run(*wrong)
    with pytest.raises(CommandError, match="taken back already"):
        run("undo", str(Correction.objects.across_tenants().first().pk), "again")


# ---- pages, gauges, tasks --------------------------------------------------------------------------------------------


def test_operators_see_use_and_coverage_and_correct(used):
    tenant, devices, cluster = used
    office = Client()
    office.force_login(User.objects.create_superuser("olga", password="only-in-tests-1"))
    page = office.get(f"/admin/billing/usage/{tenant.account}/?month={DAY:%Y-%m}").content.decode()
    assert "<td>1800</td>" in page
    assert "till-2" in page
    assert "1200 / 86400" in office.get(f"/admin/billing/coverage/?day={DAY.date()}").content.decode()
    assert (
        reverse("admin:billing_usage", args=[tenant.account]) in office.get(f"/admin/tenants/tenant/{tenant.pk}/change/").content.decode()
    )
    for wrong in ("2026-13", "1999-01", "3000-01", "x"):
        assert office.get(f"/admin/billing/usage/{tenant.account}/?month={wrong}").status_code == 404
    said_so = {
        "cluster": cluster.cluster_id, "since_0": str(DAY.date()), "since_1": "10:00:00", "until_0": str(DAY.date()), "until_1": "10:10:00", "reason": "an outage",
    }  # fmt: skip
    assert office.post(reverse("admin:billing_correction_add"), said_so).status_code == 302
    made = Correction.objects.across_tenants().get()
    assert (made.since, made.until, made.made_by) == (at("10:00:00"), at("10:10:00"), "operator:olga")
    assert office.post(reverse("admin:billing_correction_add"), said_so | {"until_1": "09:00:00"}).status_code == 200
    of_one = said_so | {"cluster": "", "device": str(devices[1].pk)}
    for wrong in ({"account": tenant.account}, {"device": ""}, {"device": str(tenant.pk)}, {"device": "", "account": "nobody"}):
        assert office.post(reverse("admin:billing_correction_add"), of_one | wrong).status_code == 200
    assert office.post(reverse("admin:billing_correction_add"), of_one).status_code == 302
    assert office.post(reverse("admin:billing_correction_add"), of_one | {"device": "", "account": tenant.account}).status_code == 302
    assert [(one.tenant, one.device_id) for one in Correction.objects.of(tenant).order_by("pk")] == [
        (tenant, devices[1].pk),
        (tenant, None),
    ]
    back = reverse("admin:billing_correction_act", args=[made.pk, "take_back"])
    assert back in office.get(reverse("admin:billing_correction_change", args=[made.pk])).content.decode()
    assert office.post(back, {"reason": "it was eu2"}).status_code == 302
    page = office.get(reverse("admin:billing_correction_change", args=[made.pk])).content.decode()
    assert ("it was eu2" in page, back in page) == (True, False)
    assert office.post(back, {"reason": "again"}).status_code == 200
    for model in ("correction", "meter", "usagehour"):
        assert office.get(reverse(f"admin:billing_{model}_changelist"), {"q": "c"}).status_code == 200
    assert office.get(reverse("admin:billing_correction_change", args=[made.pk])).status_code == 200


def test_pages_of_use_are_for_those_who_may_see_meters(used):
    tenant, _, _ = used
    visitor = Client()
    visitor.force_login(User.objects.create_user("vera", password="only-in-tests-2", is_staff=True))
    assert visitor.get(f"/admin/billing/usage/{tenant.account}/").status_code == 403
    assert visitor.get("/admin/billing/coverage/").status_code == 403


def test_gauges_tell_how_far_metering_is(used):
    _, _, cluster = used
    told = {standing.name: dict(standing.values) for standing in standings.look(timezone.now())}
    assert told["acs_metering_age_seconds"][(cluster.cluster_id,)] > 86400 - 600
    assert told["acs_metering_days_to_rebuild"] == {(): 0}
    poll(cluster, at("10:21:00"), {2})
    told = {standing.name: dict(standing.values) for standing in standings.look(timezone.now())}
    assert (told["acs_metering_days_to_rebuild"], told["acs_metering_days_behind"]) == ({(): 1}, {(): 2})


def test_the_tasks_roll_up_and_keep_months(used):
    tenant, _, cluster = used
    poll(cluster, at("10:21:00"), {2})
    tasks.roll_cluster(cluster.cluster_id)
    tasks.keep_months()
    assert [hour.device_seconds for hour in usage.hourly(tenant, DAY, TOMORROW)] == [1860]


# ---- rights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("web", "update billing_meter set last_ok = now()"),
        ("web", "insert into billing_coverage values (now(), now(), 'x', false)"),
        ("worker", "update billing_session set ended = now()"),
        ("worker", "delete from billing_session"),
        ("worker", "delete from billing_coverage"),
        ("worker", "delete from billing_correction"),
        ("web", "update billing_retraction set reason = 'x'"),
        ("worker", "delete from billing_retraction"),
        ("web", "update billing_correction set reason = 'x'"),
        ("web", "select billing_drop_months('billing_session', '2020-01-01')"),
        ("web", "update placement_stay set until = now()"),
        ("worker", "update placement_stay set since = now()"),
    ],
)
def test_what_was_counted_is_nobodys_to_change(database_urls, role, statement):
    with psycopg.connect(database_urls[role]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.django_db(transaction=True)
def test_the_worker_alone_meters_with_its_own_rights(fleet_cluster, database_urls):
    """As acs_worker: a poll, its sums, a month's table."""
    from tests.conftest import manage

    tenant, _ = lives(fleet_cluster)
    polls(fleet_cluster, at("10:00:00"), at("10:05:00"), {1})
    assert OpenSession.objects.of(tenant).count() == 1
    refused = manage("usage", "rebuild", role="web", check=False)
    assert re.search("CommandError: .*acs_web.* may not do that.*permission denied", refused.stderr)
    assert "days were rebuilt" in manage("usage", "rebuild", role="worker").stdout
    assert "300 s" in manage("usage", "show", tenant.account, "--month", f"{DAY:%Y-%m}", role="web").stdout
    with psycopg.connect(database_urls["worker"]) as connection:
        assert connection.execute("select billing_make_months(current_date, current_date + 62)").fetchone()
