"""Poll runs by month: made when they are wanted, dropped when they are old, brought over from the table that they were in, quick to find."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import ProgrammingError, connection, transaction
from django.test import Client
from django.utils import timezone

from acs import poll as polling
from acs import tasks
from acs.poll import Observation
from placement import pollruns
from placement.admin.base import CountedSoFar
from placement.models import Cluster, PollRun, Watch
from tests.conftest import MIGRATED, WORKER, copy_database, manage, superuser, url_as

BEFORE = f"acs_polls_{WORKER}"
pytestmark = pytest.mark.django_db


def write(cluster, at: datetime, outcome: str = "ok", **facts) -> PollRun:
    return pollruns.write(cluster.cluster_id, started_at=at, seconds=0.1, outcome=outcome, **facts)


def months() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("select relname from pg_class where relname like 'placement_pollrun_2%' and relkind = 'r'")
        return {name[-7:] for (name,) in cursor.fetchall()}


def test_a_month_is_made_by_the_schedule_and_by_who_first_needs_it(fleet_cluster):
    now = timezone.now()
    assert f"{now + timedelta(days=40):%Y_%m}" in months()
    write(fleet_cluster, datetime(2024, 2, 29, 23, 59, 59, 999999, UTC))
    assert "2024_02" in months()
    assert "2024_03" not in months()
    tasks.keep_months()
    assert "2024_02" not in months()
    assert not PollRun.objects.exists()


def test_months_are_dropped_whole_and_no_young_one_is(fleet_cluster, settings):
    settings.POLL_RUN_MONTHS = 2
    now = timezone.now()
    kept = pollruns.months_ago(now, 2)
    first = datetime(kept.year, kept.month, 1, tzinfo=UTC)
    write(fleet_cluster, first)
    write(fleet_cluster, first - timedelta(microseconds=1))
    assert pollruns.drop_old(now=now) == 1
    assert PollRun.objects.get().started_at == first
    assert pollruns.drop_old(now=now + timedelta(days=200)) == 0, "a host whose clock is ahead"
    with pytest.raises(ProgrammingError, match="are not dropped"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select placement_drop_months(current_date)")


def test_a_clock_years_ahead_leaves_its_record_at_the_hour_that_it_is(fleet_cluster):
    cluster, now = Cluster.objects.get(pk=fleet_cluster.cluster_id), timezone.now()
    Watch.objects.create(cluster=cluster)
    run = polling.record(cluster, Observation(now + timedelta(days=4000), [], {}, None), seconds=0.1, now=now)
    assert run is not None
    assert run.outcome == "suspect"
    assert abs(PollRun.objects.get().started_at - now) < timedelta(minutes=5)


def test_the_polls_of_a_cluster_are_read_by_an_index_of_their_month_alone(fleet_cluster):
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into placement_pollrun (started_at, seconds, nodes, online, cluster_id, outcome, reason)"
            " select %s - n * interval '30 seconds', 0.1, 1, 1, 'c' || n %% 50, 'ok', '' from generate_series(1, 50000) n",
            [now],
        )
        rows = PollRun.objects.filter(cluster_id="c7", started_at__gte=now - timedelta(hours=1), started_at__lt=now).order_by(
            "started_at", "id"
        )
        cursor.execute(f"explain {rows.query.sql_with_params()[0]}", rows.query.sql_with_params()[1])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan
    assert plan.count("_cluster_id_started_at_idx") == len({(now - timedelta(hours=1)).month, now.month})


# ---- the operators' list -----------------------------------------------------------------------------------------------


@pytest.fixture
def office() -> Client:
    made = Client()
    made.force_login(User.objects.create_superuser("olga", password="only-in-tests-1"))
    return made


def test_operators_see_the_latest_polls_and_all_of_them_when_they_ask(office, fleet_cluster, settings):
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    now = timezone.now()
    for ago in (0, 10, 40, 200):
        write(fleet_cluster, now - timedelta(days=ago), reason=f"{ago} days ago")

    def shown(query: str) -> list[int]:
        page = office.get(f"/admin/placement/pollrun/?{query}").content.decode()
        return [ago for ago in (0, 10, 40, 200) if f">{ago} days ago<" in page]

    assert shown("") == [0, 10]
    assert shown("when=7") == [0]
    assert shown("when=any") == [0, 10, 40, 200]
    assert shown(f"started_at__lt={now - timedelta(days=100):%Y-%m-%dT%H:%M:%SZ}") == [200]
    old = PollRun.objects.order_by("started_at").first()
    assert old is not None
    assert office.get(f"/admin/placement/pollrun/{old.pk}/change/").status_code == 200


def test_a_long_list_is_counted_so_far(fleet_cluster, monkeypatch):
    monkeypatch.setattr(CountedSoFar, "MOST", 3)
    for _ in range(5):
        write(fleet_cluster, timezone.now())
    assert CountedSoFar(PollRun.objects.all(), 2).num_pages == 2


# ---- rights and the rows that were there -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("web", "insert into placement_pollrun (started_at, seconds, nodes, online, cluster_id, outcome, reason) values (now(), 1, 1, 1, 'a', 'ok', '')"),
        ("web", "select placement_make_months(current_date, current_date)"),
        ("web", "select placement_drop_months('2020-01-01')"),
        ("worker", "delete from placement_pollrun"),
        ("worker", "update placement_pollrun set outcome = 'ok'"),
    ],
)  # fmt: skip
def test_what_was_seen_is_nobodys_to_change(database_urls, role, statement):
    with psycopg.connect(database_urls[role]) as link, pytest.raises(psycopg.errors.InsufficientPrivilege):
        link.execute(statement.encode())


def test_the_worker_writes_polls_with_its_own_rights_and_reaches_no_month_by_itself(database_urls):
    with psycopg.connect(database_urls["worker"]) as link:
        link.execute("select placement_make_months('2023-05-01', '2023-05-01')")
        link.execute(
            "insert into placement_pollrun (started_at, seconds, nodes, online, cluster_id, outcome, reason) values ('2023-05-05', 1, 1, 1, 'a', 'ok', '')"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            link.execute("select * from placement_pollrun_2023_05")


def test_the_rows_that_were_there_are_there_after_the_migration():
    with superuser("postgres") as link:
        link.execute(f"drop database if exists {BEFORE} with (force)".encode())
        copy_database(link, MIGRATED, BEFORE)
    url = url_as("acs_owner", BEFORE)
    manage("migrate", "-v0", "placement", "0014", DATABASE_URL=url)
    rows = [(7, "2026-03-31 23:59:59.9+00"), (9, "2026-04-01 00:00:00+00"), (8, "2019-01-01 00:00:00+00"), (12, "2999-01-01 00:00:00+00")]
    insert = "insert into placement_pollrun (id, started_at, seconds, outcome, nodes, online, reason, cluster_id) values (%s, %s, 0.5, 'ok', 3, 2, 'as told', %s)"
    with superuser(BEFORE) as link:
        link.execute("set session_replication_role = replica")  # the cluster is not what is tried here
        for number, at in rows:
            link.execute(insert, [number, at, "eu1"])
    manage("migrate", "-v0", "placement", "0015", DATABASE_URL=url)
    with superuser(BEFORE) as link:
        known = link.execute(
            "select id, started_at, seconds, nodes, online, cluster_id, outcome, reason from placement_pollrun order by id"
        ).fetchall()
        assert [(row[0], row[2:]) for row in known] == [(number, (0.5, 3, 2, "eu1", "ok", "as told")) for number in (7, 8, 9, 12)]
        assert [row[1] for row in known[:3]] == [datetime.fromisoformat(rows[index][1]) for index in (0, 2, 1)]
        assert known[3][1].year < 2100, "a look from the far future stands at the hour of the migration"
        assert link.execute("select to_regclass('placement_pollrun_2026_04') is not null").fetchone() == (True,)
        [number] = link.execute(
            "insert into placement_pollrun (started_at, seconds, nodes, online, cluster_id, outcome, reason) values (now(), 1, 1, 1, 'a', 'ok', '') returning id"
        ).fetchone()
        assert number == 13
        link.execute("delete from placement_pollrun where cluster_id = 'a'")
    manage("migrate", "-v0", "placement", "0014", DATABASE_URL=url)
    with superuser(BEFORE) as link:
        assert link.execute("select relkind from pg_class where relname = 'placement_pollrun'").fetchone() == ("r",)
    with superuser("postgres") as link:
        link.execute(f"drop database {BEFORE} with (force)".encode())
