"""The close of a month: resumed, repeated, run at once, killed anywhere; who could not be billed and why; gapless numbers all the same."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from billing import catalogue, closing, concessions, invoicing, subscriptions
from billing.closing import close
from billing.errors import NoSeller
from billing.metering import partitions
from billing.models import (
    BillingAccount,
    ClosedPeriod,
    Coverage,
    Invoice,
    InvoiceLine,
    NumberSeries,
    Subscription,
    SubscriptionPhase,
    TaxRate,
)
from tenants import lifecycle
from tenants.errors import WrongState
from tests import factories
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.billing.invoices.used import after, into, lives, month_of_use
from tests.billing.rating.bills import JULY, JUNE
from tests.conftest import ROOT, service_environment

STEP = int(os.environ.get("ACS_CRASH_STEP", "3"))  # every third point of a worker; 1 tries all
DONE = {"now": after(), "actor": "system:tests"}


def numbers() -> list[int]:
    return sorted(Invoice.objects.across_tenants().exclude(state="draft").values_list("number", flat=True))


def assert_whole(count: int) -> None:
    """Every tenant has one invoice, numbered from 1 without a gap, with its lines and its outcome."""
    assert numbers() == list(range(1, count + 1))
    assert Invoice.objects.across_tenants().count() == count
    assert len(set(Invoice.objects.across_tenants().values_list("subscription", flat=True))) == count
    assert NumberSeries.objects.get().last == count
    assert ClosedPeriod.objects.filter(outcome="invoiced").count() == count
    for made in Invoice.objects.across_tenants():
        assert sum(made.lines.values_list("amount", flat=True)) == made.net


# ---- once -------------------------------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_a_close_repeated_changes_nothing():
    version = sold.version()
    for _ in range(3):
        sold.subscriber(version)
    first = close(JUNE, **DONE)
    again = close(JUNE, now=after() + timedelta(days=1), actor="system:tests")
    assert (first.invoiced, first.totals) == (3, {"EUR": 3 * 3451})
    assert again == first
    assert_whole(3)


@pytest.mark.django_db
def test_a_dry_run_tells_what_the_close_would_and_writes_nothing():
    sold.subscriber()
    told = closing.dry_run(JUNE, now=after())
    assert not Invoice.objects.across_tenants().exists()
    assert not ClosedPeriod.objects.exists()
    assert close(JUNE, **DONE) == told


@pytest.mark.django_db
def test_a_month_that_is_not_over_is_not_closed():
    with pytest.raises(WrongState):
        close(JUNE, now=JUNE.end, actor="system:tests")


@pytest.mark.django_db
def test_without_a_seller_nothing_is_closed(settings):
    sold.subscriber()
    settings.SELLER = {}
    with pytest.raises(NoSeller):
        close(JUNE, **DONE)
    assert not ClosedPeriod.objects.exists()


@pytest.mark.django_db
def test_who_cannot_be_billed_is_told_with_the_reason_and_billed_once_it_is_mended(fleet_cluster):
    version = sold.version()
    good, rateless, priceless = (sold.subscriber(version) for _ in range(3))
    nameless = factories.tenant()
    contract = Subscription.objects.create(tenant=nameless, started_at=sold.BEGIN)
    contract.phases.create(version=version, currency="EUR", during=DateTimeTZRange(sold.BEGIN, None), anchor=sold.BEGIN)
    TaxRate.objects.create(country="FR", valid_from="2026-08-01", percent=20)
    BillingAccount.objects.of(rateless).update(country="FR")
    SubscriptionPhase.objects.filter(subscription__tenant=priceless).update(currency="USD")
    partitions.make(JUNE.start, JUNE.end)
    for since, until in ((into(0), into(10)), (into(10, 2), into(10, 2)), (into(10, 2), JUNE.end)):
        Coverage.objects.create(cluster_id=fleet_cluster.cluster_id, since=since, until=until)
    report = close(JUNE, **DONE)
    assert {(each.account, each.code) for each in report.refused} == {
        (rateless.account, "NoTaxRate"),
        (priceless.account, "NoPriceInCurrency"),
        (nameless.account, "NoBillingAccount"),
    }
    assert all(each.detail for each in report.refused)
    assert [(each.cluster_id, each.seconds, each.gaps) for each in report.unwatched] == [(fleet_cluster.cluster_id, 7200, 1)]
    assert Invoice.objects.of(good).get().number == 1
    TaxRate.objects.filter(country="FR").update(valid_from="2026-01-01")
    report = close(JUNE, now=after() + timedelta(hours=1), actor="system:tests")
    assert (report.invoiced, len(report.refused)) == (2, 2)
    assert Invoice.objects.of(rateless).get().tax == 580


@pytest.mark.django_db
def test_a_tenant_suspended_or_closed_within_the_month_is_billed_for_what_was_agreed():
    version = sold.version()
    suspended, gone = sold.subscriber(version), sold.subscriber(version)
    lifecycle.suspend(suspended, now=into(10), actor="system:tests")
    lifecycle.close(gone, now=into(15), actor="system:tests")
    close(JUNE, **DONE)
    assert Invoice.objects.of(suspended).get().net == 2900
    assert Invoice.objects.of(gone).get().net == 1450
    assert close(JULY, now=after(JULY), actor="system:tests").invoiced == 1


@pytest.mark.django_db
def test_a_price_that_changes_within_the_month_is_two_phases_on_one_invoice(fleet_cluster):
    first = sold.version("29.00")
    tenant = sold.subscriber(first)
    lives(tenant, fleet_cluster)
    month_of_use(tenant, fleet_cluster, 120, "3000", days=30)
    dearer = catalogue.draft(first.plan, valid_from=into(10), now=into(10), actor="system:tests")
    told = {"currency": "EUR", "now": into(10), "actor": "system:tests"}
    catalogue.price(dearer, key="base", kind="flat", charged="advance", unit_price=Decimal("58.00"), **told)
    catalogue.price(dearer, key="devices", kind="active_device", charged="arrears", unit_price=Decimal("3.00"), included=20, **told)
    dearer = catalogue.publish(dearer, now=into(10), actor="system:tests")
    subscriptions.change_plan(tenant, dearer, now=into(15), actor="system:tests")
    assert close(JUNE, **DONE).invoiced == 1
    made = Invoice.objects.of(tenant).get()
    lines = [(line.version, line.component, line.what, line.amount) for line in made.lines.order_by("position")]
    assert lines == [
        (1, "base", "charge", 2900),
        (1, "base", "credit", -1450),
        (2, "base", "charge", 2900),
        (1, "devices", "charge", 6000),
        (1, "devices", "charge", 1000),
        (2, "devices", "charge", 15000),
    ]
    assert [phase["version"] for phase in made.terms] == [1, 2]


@pytest.mark.django_db
def test_what_was_finalised_by_hand_is_not_billed_again_and_what_was_voided_only_by_hand():
    tenant = sold.subscriber()
    made = invoicing.finalise(invoicing.draft(tenant.subscription, JUNE, now=after()), **DONE)
    assert close(JUNE, **DONE).invoiced == 1
    invoicing.void(made, reason="another address", **DONE)
    close(JUNE, **DONE)
    assert Invoice.objects.of(tenant).count() == 1
    second = invoicing.finalise(invoicing.draft(tenant.subscription, JUNE, now=after()), **DONE)
    assert (made.number, second.number) == (1, 2)


# ---- kills and races ----------------------------------------------------------------------------------------------------------
@contextmanager
def closers(folder: Path) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, **service_environment("worker"), "DJANGO_SETTINGS_MODULE": "acs.settings", "ACS_SELLER": json.dumps(SELLER)}
    command, pipe = [sys.executable, "-m", "tests.crash_close"], subprocess.PIPE
    with (
        (folder / "closers.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=log, text=True) as process,
    ):
        yield process
        process.stdin.close()


def ask(process: subprocess.Popen[str], *words: str) -> list[int]:
    print(*words, file=process.stdin, flush=True)
    return [] if words[-1] == "&" else [int(status) for status in process.stdout.readline().split()]


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_a_close_killed_anywhere_is_finished_by_the_next_one(tmp_path):
    version, count = sold.version(), 0
    places = itertools.islice(((number, when) for number in itertools.count(1) for when in ("before", "after")), 0, None, STEP)
    with closers(tmp_path) as process:
        for number, when in places:
            concessions.credit(sold.subscriber(version), 1000, reason="outage", **sold.TOLD)
            count += 1
            (status,) = ask(process, "2026-06", f"{number}:{when}")
            assert status in (0, -signal.SIGKILL)
            if status == 0:
                break
            held = numbers()
            assert held == list(range(1, len(held) + 1)), f"{number}:{when}"
            if count % 4 == 0:
                assert ask(process, "2026-06", "-") == [0]
                assert_whole(count)
        assert ask(process, "2026-06", "-") == [0]
    assert number > 20, "a close has more statements than that"
    assert_whole(count)
    assert {made.spent for made in Invoice.objects.across_tenants()} == {1000}


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_fifty_finalisations_at_once_of_which_many_are_killed_leave_no_gap_and_no_number_twice(tmp_path):
    version = sold.version()
    for _ in range(50):
        sold.subscriber(version)
    chance = random.Random(7)
    with closers(tmp_path) as process:
        for _ in range(5):
            for number in range(10):
                place = f"{chance.randrange(5, 200)}:{chance.choice(['before', 'after'])}" if number < 8 else "-"
                ask(process, "2026-06", place, "&")
            statuses = ask(process, "wait")
            assert set(statuses) <= {0, -signal.SIGKILL}
            held = numbers()
            assert held == list(range(1, len(held) + 1))
        assert ask(process, "2026-06", "-") == [0]
    assert_whole(50)


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_two_closes_at_once_share_the_month(tmp_path):
    version = sold.version()
    for _ in range(12):
        sold.subscriber(version)
    with closers(tmp_path) as process:
        for _ in range(4):
            ask(process, "2026-06", "-", "&")
        assert ask(process, "wait") == [0, 0, 0, 0]
    assert_whole(12)
    assert InvoiceLine.objects.count() == 12


@pytest.mark.django_db(transaction=True)
def test_a_number_taken_by_what_is_rolled_back_was_never_taken():
    made = invoicing.draft(sold.subscriber().subscription, JUNE, now=after())
    with transaction.atomic():
        assert invoicing.finalise(made, **DONE).number == 1
        transaction.set_rollback(True)
    assert Invoice.objects.across_tenants().get().state == "draft"
    assert invoicing.finalise(made, **DONE).number == 1
    assert invoicing.finalise(made, **DONE).number == 1
