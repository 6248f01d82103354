"""`manage.py billing`: a month closed, shown, set, corrected from the command line."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing.models import Invoice
from billing.rating.cycles import month_of, months_after
from tenants.models import AuditEvent
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.conftest import manage

MONTH = month_of(months_after(timezone.now(), -1))
TEXT = f"{MONTH.start:%Y-%m}"


def run(*words: str) -> str:
    out = StringIO()
    call_command("billing", *words, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_a_month_from_its_dry_run_to_a_credit_note(tmp_path, settings):
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    tenant = sold.subscriber(now=MONTH.start)
    assert "1 invoiced" in run("close", TEXT, "--dry-run")
    assert run("invoices").strip() == "no invoice"
    assert "to be paid: 34.51 EUR" in run("preview", tenant.account, "--month", TEXT)
    assert "34.51 EUR" in run("close", TEXT, "--workers", "1")
    made = Invoice.objects.of(tenant).get()
    assert made.name in run("invoices", tenant.account, "--month", TEXT, "--state", "finalised")
    assert "base" in run("show", made.name)
    run("pdf", made.name, "--out", str(tmp_path / "a.pdf"))
    run("csv", made.name, "--out", str(tmp_path / "a.csv"))
    run("html", made.name, "--out", str(tmp_path / "a.html"))
    assert "http://testserver/static/acs/invoice" in (tmp_path / "a.html").read_text()
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF-")
    assert made.name in (tmp_path / "a.csv").read_text()
    assert "nothing to correct" in run("correct", made.name, "asked")
    assert "corrected nothing" in run("correct", TEXT, "asked")
    assert "34.51 EUR credited by CN-" in run("credit", made.name, "the wrong company")


@pytest.mark.django_db
def test_drafts_are_made_and_finalised_by_hand_and_mistakes_are_told():
    tenant = sold.subscriber(now=MONTH.start)
    assert "(not issued)" in run("draft", tenant.account, "--month", TEXT)
    assert "INV-" in run("finalise", f"{tenant.account}/{TEXT}")
    made = Invoice.objects.of(tenant).get()
    run("uncollectible", made.name, "insolvent")
    assert AuditEvent.objects.of(tenant).get(verb="invoice.mark_uncollectible").detail["reason"] == "insolvent"
    for words in (
        ["void", made.name],
        ["show", "INV-1"],
        ["finalise", made.name],
        ["finalise", f"{tenant.account}/{TEXT}"],
        ["draft", "nobody"],
        ["csv", made.name, "--out", "/no/such/folder/a.csv"],
        ["pdf", made.name, "--out", "/no/such/folder/a.pdf"],
    ):
        with pytest.raises(CommandError):
            run(*words)
    with pytest.raises(CommandError):
        run("close", f"{timezone.now():%Y-%m}")


@pytest.mark.django_db(transaction=True)
def test_two_workers_close_a_month_with_the_rights_of_the_worker():
    version = sold.version()
    for _ in range(6):
        sold.subscriber(version, now=MONTH.start)
    said = manage("billing", "close", TEXT, "--workers", "2", role="worker", ACS_SELLER=json.dumps(SELLER)).stdout
    assert f"{TEXT}: 6 invoiced, 0 with nothing to bill, 0 not billed" in said
    assert sorted(Invoice.objects.across_tenants().values_list("number", flat=True)) == [1, 2, 3, 4, 5, 6]
