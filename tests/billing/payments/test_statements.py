"""Statements of banks: read whole or refused, each entry once, matched by reference, by number and amount, or left to people."""

from __future__ import annotations

import pytest

from billing import concessions, corrections, invoicing
from billing.errors import StatementRefused
from billing.models import CreditEntry, NumberSeries, Payment, Statement, StatementEntry
from billing.owed import open_amount
from billing.payments import assigning, given, importing, matching
from billing.payments.delimited import Shape
from billing.payments.references import found_in, made_of, reference_of, shown
from tenants.errors import MalformedRequest, WrongState
from tenants.models import AuditEvent
from tests.billing.payments.paid import DONE, IBAN, again, balance, camt, entry, invoice, unread

pytestmark = pytest.mark.django_db
COLUMNS = {"reference": "Ref", "amount": "Betrag", "date": "Datum", "text": "Zweck", "currency": "Währung", "counterparty": "Name"}
GERMAN = Shape(IBAN, COLUMNS, delimiter=";", encoding="latin-1", decimal=",", date_format="%d.%m.%Y")


def take(*entries: str, **more):
    return importing.from_camt(camt(*entries, **more), **DONE)


def state(reference="B1"):
    row = StatementEntry.objects.get(bank_reference=reference)
    return row.state, row.reason


def table(*rows: str, encoding="latin-1") -> bytes:
    return "\r\n".join(["Ref;Betrag;Währung;Datum;Zweck;Name", *rows, ""]).encode(encoding)


def nothing_is_stored() -> bool:
    return not Statement.objects.exists() and not StatementEntry.objects.exists() and not Payment.objects.across_tenants().exists()


def test_a_reference_has_check_digits_and_is_found_in_what_banks_make_of_it():
    reference = made_of(42)
    assert found_in(f"Rechnung {shown(reference)}, danke") == [reference]
    assert found_in(f"{reference[:9].lower()}\n{reference[9:]}") == [reference]
    assert found_in(reference[:-1] + "3") == []
    assert found_in(f"{reference} {made_of(43)}") == [reference, made_of(43)]


@pytest.mark.parametrize("version", ["02", "04", "08"])
def test_a_transfer_with_the_reference_pays_the_invoice(version):
    made = invoice()
    done = take(entry("34.51", f"thanks {shown(reference_of(made))}"), version=version)
    assert (done.new, done.known, done.again) == (1, 0, False)
    assert again(made).state == "paid"
    assert state() == ("matched", "")
    payment = Payment.objects.of(made.tenant).get()
    assert (payment.amount, payment.credited, payment.note[:9]) == (3451, 0, "Acme Inc.")
    assert AuditEvent.objects.across_tenants().filter(verb__in=["payment.enter", "statement.import", "invoice.mark_paid"]).count() == 3


def test_the_same_file_twice_is_a_no_op_and_the_same_entry_in_another_file_is_known():
    made = invoice()
    paid = entry("10.00", reference_of(made))
    assert take(paid).new == 1
    assert (take(paid).again, take(paid).new) == (True, 0)
    other = take(paid, entry("24.51", reference_of(made), reference="B2"))
    assert (other.new, other.known) == (1, 1)
    assert again(made).state == "paid"
    assert Payment.objects.of(made.tenant).count() == 2


def test_parts_add_up_and_what_is_more_goes_to_the_balance():
    made = invoice()
    take(entry("20.00", reference_of(made)))
    assert (again(made).state, open_amount(again(made))) == ("finalised", 1451)
    take(entry("20.00", reference_of(made), reference="B2"))
    assert again(made).state == "paid"
    assert concessions.balance_of(made.tenant, "EUR") == 549
    last = Payment.objects.of(made.tenant).first()
    assert (last.amount, last.credited) == (2000, 549)
    assert CreditEntry.objects.of(made.tenant).get(reference=f"payment:{last.pk}").amount == 549


def test_the_number_of_a_millionth_invoice_is_known():
    NumberSeries.objects.create(series="INV", year=2026, last=999_999)
    made = invoice()
    assert made.name == "INV-2026-1000000"
    take(entry("34.51", f"Invoice {made.name}"))
    assert again(made).state == "paid"


def test_a_number_in_the_text_pays_only_the_very_amount():
    made = invoice()
    take(entry("34.50", f"Re. {made.name.lower()}"))
    assert state() == ("unmatched", "amount")
    take(entry("34.51", f"Re. {made.name}", reference="B2"))
    assert state("B2") == ("matched", "")
    take(entry("34.51", f"Re. {made.name}", reference="B3"))
    assert state("B3") == ("unmatched", "not_open")


def test_several_references_pay_several_invoices_to_their_very_sum():
    first, second = invoice(), invoice()
    both = f"{reference_of(first)} {reference_of(second)}"
    take(entry("69.03", both), entry("69.02", both, reference="B2"))
    assert (state(), state("B2")) == (("unmatched", "several"), ("matched", ""))
    assert {again(first).state, again(second).state} == {"paid"}


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (entry("34.51", "hello"), ("unmatched", "no_hint")),
        (entry("34.51", made_of(10**9)), ("unmatched", "unknown")),
        (entry("34.51", "INV-2020-000009"), ("unmatched", "unknown")),
        (entry("34.51", direction="DBIT"), ("aside", "debit")),
        (entry("34.51", extra="<RvslInd>true</RvslInd>"), ("aside", "reversal")),
    ],
)
def test_what_cannot_be_matched_is_kept_for_people(one, why):
    take(one)
    assert state() == why
    assert assigning.unmatched().count() == 1


def test_another_currency_is_kept_aside():
    made = invoice()
    take(entry("34.51", reference_of(made), currency="USD"))
    assert state() == ("unmatched", "currency")
    with pytest.raises(WrongState):
        assigning.assign(StatementEntry.objects.get(), made, **DONE)
    assert again(made).state == "finalised"


def test_entries_that_are_not_booked_yet_are_left_out():
    done = take(entry("1.00"), entry("2.00", reference="B2", state="PDNG"), entry("3.00", reference="B3", state="<Cd>BOOK</Cd>"))
    assert (done.new, done.skipped) == (2, 1)


def test_transfers_of_one_entry_are_told_apart_by_their_amounts():
    first, second = invoice(), invoice()
    parts = "".join(
        f'<TxDtls><Amt Ccy="EUR">34.51</Amt><RmtInf><Strd><CdtrRefInf><Ref>{reference_of(each)}</Ref></CdtrRefInf></Strd></RmtInf></TxDtls>'
        for each in (first, second)
    )
    batch = entry("69.02").split("<NtryDtls>")[0] + f"<NtryDtls>{parts}</NtryDtls></Ntry>"
    take(batch)
    assert (state("B1/1"), state("B1/2")) == (("matched", ""), ("matched", ""))
    unclear = entry("69.03", reference="B9").split("<NtryDtls>")[0] + f"<NtryDtls>{parts}</NtryDtls></Ntry>"
    take(unclear)
    assert state("B9") == ("aside", "batch")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (camt(entry("1.00"))[:-90], "no whole XML"),
        (camt(entry("1.00", name="Müller")).replace(b"UTF-8", b"UTF-16", 1), "XML"),
        (camt(entry("1.00", name="Müller"), encoding="ISO-8859-1").replace(b"ISO-8859-1", b"UTF-8", 1), "no whole XML"),
        (camt(entry("1.00"), version="09"), "001.02"),
        (camt(entry("1.00")).replace(b"<Document", b'<!DOCTYPE a [<!ENTITY b "c">]><Document'), "not read"),
        (camt(entry("1.00"), account="FR1420041010050500013M02606"), "no account of ours"),
        (camt(entry("1.005")), "no amount"),
        (camt(entry("1,00")), "no amount"),
        (camt(entry("1.00"), entry("2.00")), "two different entries"),
        (camt(entry("1.00"), balances=balance("OPBD", "5.00") + balance("CLBD", "9.00")), "missing"),
        (camt(entry("1.00")).replace(b"<Dt>2026-07-03</Dt>", b"<Dt>3 July</Dt>"), "value date"),
    ],
)
def test_a_file_that_is_wrong_is_refused_whole(data, said):
    with pytest.raises(StatementRefused) as refusal:
        importing.from_camt(data, **DONE)
    assert said in unread(refusal)
    assert nothing_is_stored()


def test_a_file_that_says_something_else_of_a_known_entry_is_refused():
    take(entry("1.00"))
    with pytest.raises(StatementRefused, match="known with another amount"):
        take(entry("2.00"), entry("3.00", reference="B2"))
    assert StatementEntry.objects.count() == 1


def test_csv_is_read_as_the_operator_says_it_is_written():
    made = invoice()
    rows = (
        f"7;34,51;EUR;03.07.2026;Rechnung {reference_of(made)};Müller & Söhne",
        "8;-1.234,50;EUR;03.07.2026;Miete;Haus",
    )
    done = importing.from_csv(table(*rows), GERMAN, **DONE)
    assert done.new == 2
    assert again(made).state == "paid"
    paid, rent = StatementEntry.objects.get(bank_reference="7"), StatementEntry.objects.get(bank_reference="8")
    assert (paid.counterparty, str(paid.value_date)) == ("Müller & Söhne", "2026-07-03")
    assert (rent.amount, rent.state, rent.reason) == (-123450, "aside", "debit")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csv_of_the_other_encodings_is_read_too(encoding):
    shape = Shape(IBAN, COLUMNS, delimiter=";", encoding=encoding, decimal=",", date_format="%d.%m.%Y")
    importing.from_csv(table("7;1,00;EUR;03.07.2026;;Müller", encoding=encoding), shape, **DONE)
    assert StatementEntry.objects.get().counterparty == "Müller"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (table("7;1,00;EUR;03.07.2026;;Müller", encoding="utf-8"), "in utf-8"),
        (table("7;1,00;EUR;03.07.2026;;Müller", encoding="utf-16"), "in utf-16"),
        (table("7;1,00;EUR;03.07.2026;;M\x81ller"), "not in latin-1"),  # DOS
        (table("7;1,00;EUR;03.07.2026;;K\x84fer"), "not in latin-1"),
        (table("7;1,00;EUR;03.07.2026;;K\x8afer"), "not in latin-1"),  # an old Mac
        (table("7;1,00;EUR;03.07.2026;;a", '8;1,00;EUR;03.07.2026;"b'), "cut off"),
        (table("7;1,00;EUR;03.07.2026;;a", "8;1,00;EU"), "columns in place of"),
        (table("7;1.5;EUR;03.07.2026;;a"), "no amount"),
        (table("7;1,00;EUR;2026-07-03;;a"), "no date"),
        (table("7;1,00;EURO;03.07.2026;;a"), "no currency"),
        (table("7;1,00;EUR;03.07.2026;;a", "7;2,00;EUR;03.07.2026;;a"), "two different entries"),
        (table(";1,00;EUR;03.07.2026;;a"), "no reference"),
        (table().replace(b"Betrag", b"Summe"), "heading"),
    ],
)
def test_a_csv_that_is_wrong_is_refused_whole(data, said):
    with pytest.raises(StatementRefused) as refusal:
        importing.from_csv(data, GERMAN, **DONE)
    assert said in unread(refusal)
    assert nothing_is_stored()


def test_a_csv_with_an_entry_of_another_account_is_refused():
    shape = Shape(IBAN, {**COLUMNS, "account": "Konto"}, delimiter=";", encoding="latin-1", decimal=",", date_format="%d.%m.%Y")
    data = "Ref;Betrag;Währung;Datum;Zweck;Name;Konto\n7;1,00;EUR;03.07.2026;;a;FR14\n".encode("latin-1")
    with pytest.raises(StatementRefused, match="another account"):
        importing.from_csv(data, shape, **DONE)


def test_an_entry_repeated_in_a_file_counts_once():
    assert importing.from_csv(table(*["7;1,00;EUR;03.07.2026;;a"] * 2), GERMAN, **DONE).new == 1


def test_an_operator_assigns_what_was_left_in_parts_too():
    first, second = invoice(), invoice()
    take(entry("69.02", "June"))
    row = StatementEntry.objects.get()
    assigning.assign(row, first, amount=3451, **DONE)
    assert (again(first).state, state(), given.left_of(row)) == ("paid", ("unmatched", "no_hint"), 3451)
    with pytest.raises(MalformedRequest):
        assigning.assign(row, second, amount=3452, **DONE)
    assigning.assign(row, second, **DONE)
    assert (again(second).state, state()) == ("paid", ("matched", ""))
    with pytest.raises(WrongState):
        assigning.assign(row, second, **DONE)


def test_a_wrong_assignment_is_undone_by_a_counter_entry_and_assigned_anew():
    wrong, right = invoice(), invoice()
    take(entry("40.00", "June"))
    row = StatementEntry.objects.get()
    payment = assigning.assign(row, wrong, **DONE)
    assert concessions.balance_of(wrong.tenant, "EUR") == 549
    counter = assigning.undo(payment, reason="the other one", **DONE)
    assert (counter.amount, counter.credited, counter.undoes) == (-4000, -549, payment)
    assert assigning.undo(payment, reason="again", **DONE) == counter
    assert (again(wrong).state, open_amount(again(wrong)), concessions.balance_of(wrong.tenant, "EUR")) == ("finalised", 3451, 0)
    assert state() == ("unmatched", "undone")
    assigning.assign(row, right, **DONE)
    assert (again(right).state, Payment.objects.across_tenants().count()) == ("paid", 3)
    with pytest.raises(WrongState):
        assigning.undo(counter, reason="no", **DONE)


def test_nothing_is_undone_of_which_the_balance_has_gone():
    made = invoice()
    take(entry("40.00", reference_of(made)))
    concessions.credit(made.tenant, -100, reason="paid out", **DONE)
    with pytest.raises(WrongState):
        assigning.undo(Payment.objects.across_tenants().get(), reason="no", **DONE)


def test_an_invoice_of_which_something_is_paid_is_not_voided_but_credited():
    made = invoice()
    take(entry("10.00", reference_of(made)))
    with pytest.raises(WrongState):
        invoicing.void(again(made), **DONE)
    note = corrections.credit_whole(again(made), reason="wrong", **DONE).credit_note
    assert (note.set_off, note.carried, again(made).state) == (2451, 1000, "paid")
    assert concessions.balance_of(made.tenant, "EUR") == 1000


def test_money_for_a_void_invoice_goes_to_the_balance():
    made = invoice()
    invoicing.void(made, **DONE)
    take(entry("34.51", reference_of(made)))
    assert (again(made).state, concessions.balance_of(made.tenant, "EUR")) == ("void", 3451)


def test_what_waits_after_a_crash_is_matched_once():
    made = invoice()
    take(entry("34.51", reference_of(made)))
    assert matching.match_waiting(**DONE) == 0
    StatementEntry.objects.update(state="waiting")
    assert matching.match_waiting(**DONE) == 0  # the money is assigned already
    assert Payment.objects.across_tenants().count() == 1


@pytest.mark.parametrize("change", [{"amount": 1}, {"note": "x"}])
def test_the_ledger_is_append_only(change):
    from django.db import DatabaseError, transaction

    made = invoice()
    take(entry("34.51", reference_of(made)))
    for rows in (Payment.objects.across_tenants(), StatementEntry.objects.all()):
        with pytest.raises(DatabaseError), transaction.atomic():
            rows.delete()
    with pytest.raises(DatabaseError), transaction.atomic():
        Payment.objects.across_tenants().update(**change)
