"""Months that are closed by themselves: when, by several workers, beside people; what was refused is told to operators and tried again."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from acs import billing_tasks
from billing import calendar, closing
from billing.models import ClosedPeriod, Invoice, NumberSeries, TaxRate
from billing.rating.cycles import month_of, months_after
from placement.models import Alert
from tenants.errors import WrongState
from tests.api.callers import operator
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.billing.invoices.used import after
from tests.billing.rating.bills import JULY, JUNE
from tests.live import race_here, run, wait_for

MAY = month_of(JUNE.start - timedelta(days=1))


@pytest.fixture(autouse=True)
def _by_itself(settings):
    settings.CLOSE_DAYS = "3"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def names(now: str) -> list[str]:
    return [f"{month.start:%Y-%m}" for month in calendar.due(now=moment(now))]


def alerts():
    return list(Alert.objects.filter(kind="not-billed", closed_at=None).values_list("subject", flat=True))


@pytest.mark.django_db
def test_months_are_closed_by_hand_unless_somebody_says_after_how_many_days(settings):
    settings.CLOSE_DAYS = ""
    assert names("2026-07-20") == []
    settings.CLOSE_DAYS = "3"
    assert names("2026-07-03T23:59:59") == ["2026-05"]
    assert names("2026-07-04") == ["2026-06"]
    settings.CLOSE_DAYS = "0"
    assert names("2026-07-01T00:04:59") == ["2026-05"], "the last polls are still taken in"
    assert names("2026-07-01T00:05:00") == ["2026-06"]


@pytest.mark.django_db
def test_a_service_that_was_down_closes_what_it_missed_and_nothing_from_before_its_first_close():
    assert names("2026-09-10") == ["2026-08"]
    sold.subscriber()
    closing.close(JUNE, now=after(), actor="system:tests")
    assert names("2026-09-10") == ["2026-06", "2026-07", "2026-08"]


@pytest.mark.django_db
def test_the_schedule_closes_a_month_once_and_shares_it_with_people():
    version = sold.version()
    for _ in range(5):
        sold.subscriber(version)
    begun = after()
    assert calendar.close(JUNE, at=begun, now=begun, seconds=0.0), "there is more to do"
    assert Invoice.objects.across_tenants().count() == 1
    closing.close(JUNE, now=after() + timedelta(minutes=1), actor="operator:olga")
    assert not calendar.close(JUNE, at=begun, now=begun)
    assert sorted(Invoice.objects.across_tenants().values_list("number", flat=True)) == [1, 2, 3, 4, 5]
    assert not calendar.close(JUNE, at=begun + timedelta(hours=1), now=begun)
    assert Invoice.objects.across_tenants().count() == 5
    assert alerts() == []


@pytest.mark.django_db
def test_what_was_refused_is_told_to_operators_and_tried_again_by_the_next_run():
    tenant = sold.subscriber()
    rate = TaxRate.objects.get(country="DE")
    TaxRate.objects.filter(pk=rate.pk).update(valid_from="2026-08-01")
    begun = after()
    for hours in range(2):
        assert not calendar.close(JUNE, at=begun + timedelta(hours=hours), now=begun + timedelta(hours=hours))
    assert alerts() == ["2026-06"]
    (told,) = operator().get("placement/alerts?kind=not-billed").json()["results"]
    assert told["facts"] == {"tenants": 1, "first": tenant.account, "NoTaxRate": 1}
    assert names("2026-09-10") == ["2026-06", "2026-07", "2026-08"]
    calendar.close(JULY, at=after(JULY), now=after(JULY))
    TaxRate.objects.filter(pk=rate.pk).update(valid_from="2026-01-01")
    calendar.close(JUNE, at=begun + timedelta(hours=9), now=begun)
    assert alerts() == (["2026-07"] if ClosedPeriod.objects.filter(period_start=JULY.start, outcome="refused").exists() else [])
    assert Invoice.objects.of(tenant).filter(period_start=JUNE.start).get().tax == 551


@pytest.mark.django_db
def test_a_close_by_hand_tells_operators_too_and_takes_the_alert_back():
    sold.subscriber()
    rate = TaxRate.objects.get(country="DE")
    TaxRate.objects.filter(pk=rate.pk).update(valid_from="2026-08-01")
    closing.close(JUNE, now=after(), actor="system:tests")
    assert alerts() == ["2026-06"]
    TaxRate.objects.filter(pk=rate.pk).update(valid_from="2026-01-01")
    closing.close(JUNE, now=after() + timedelta(hours=1), actor="system:tests")
    assert alerts() == []


@pytest.mark.django_db
def test_without_a_seller_nothing_is_closed_and_operators_are_told(settings):
    sold.subscriber()
    settings.SELLER = {}
    assert not calendar.close(JUNE, at=after(), now=after())
    assert (alerts(), ClosedPeriod.objects.exists()) == (["2026-06"], False)
    settings.SELLER = SELLER
    calendar.close(JUNE, at=after(), now=after())
    assert alerts() == []


@pytest.mark.django_db(transaction=True)
def test_several_workers_of_several_runs_bill_everybody_once():
    version = sold.version()
    for _ in range(12):
        sold.subscriber(version)
    runs = [after(), after() + timedelta(hours=1)]

    def work(number):
        while calendar.close(JUNE, at=runs[number % 2], now=after(), seconds=0.05):
            pass

    race_here(6, work)
    assert sorted(Invoice.objects.across_tenants().values_list("number", flat=True)) == list(range(1, 13))
    assert NumberSeries.objects.get().last == 12


# ---- clocks -------------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_host_whose_clock_has_stepped_ahead_closes_no_month_before_its_time():
    version = sold.version()
    month = month_of(timezone.now())
    sold.subscriber(version, now=month.start)
    ahead = month.end + timedelta(days=10)
    with pytest.raises(WrongState, match="not over"):
        closing.close(month, now=ahead, actor="system:tests")
    assert month in calendar.due(now=ahead)
    with pytest.raises(WrongState):
        calendar.close(month, at=ahead, now=ahead)
    billing_tasks.close_month(month.start.isoformat(), ahead.isoformat())
    assert not Invoice.objects.across_tenants().exists()


@pytest.mark.django_db
def test_a_clock_that_steps_back_between_two_closes_bills_nobody_twice_and_loses_nobody():
    version = sold.version()
    good, late = sold.subscriber(version), sold.subscriber(version)
    TaxRate.objects.create(country="FR", valid_from="2026-08-01", percent=20)
    type(late.billing_account).objects.of(late).update(country="FR")
    closing.close(JUNE, now=after(), actor="system:tests")
    TaxRate.objects.filter(country="FR").update(valid_from="2026-01-01")
    report = closing.close(JUNE, now=after() - timedelta(minutes=50), actor="system:tests")
    assert (report.invoiced, report.refused) == (2, ())
    assert [Invoice.objects.of(tenant).get().number for tenant in (good, late)] == [1, 2]


# ---- the real worker ------------------------------------------------------------------------------------------------------------


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_celery_closes_the_month_with_the_rights_of_the_worker(tmp_path):
    version = sold.version()
    last = month_of(months_after(timezone.now(), -1))
    for _ in range(6):
        sold.subscriber(version, now=last.start)
    command = [sys.executable, "-m", "celery", "-A", "acs.celery", "worker", "--concurrency", "2"]
    env = {"ACS_CLOSE_DAYS": "0", "ACS_SELLER": json.dumps(SELLER), "ACS_EMAIL_URL": "smtp://127.0.0.1:9"}
    with run(command, tmp_path / "worker.log", role="worker", **env):
        billing_tasks.close_months.apply_async()
        billing_tasks.send_notices.apply_async()
        done = ClosedPeriod.objects.filter(period_start=last.start, outcome="invoiced")
        wait_for(lambda: done.count() == 6, "the month is closed", seconds=40, log=tmp_path / "worker.log")
        waits = Invoice.objects.across_tenants().filter(notices__state="waiting")
        wait_for(lambda: waits.filter(notices__tries=1).exists() or send_again(), "mail was tried", log=tmp_path / "worker.log")
    assert waits.count() == 6
    assert sorted(Invoice.objects.across_tenants().values_list("number", flat=True)) == list(range(1, 7))


def send_again() -> bool:
    billing_tasks.send_notices.apply_async()
    return False
