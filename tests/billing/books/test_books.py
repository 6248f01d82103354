"""The books: what bookkeepers take out agrees with what was billed and paid, and the check sees whatever somebody else wrote into the tables."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from io import StringIO

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from acs.billing_tasks import check_books
from billing import corrections, invoicing
from billing.books import checks, receivables, sales
from billing.models import DeviceDay, UsageHour
from billing.rating.cycles import month_of
from placement.models import Alert
from tests.api.callers import operator, program_of, said
from tests.billing import sold
from tests.billing.books import kept
from tests.billing.payments import paid
from tests.conftest import url_as

pytestmark = pytest.mark.django_db
NOW = paid.NOW
LATER = NOW + timedelta(days=60)


@pytest.fixture(autouse=True)
def _ours(settings):
    kept.ours(settings)


@pytest.fixture
def books():
    return kept.six()


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def run(*words):
    out = StringIO()
    call_command("books", *words, stdout=out)
    return out.getvalue()


def test_the_journal_has_every_document_of_its_month_and_what_was_taken_back_in_it(books):
    rows = read(sales.journal(month_of(NOW)))
    assert [row["number"] for row in rows] == [f"INV-2026-00000{n}" for n in range(1, 7)] + ["CN-2026-000001", books[5].name]
    assert {row["gross"] for row in rows[:6]} == {"34.51"}
    assert (rows[0]["net"], rows[0]["tax"], rows[0]["tax_percent"], rows[0]["country"]) == ("29.00", "5.51", "19.00", "DE")
    assert (rows[6]["gross"], rows[6]["corrects"]) == ("-34.51", books[4].name)
    assert (rows[7]["gross"], rows[7]["kind"]) == ("-34.51", "void")
    assert read(sales.journal(month_of(NOW + timedelta(days=40)))) == []


def test_a_journal_that_was_read_stays_as_it_is_when_an_invoice_is_taken_back_later(books):
    before = sales.journal(month_of(NOW))
    invoicing.void(books[0], now=LATER, actor="system:tests")
    assert sales.journal(month_of(NOW)) == before
    assert [(row["number"], row["kind"], row["gross"]) for row in read(sales.journal(month_of(LATER)))] == [
        (books[0].name, "void", "-34.51")
    ]


def test_what_is_open_is_what_was_invoiced_less_what_came(books):
    found = receivables.receivables(now=LATER)
    assert [(each.invoice.name, each.open) for each in found] == [(books[0].name, 3451), (books[2].name, 2451), (books[3].name, 3451)]
    assert [each.open for each in found] == [corrections.open_amount(each.invoice) for each in found]
    assert receivables.by_age(found) == {"EUR": {"not due": 0, "0": 0, "30": 9353, "60": 0, "90": 0}}
    assert receivables.by_age(receivables.receivables(now=NOW))["EUR"]["not due"] == 9353


def test_spreadsheets_run_nothing_that_a_customer_wrote_and_read_what_is_credited(books):
    tenant = sold.tenant(name='=HYPERLINK("https://evil.example")')
    from billing import subscriptions

    subscriptions.start(tenant, sold.version(), **sold.TOLD)
    paid.invoice(tenant)
    rows = read(sales.journal(month_of(NOW)))
    assert [row["customer"] for row in rows if "HYPERLINK" in row["customer"]] == ['\'=HYPERLINK("https://evil.example")']
    assert [row["gross"] for row in rows if row["kind"] == "credit_note"] == ["-34.51"]


def test_everything_agrees(books):
    assert checks.check(now=LATER) == []
    assert "8 laws hold" in run("check")


TABLES = ("invoice", "invoiceline", "payment", "creditentry", "statemententry", "numberseries")


def break_in(statement):
    """As somebody does who owns the tables."""
    with psycopg.connect(url_as("acs_owner")) as owner:
        for table in TABLES:
            owner.execute(f"alter table billing_{table} disable trigger user")
        owner.execute(statement)
        for table in TABLES:
            owner.execute(f"alter table billing_{table} enable trigger user")


@pytest.mark.parametrize(
    ("law", "statement"),
    [
        ("numbers-without-gaps", "update billing_invoice set number = 9 where name = 'INV-2026-000001'"),
        ("numbers-without-gaps", "update billing_numberseries set last = last + 1 where series = 'INV'"),
        ("numbers-without-gaps", "delete from billing_numberseries where series = 'CN'"),
        ("lines-and-sums", "update billing_invoiceline set amount = amount + 1 where invoice_id in (select id from billing_invoice where name = 'INV-2026-000001')"),
        ("lines-and-sums", "update billing_invoice set net = net + 1, tax = tax - 1 where name = 'INV-2026-000001'"),
        ("state-and-payments", "update billing_invoice set state = 'paid' where name = 'INV-2026-000001'"),
        ("state-and-payments", "update billing_invoice set state = 'finalised' where name = 'INV-2026-000002'"),
        ("credited-at-most-what-was-invoiced", "update billing_invoice set gross = -5000, net = -5000, tax = 0, set_off = 5000 where name = 'CN-2026-000001'"),
        ("credit-and-what-moved-it", "delete from billing_creditentry where reference like 'payment:%'"),
        ("no-balance-below-nothing", "update billing_creditentry set amount = -500 where reason = 'outage'"),
        ("entries-and-payments", "update billing_statemententry set state = 'matched' where bank_reference = 'B3'"),
        ("entries-and-payments", "update billing_payment set amount = amount + 1, credited = 1 where entry_id is not null and amount = 1000"),
    ],
)  # fmt: skip
@pytest.mark.django_db(transaction=True)
def test_a_hand_in_the_tables_is_seen(books, law, statement):
    break_in(statement)
    assert law in {each.law for each in checks.check(now=LATER)}
    with pytest.raises(CommandError, match="do not agree"):
        run("check")


def test_hours_that_are_not_those_of_the_devices_are_seen(fleet_cluster):
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    from billing.metering import partitions

    partitions.make(now, now)
    tenant = sold.tenant()
    where = {"tenant": tenant, "cluster_id": fleet_cluster.cluster_id}
    UsageHour.objects.create(hour=now, seconds=60, **where)
    assert {each.law for each in checks.check(now=now)} == {"hours-and-days"}
    DeviceDay.objects.create(day=now.date(), device_id=tenant.pk, seconds=60, **where)
    assert checks.check(now=now) == []


def test_the_command_writes_files_and_tells_ages(books, tmp_path):
    assert run("journal", "2026-07").startswith("number,kind")
    run("journal", "2026-07", "--out", str(tmp_path / "j.csv"))
    assert len(read((tmp_path / "j.csv").read_text())) == 8
    told = run("receivables", "--out", str(tmp_path / "r.csv"))
    assert "93.53" in told
    assert len(read((tmp_path / "r.csv").read_text())) == 3


def test_operators_programs_read_the_books_and_nobody_else(books):
    chief, mine = operator("billing:read"), program_of(books[0].tenant)
    assert len(read(chief.get("billing/journal?month=2026-07").content.decode())) == 8
    assert len(read(chief.get("billing/receivables").content.decode())) == 3
    told = chief.get("billing/checks").json()
    assert (told["findings"], len(told["laws"])) == ([], 8)
    for name in ("journal?month=2026-07", "receivables", "checks"):
        assert said(mine.get(f"billing/{name}")) == (404, "not-found")
    assert read(chief.get("billing/journal").content.decode()) == []
    assert said(chief.get("billing/journal?month=0000-01"))[0] == 400


@pytest.mark.django_db(transaction=True)
def test_operators_are_alerted_every_night_until_the_books_agree_again(books):
    check_books()
    assert not Alert.objects.exists()
    break_in("update billing_numberseries set last = last + 1 where series = 'INV'")
    check_books()
    check_books()
    alert = Alert.objects.get(kind="books", closed_at=None)
    assert alert.facts["numbers-without-gaps"] == 1
    break_in("update billing_numberseries set last = last - 1 where series = 'INV'")
    check_books()
    assert not Alert.objects.filter(closed_at=None).exists()
