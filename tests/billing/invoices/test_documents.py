"""Invoices as documents: PDF in English and Chinese, CSV; the fonts that they need."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.utils import translation

from billing import accounts, concessions, corrections, invoicing
from billing.closing import close
from billing.documents import pdf, sheet, telling
from billing.errors import NoInvoiceFont
from billing.models import Invoice
from tests.billing import sold
from tests.billing.invoices.used import after, lives, month_of_use
from tests.billing.rating.bills import JUNE

pytestmark = pytest.mark.django_db
DONE = {"now": after(), "actor": "system:tests"}
FONTS = any(Path("/usr/share/fonts").rglob("NotoSansCJK*"))
needs_fonts = pytest.mark.skipif(not FONTS, reason="fonts-noto-cjk is not installed")


@pytest.fixture
def invoice_of(fleet_cluster):
    def make(**account):
        tenant = sold.subscriber()
        if account:
            accounts.put(tenant, **account, **sold.TOLD)
        lives(tenant, fleet_cluster)
        month_of_use(tenant, fleet_cluster, 137, "71234.25", days=30)
        concessions.credit(tenant, 1000, reason="outage", **sold.TOLD)
        close(JUNE, **DONE)
        return Invoice.objects.of(tenant).get()

    return make


def read(document: bytes, name: str) -> str:
    """The text of a PDF, where poppler is there to read it; pictures of it in ACS_PICTURES, where that is set."""
    assert document.startswith(b"%PDF-")
    if folder := os.environ.get("ACS_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        subprocess.run(["pdftoppm", "-png", "-r", "80", "-", str(Path(folder) / name)], input=document, check=True)
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    return subprocess.run(["pdftotext", "-layout", "-", "-"], input=document, capture_output=True, check=True).stdout.decode()


def test_an_english_invoice_says_who_what_and_how_much(invoice_of):
    made = invoice_of(name="Acme *bold* #inc", address="Main Street 1\n10115 Berlin", tax_id="DE136695976")
    document = pdf.render(invoicing.paper_of(made))
    text = read(document, "english")
    for said in (
        "Invoice",
        made.name,
        "Fleet GmbH",
        "Acme *bold* #inc",
        "DE136695976",
        "Active devices",
        "€120.00",
        "€288.47",
        "€54.81",
        "€343.28",
    ):
        assert said in text, said
    for said in ("€333.28", "1 Jun 2026", "30 Jun 2026", "IBAN DE02", "71,234.25", "51,234.25"):
        assert (said in text) == (said != "71,234.25"), said
    assert pdf.render(invoicing.paper_of(made)) == document, "the same paper is the same bytes"


def test_a_void_invoice_asks_for_nothing(invoice_of):
    made = invoice_of()
    invoicing.void(made, **DONE)
    text = str(telling.tell(invoicing.paper_of(Invoice.objects.across_tenants().get(pk=made.pk))))
    assert "is void" in text
    for said in ("IBAN", "Please transfer", "'Due'", "Payment reference"):
        assert said not in text


@needs_fonts
def test_a_chinese_invoice_is_set_in_a_chinese_font(invoice_of):
    made = invoice_of(name="上海测试有限公司", address="南京东路 1 号\n上海", language="zh-hans")
    document = pdf.render(invoicing.paper_of(made))
    text = read(document, "chinese")
    for said in ("上海测试有限公司", "南京东路", "2026年6月1日", "€343.28"):
        assert said in text.replace(" ", ""), said
    assert b"NotoSansCJK" in document


def test_a_chinese_invoice_without_a_font_is_a_clear_error(invoice_of, settings, tmp_path):
    settings.INVOICE_FONTS = [str(tmp_path)]
    made = invoice_of(name="上海测试有限公司", language="zh-hans")
    with pytest.raises(NoInvoiceFont, match="ACS_INVOICE_FONTS") as error:
        pdf.render(invoicing.paper_of(made))
    assert str(tmp_path) in str(error.value)
    plain = sold.subscriber()
    assert read(pdf.render(invoicing.preview(plain, JUNE, after())), "embedded").count("Preview of an invoice") == 1
    assert [str(tmp_path)] == configured.INVOICE_FONTS


def test_a_credit_note_names_invoice_and_lines(invoice_of):
    made = invoice_of()
    note = corrections.credit_whole(made, reason="the wrong company", **DONE).credit_note
    text = read(pdf.render(invoicing.paper_of(note)), "credit")
    for said in (
        "Credit note",
        note.name,
        "Corrects",
        made.name,
        "the wrong company",
        "line 2 of the invoice: €120.00, now €0.00",
        "-€343.28",
    ):
        assert said in text, said


def test_a_csv_has_a_row_for_each_line_and_no_formulas(invoice_of):
    made = invoice_of()
    rows = list(csv.DictReader(io.StringIO(sheet.render(invoicing.paper_of(made)))))
    assert [(row["component"], row["quantity"], row["amount"]) for row in rows] == [
        ("base", "1", "29.00"),
        ("devices", "80", "120.00"),
        ("devices", "37", "37.00"),
        ("hours", "51234.25", "102.47"),
    ]
    assert {row["number"] for row in rows} == {made.name}
    for formula in ("=cmd()", "\n=cmd()", "＝cmd()"):
        assert sheet._text(formula) == f"'{formula}"


def test_money_is_written_as_the_customers_language_does(invoice_of):
    made = invoice_of()
    assert telling.amount(-1909, made) == "-€19.09"
    made.currency, made.language = "JPY", "zh-hans"
    assert telling.amount(1988, made) == "JP¥1,988"
    with translation.override("en"):
        assert telling.tell(invoicing.paper_of(made))["language"] == "zh"
