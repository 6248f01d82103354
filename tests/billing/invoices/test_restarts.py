"""The database restarted, as by a crash, in the middle of a finalisation and of a close: a clear error, then the same again; no number is lost or given twice.

And a host whose clock steps: nobody pays for more than passed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from acs import poll as polling
from billing.rating.cycles import month_of, months_after
from placement.models import Watch
from tests.billing.invoices.conftest import SELLER
from tests.billing.metering.world import at, lives, poll, polls, roll, seconds
from tests.conftest import manage
from tests.fakes.minter import Minter, external_of
from tests.flows.test_outages import private_database
from tests.live import run, wait_for

MONTH = month_of(months_after(timezone.now(), -1))
TEXT = f"{MONTH.start:%Y-%m}"
SELL = """
from datetime import datetime
from tests.billing import sold
version, began = sold.version(), datetime.fromisoformat("{began}")
print(*(sold.subscriber(version, now=began).account for _ in range({count})))
"""
ASKED = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = 'acs'"


class Shop:
    """Subscribers in a database of their own, and the commands that bill them, each a process of its own."""

    def __init__(self, server, folder) -> None:
        self.server, self.folder = server, folder
        self.env = {"DATABASE_URL": server.url("acs", "acs_worker"), "ACS_SELLER": json.dumps(SELLER), "ACS_DB_POOL_TIMEOUT": "2"}

    def sell(self, count: int) -> list[str]:
        code = SELL.format(began=MONTH.start.isoformat(), count=count)
        return manage("shell", "-v0", "-c", code, role="web", DATABASE_URL=self.server.url("acs", "acs_web")).stdout.split()

    def bill(self, *words: str) -> subprocess.CompletedProcess[str]:
        return manage("billing", *words, role="worker", check=False, **self.env)

    @contextmanager
    def begun(self, *words: str):
        log = self.folder / f"{words[0]}.log"
        with run([sys.executable, "manage.py", "billing", *words], log, role="worker", **self.env) as process:
            yield process, log

    def interrupted(self, *words: str) -> str:
        """What a command says in whose midst, while it waits for its number, the database crashes and comes back."""
        with psycopg.connect(self.server.url("acs", "acs_owner")) as holder, self.begun(*words) as (process, log):
            holder.execute("select 1 from billing_numberseries for update")
            with psycopg.connect(self.server.url("acs", "postgres"), autocommit=True) as watching:
                wait_for(lambda: watching.execute(ASKED).fetchone()[0], "it waits for its number", seconds=30, log=log)
            self.server.stop("immediate")
            self.server.revive()
            assert process.wait(30) != 0
            holder.close()
        return log.read_text()

    def numbers(self) -> list[tuple[str, int]]:
        with psycopg.connect(self.server.url("acs", "acs_owner")) as connection:
            return connection.execute(
                "select t.account, i.number from billing_invoice i join tenants_tenant t on t.id = i.tenant_id"
                " where i.state <> 'draft' order by i.number"
            ).fetchall()

    def last(self) -> int:
        with psycopg.connect(self.server.url("acs", "acs_owner")) as connection:
            return connection.execute("select last from billing_numberseries").fetchone()[0]


def told_clearly(said: str) -> bool:
    return "CommandError: The database went away" in said and "Traceback" not in said


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_a_database_that_restarts_during_a_finalisation_and_during_a_close_costs_no_number(tmp_path, tmp_path_factory):
    with private_database(tmp_path_factory) as server:
        shop = Shop(server, tmp_path)
        first, second, *_rest = accounts = shop.sell(8)
        for account in (first, second):
            assert shop.bill("draft", account, "--month", TEXT).returncode == 0
        assert shop.bill("finalise", f"{first}/{TEXT}").returncode == 0
        assert told_clearly(shop.interrupted("finalise", f"{second}/{TEXT}"))
        assert shop.numbers() == [(first, 1)]
        assert shop.bill("finalise", f"{second}/{TEXT}").returncode == 0
        assert shop.numbers() == [(first, 1), (second, 2)]
        assert told_clearly(shop.interrupted("close", TEXT, "--workers", "2"))
        assert shop.numbers() == [(first, 1), (second, 2)]
        done = shop.bill("close", TEXT, "--workers", "2")
        assert f"{TEXT}: 8 invoiced, 0 with nothing to bill, 0 not billed" in done.stdout, done.stderr
        assert [number for _account, number in shop.numbers()] == list(range(1, 9))
        assert {account for account, _number in shop.numbers()} == set(accounts)
        assert shop.last() == 8
        assert shop.bill("close", TEXT).returncode == 0
        assert shop.last() == 8


@pytest.mark.django_db
def test_a_clock_that_steps_ahead_and_back_between_polls_bills_no_second_twice(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    polls(fleet_cluster, at("10:00:00"), at("10:10:00"), {1})
    polls(fleet_cluster, at("11:10:00"), at("11:11:00"), {1})  # ahead by an hour, after which it steps back
    for late in ("10:12:00", "10:30:00", "11:10:30", "11:11:00"):
        assert poll(fleet_cluster, at(late), {1}) is None
    polls(fleet_cluster, at("11:12:00"), at("11:13:00"), {1})
    assert seconds(tenant) == 600 + 180, "of the hour in between nobody knows"
    roll()
    assert seconds(tenant) == 780


@pytest.mark.django_db
def test_a_clock_that_steps_back_a_little_neither_ends_nor_stretches_a_session(fleet_cluster):
    tenant, _ = lives(fleet_cluster)
    polls(fleet_cluster, at("10:00:00"), at("10:10:00"), {1})
    polls(fleet_cluster, at("10:08:30"), at("10:12:00"), {1}, every=30)
    assert seconds(tenant) == 720


@pytest.mark.django_db(transaction=True)
def test_a_look_from_a_clock_that_was_ahead_keeps_nobody_from_looking_when_it_is_right_again():
    with Minter().running() as server:
        cluster_id, now = external_of(server), timezone.now()
        Watch.objects.all().delete()
        assert polling.poll(cluster_id, now=now + timedelta(hours=1), truly=now).outcome == "suspect"
        assert Watch.objects.get().attempted_at > now
        assert polling.poll(cluster_id, now=now, truly=now).outcome == "ok"
        assert polling.poll(cluster_id, now=now, truly=now) is None, "one at a time all the same"
