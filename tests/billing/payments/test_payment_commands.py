"""`manage.py payment`: statements, assignments, what came, and who does not pay."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing import concessions
from billing.models import ProviderEvent, StatementEntry
from billing.payments.references import reference_of, shown
from tests.billing.payments.paid import DONE, IBAN, again, camt, entry, invoice

pytestmark = pytest.mark.django_db


def payment(*words: object) -> str:
    out = StringIO()
    call_command("payment", *map(str, words), stdout=out)
    return out.getvalue()


def test_a_statement_is_imported_and_told_about(tmp_path):
    made, file = invoice(), tmp_path / "june.xml"
    file.write_bytes(camt(entry("34.51", reference_of(made)), entry("5.00", "hello", reference="B2")))
    told = payment("import", file, "--format", "camt")
    assert "2 new entries, 0 known before" in told
    assert "nothing to do" in payment("import", file, "--format", "camt")
    assert "5.00 EUR  unmatched (no_hint)  Acme Inc.: hello" in payment("unmatched")
    assert f"{made.name}  34.51 EUR" in payment("list", made.tenant.account)


def test_a_csv_needs_to_be_told_how_it_is_written(tmp_path):
    made, file = invoice(), tmp_path / "june.csv"
    file.write_text(f"Ref;Betrag;Datum;Zweck\n1;34,51;03.07.2026;{reference_of(made)}\n", encoding="utf-16")
    columns = [f"--column={each}" for each in ("reference=Ref", "amount=Betrag", "date=Datum", "text=Zweck")]
    how = ["--format=csv", *columns, "--delimiter=;", "--decimal=,", "--date-format=%d.%m.%Y", "--currency=EUR", f"--account={IBAN}"]
    with pytest.raises(CommandError, match="--encoding"):
        payment("import", file, *how)
    with pytest.raises(CommandError, match="utf-16, not in latin-1"):
        payment("import", file, *how, "--encoding=latin-1")
    assert "1 new entries" in payment("import", file, *how, "--encoding=utf-16")
    assert again(made).state == "paid"


def test_an_entry_is_assigned_in_part_and_undone(tmp_path):
    made, file = invoice(), tmp_path / "june.xml"
    file.write_bytes(camt(entry("50.00", "hello")))
    number = payment("import", file, "--format", "camt").splitlines()[1].split()[0]
    told = payment("assign", number, made.name, "--amount", "40.00")
    assert "40.00 EUR, 5.49 of it to the balance" in told
    assert "-40.00 EUR" in payment("undo", told.split()[0], "wrong")
    with pytest.raises(CommandError, match="no invoice has this number"):
        payment("assign", number, "INV-1999-000001")
    with pytest.raises(CommandError, match="There is no entry"):
        payment("assign", 10**9, made.name)
    with pytest.raises(CommandError, match="There is no payment"):
        payment("undo", 10**9, "x")


def test_how_an_invoice_is_paid_and_who_is_overdue_is_told():
    made = invoice()
    assert f"34.51 EUR  to {IBAN}, reference {shown(reference_of(made))}" in payment("ask", made.name)
    with pytest.raises(CommandError, match="ACS_STRIPE_KEY"):
        payment("ask", made.name, "--by", "stripe")
    assert payment("overdue") == ""
    assert made.tenant.account in payment("review", made.tenant.account)
    assert payment("reconcile").startswith("0 lines")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CommandError, match="cannot be read"):
        payment("import", tmp_path / "none.xml", "--format", "camt")


def test_money_that_left_takes_back_a_payment_pays_out_and_is_released(tmp_path):
    made, file = invoice(), tmp_path / "june.xml"
    file.write_bytes(camt(entry("34.51", reference_of(made)), entry("20.00", "returned", reference="D1", direction="DBIT")))
    payment("import", file, "--format", "camt")
    gone = StatementEntry.objects.get(bank_reference="D1").pk
    paid = payment("list", made.tenant.account).split()[0]
    assert "-15.00 EUR" in payment("take-back", gone, paid, "--amount", "15.00")
    assert again(made).state == "finalised"
    with pytest.raises(CommandError, match="below nothing"):
        payment("pay-out", gone, made.tenant.account)
    concessions.credit(made.tenant, 500, reason="outage", **DONE)
    assert "5.00 EUR" in payment("pay-out", gone, made.tenant.account)
    assert "unmatched (undone)" in payment("release", gone, "wrong")
    assert (again(made).state, concessions.balance_of(made.tenant, "EUR")) == ("paid", 500)


def test_a_payment_is_undone_and_brought_back(tmp_path):
    made, file = invoice(), tmp_path / "june.xml"
    file.write_bytes(camt(entry("34.51", reference_of(made))))
    payment("import", file, "--format", "camt")
    paid = payment("list").split()[0]
    payment("undo", paid, "wrong")
    assert again(made).state == "finalised"
    assert "34.51 EUR" in payment("bring-back", paid, "it was right")
    assert again(made).state == "paid"
    with pytest.raises(CommandError, match="name the counter-entry"):
        payment("bring-back", paid, "again")


def test_messages_that_were_kept_are_shown_and_looked_at_again():
    ProviderEvent.objects.create(
        id="evt_1", kind="customer.created", object_id="cus_1", said_at=DONE["now"], received_at=DONE["now"], state="kept", detail="why"
    )
    assert "customer.created cus_1  kept  why" in payment("messages")
    assert "ignored" in payment("again", "evt_1")
    with pytest.raises(CommandError, match="There is no message"):
        payment("again", "evt_2")
