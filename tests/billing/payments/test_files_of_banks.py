"""Files as banks write them: entries without a reference, statements of several accounts, the encodings of spreadsheets and old programs."""

from __future__ import annotations

import codecs
from dataclasses import replace
from datetime import date

import pytest

from billing import corrections
from billing.errors import StatementRefused
from billing.models import Payment, Statement, StatementEntry
from billing.payments import importing
from billing.payments.delimited import Shape
from billing.payments.entries import Contents, Entry
from billing.payments.references import reference_of, shown
from tests.billing.payments.paid import DONE, IBAN, SPACES, again, balance, camt, entry, invoice, unread

pytestmark = pytest.mark.django_db
SECOND = "DE89370400440532013000"


def take(*entries: str, **more):
    return importing.from_camt(camt(*entries, **more), **DONE)


def bare(amount: str, text: str = "", **more: str) -> str:
    """An entry to which the bank gives no reference."""
    made = entry(amount, text, **more)
    return made.replace("<AcctSvcrRef>B1</AcctSvcrRef>", more.get("refs", ""))


def statement(account: str, *entries: str) -> str:
    return camt(*entries, account=account).decode().partition("</GrpHdr>")[2].partition("</BkToCstmrStmt>")[0]


def of_accounts(*statements: str) -> bytes:
    return f'<Document xmlns="{SPACES}08"><BkToCstmrStmt><GrpHdr/>{"".join(statements)}</BkToCstmrStmt></Document>'.encode()


# ---- entries without a reference -----------------------------------------------------------------------------------------------
def test_an_entry_without_a_reference_is_imported_and_known_in_another_file():
    made = invoice()
    first = bare("34.51", reference_of(made))
    assert take(first, entry("1.00", reference="B9")).new == 2
    assert again(made).state == "paid"
    done = take(bare("7.00", "later"), first)
    assert (done.new, done.known) == (1, 1)
    assert Payment.objects.across_tenants().count() == 1
    assert StatementEntry.objects.filter(bank_reference__startswith="derived:").count() == 2


def test_two_entries_that_are_truly_alike_both_count_and_stay_two():
    alike = bare("5.00", "coffee")
    assert take(alike).new == 1  # in the course of the day
    assert take(alike, alike, bare("6.00", "coffee")).new == 2  # at its end
    assert take(alike, alike).new == 0
    assert take(alike, alike, alike).new == 1
    assert StatementEntry.objects.filter(amount=500).count() == 3


@pytest.mark.parametrize(
    "other",
    [
        bare("5.01", "coffee"),
        bare("5.00", "tea"),
        bare("5.00", "coffee", name="Somebody"),
        bare("5.00", "coffee", direction="DBIT"),
        bare("5.00", "coffee", currency="USD"),
        bare("5.00", "coffee").replace("<ValDt><Dt>2026-07-03", "<ValDt><Dt>2026-07-04"),
        bare("5.00", "coffee").replace("<BookgDt><Dt>2026-07-03", "<BookgDt><Dt>2026-07-04"),
        bare("5.00", "coffee").replace("DE89370400440532013000", "DE75512108001245126199"),
    ],
)
def test_whatever_an_entry_says_tells_it_apart(other):
    take(bare("5.00", "coffee"))
    assert take(other, bare("5.00", "coffee")).new == 1


@pytest.mark.parametrize("refs", ["", "<AcctSvcrRef>NONREF</AcctSvcrRef>", "<NtryRef>1</NtryRef>"])
def test_a_number_within_the_file_is_no_reference(refs):
    """Some banks count entries from 1 in every file, others write one and the same contract into all of them."""
    take(bare("5.00", "one", refs=refs), bare("6.00", "two", refs=refs))
    take(bare("7.00", "three", refs=refs), bare("5.00", "one", refs=refs.replace("1", "2")))
    assert sorted(StatementEntry.objects.values_list("amount", flat=True)) == [500, 600, 700]


def test_transfers_of_an_entry_without_a_reference_are_told_apart():
    parts = "".join(f'<TxDtls><Amt Ccy="EUR">5.00</Amt><RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls>' for text in ("a", "a", "b"))
    batch = bare("15.00").split("<NtryDtls>")[0] + f"<NtryDtls>{parts}</NtryDtls></Ntry>"
    assert (take(batch).new, take(bare("1.00"), batch).new) == (3, 1)


# ---- several accounts -----------------------------------------------------------------------------------------------------------
def test_a_file_of_several_accounts_of_ours_is_imported_for_each(settings):
    settings.BANK_ACCOUNTS = [IBAN, SECOND]
    first, second = invoice(), invoice()
    data = of_accounts(
        statement(IBAN, entry("34.51", reference_of(first))),
        statement(SECOND, entry("34.51", reference_of(second)), entry("1.00", reference="B2")),
        statement(IBAN, entry("2.00", reference="B3")),
    )
    done = importing.from_camt(data, **DONE)
    assert [(each.account, each.entries_in_file) for each in done.statements] == [(IBAN, 2), (SECOND, 2)]
    assert (done.new, done.known, done.again) == (4, 0, False)
    assert {again(first).state, again(second).state} == {"paid"}
    assert importing.from_camt(data, **DONE).again is True
    assert (Statement.objects.count(), StatementEntry.objects.filter(bank_reference="B1").count()) == (2, 2)


def test_an_account_that_is_not_ours_refuses_the_whole_file_with_its_name():
    with pytest.raises(StatementRefused, match=SECOND):
        importing.from_camt(of_accounts(statement(IBAN, entry("1.00")), statement(SECOND, entry("2.00"))), **DONE)
    assert not StatementEntry.objects.exists()


def test_balances_are_added_up_for_each_statement_of_a_file(settings):
    settings.BANK_ACCOUNTS = [IBAN, SECOND]
    wrong = statement(SECOND, balance("OPBD", "5.00"), balance("CLBD", "9.00"), entry("1.00"))
    with pytest.raises(StatementRefused, match="missing"):
        importing.from_camt(of_accounts(statement(IBAN, entry("1.00")), wrong), **DONE)
    assert not StatementEntry.objects.exists()


# ---- CSV as it is ---------------------------------------------------------------------------------------------------------------
SPARKASSE = Shape(
    IBAN,
    {
        "account": "Auftragskonto",
        "date": "Valutadatum",
        "text": "Verwendungszweck",
        "reference": "Kundenreferenz (End-to-End)",
        "counterparty": "Beguenstigter/Zahlungspflichtiger",
        "counterparty_account": "Kontonummer/IBAN",
        "amount": "Betrag",
        "currency": "Waehrung",
    },
    delimiter=";",
    encoding="windows-1252",
    decimal=",",
    date_format="%d.%m.%y",
)


def sparkasse(text: str, name: str = "Müller & Söhne – Käse „vom Hof“") -> str:
    heading = (
        "Auftragskonto;Buchungstag;Valutadatum;Buchungstext;Verwendungszweck;Glaeubiger ID;Mandatsreferenz;Kundenreferenz (End-to-End);"
        "Beguenstigter/Zahlungspflichtiger;Kontonummer/IBAN;BIC (SWIFT-Code);Betrag;Waehrung;Info"
    )
    rows = [
        f'{IBAN};03.07.26;03.07.26;GUTSCHR. UEBERWEISUNG;{text} 34,51 €;;;E2E-4711;{name};DE75512108001245126199;SOGEDEFFXXX;34,51;EUR;"a;b"',
        f"{IBAN};03.07.26;03.07.26;ENTGELTABSCHLUSS;Entgelt “Juni”;;;E2E-4712;;;;-12,90;EUR;",
    ]
    return "\r\n".join([heading, *rows, ""])


@pytest.mark.parametrize("said", ["windows-1252", "latin-1"])
def test_a_file_of_windows_is_read_under_either_name(said):
    made = invoice()
    importing.from_csv(sparkasse(f"Rechnung {shown(reference_of(made))}").encode("cp1252"), replace(SPARKASSE, encoding=said), **DONE)
    row = StatementEntry.objects.get(bank_reference="E2E-4711")
    assert (row.counterparty, row.text.endswith("34,51 €")) == ("Müller & Söhne – Käse „vom Hof“", True)
    assert again(made).state == "paid"
    assert StatementEntry.objects.get(bank_reference="E2E-4712").text == "Entgelt “Juni”"


@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
def test_a_file_of_a_spreadsheet_may_begin_with_a_byte_order_mark(bom):
    data = bom + b'"ID","Amount","Day","Text"\n"TRANSFER-1","1,234.50","2026-07-03","Caf\xc3\xa9 \xe4\xb8\xad"\n'
    shape = Shape(IBAN, {"reference": "ID", "amount": "Amount", "date": "Day", "text": "Text"}, currency="EUR")
    importing.from_csv(data, shape, **DONE)
    row = StatementEntry.objects.get()
    assert (row.bank_reference, row.amount, row.text) == ("TRANSFER-1", 123450, "Café 中")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le"])
def test_a_file_of_two_bytes_a_sign_is_read_with_and_without_its_mark(codec):
    importing.from_csv(sparkasse("a").encode(codec), replace(SPARKASSE, encoding="utf-16"), **DONE)
    assert StatementEntry.objects.count() == 2


@pytest.mark.parametrize(
    ("written", "said", "told"),
    [
        ("utf-8", "windows-1252", "in utf-8, not in windows-1252"),
        ("utf-8", "latin-1", "in utf-8, not in latin-1"),
        ("utf-8-sig", "latin-1", "in utf-8, not in latin-1"),
        ("utf-8-sig", "utf-16", "in utf-8, not in utf-16"),
        ("utf-16", "windows-1252", "in utf-16, not in windows-1252"),
        ("utf-16-le", "windows-1252", "not in windows-1252"),
        ("utf-16-le", "utf-8", "not in utf-8"),
        ("cp1252", "utf-8", "not in utf-8"),
        ("cp1252", "utf-16", "not in utf-16"),
        ("cp850", "windows-1252", "not in windows-1252"),
        ("cp437", "latin-1", "not in latin-1"),
        ("mac_roman", "latin-1", "not in latin-1"),
    ],
)
def test_a_wrong_encoding_is_refused_and_nothing_stored(written, said, told):
    name = "Müller & Söhne, Käse" if written in ("cp850", "cp437", "mac_roman") else "Müller & Söhne – Käse"
    data = sparkasse("Juni", name).replace("€", "EUR").replace("“", "'").replace("”", "'").encode(written)
    with pytest.raises(StatementRefused) as refusal:
        importing.from_csv(data, replace(SPARKASSE, encoding=said), **DONE)
    assert told in unread(refusal)
    assert not Statement.objects.exists()


def test_names_of_the_east_in_a_file_of_windows_are_no_mistake():
    importing.from_csv(sparkasse("Juni", "Košice Žilina š.r.o.").encode("cp1252"), SPARKASSE, **DONE)
    assert StatementEntry.objects.get(bank_reference="E2E-4711").counterparty == "Košice Žilina š.r.o."


def test_a_file_may_have_more_entries_than_one_query_takes():
    """What left the account is matched by nobody, so that this is no test of time."""
    shape = Shape(IBAN, {"reference": "ref", "amount": "sum", "date": "day"}, ";", currency="EUR")
    known = importing.from_csv(b"ref;sum;day\nR65999;-1.00;2026-07-03\n", shape, **DONE)
    entries = (Entry(IBAN, f"R{number}", -100, "EUR", date(2026, 7, 3), aside="debit") for number in range(66_000))
    new = importing._new_ones(Contents(IBAN, "", tuple(entries)))
    assert (known.new, len(new)) == (1, 65_999)


def test_references_that_are_longer_than_we_keep_are_told_apart():
    rows = [f"{'x' * 120}{number};1.00;2026-07-0{number + 1};" for number in range(2)]
    shape = Shape(IBAN, {"reference": "ID", "amount": "Amount", "date": "Day"}, delimiter=";", currency="EUR")
    data = "\n".join(["ID;Amount;Day;Text", *rows]).encode()
    assert importing.from_csv(data, shape, **DONE).new == 2
    assert importing.from_csv(data + b"\n", shape, **DONE).known == 2


def test_a_correction_of_an_invoice_paid_by_such_an_entry_is_credited_to_the_balance():
    made = invoice()
    take(bare("34.51", reference_of(made)))
    assert corrections.credit_whole(again(made), reason="wrong", **DONE).credit_note.carried == 3451
