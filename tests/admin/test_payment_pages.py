"""The operators' pages of payments: a statement is uploaded, an entry assigned, a payment undone, a tenant reviewed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from billing import concessions, dunning
from billing.models import DunningCase, DunningHold, Notice, Payment, ProviderEvent, Statement, StatementEntry
from billing.payments.references import reference_of
from tests.billing.invoices.conftest import SELLER
from tests.billing.payments.paid import IBAN, again, camt, entry, invoice

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(settings):
    settings.SELLER, settings.BANK_ACCOUNTS, settings.METERING_EVIDENCE_MONTHS = SELLER, [IBAN], 1200
    return invoice()


def page(model, name, *arguments):
    return reverse(f"admin:billing_{model._meta.model_name}_{name}", args=arguments)


def upload(office, data: bytes, **said):
    said = {"format": "camt", "decimal": ",", **said}
    return office.post(page(Statement, "add"), {"file": SimpleUploadedFile("june.xml", data), **said})


def test_a_statement_is_uploaded_and_matched(office, made):
    assert "multipart/form-data" in office.get(page(Statement, "add")).content.decode()
    assert upload(office, camt(entry("34.51", reference_of(made)))).status_code == 302
    assert again(made).state == "paid"
    text = office.get(page(StatementEntry, "change", StatementEntry.objects.get().pk)).content.decode()
    assert made.name in text
    upload(office, camt(entry("1250.00", reference_of(made), reference="B2")))
    more = Payment.objects.across_tenants().get(credited__gt=0)
    text = office.get(page(Payment, "change", more.pk)).content.decode()
    assert text.count("1250.00 EUR") >= 2  # what came, and what of it went to the balance
    assert "125000" not in text
    assert "/act/assign/" not in text


def test_a_csv_is_uploaded_with_how_the_bank_writes_it(office, made):
    data = f"Ref;Betrag;Datum;Zweck\n1;34,51;03.07.2026;{reference_of(made)}\n".encode()
    columns = "reference=Ref\namount=Betrag\ndate=Datum\ntext=Zweck"
    said = {"format": "csv", "account": IBAN, "encoding": "utf-8", "delimiter": ";", "date_format": "%d.%m.%Y", "currency": "EUR"}
    assert "columns" in upload(office, data, **said).context["form"].errors
    assert "columns" in upload(office, data, **said, columns="sum=Betrag").context["form"].errors
    assert upload(office, data, **said, columns=columns).status_code == 302
    assert again(made).state == "paid"


def test_a_file_that_cannot_be_read_is_refused_on_the_page(office, made):
    assert upload(office, b"<a/>").context["form"].errors
    assert not Statement.objects.exists()


def test_an_entry_is_assigned_and_its_payment_undone(office, made):
    upload(office, camt(entry("34.51", "hello")))
    row = StatementEntry.objects.get()
    assert "/act/assign/" in office.get(page(StatementEntry, "change", row.pk)).content.decode()
    act = page(StatementEntry, "act", row.pk, "assign")
    assert office.post(act, {"invoice": "INV-1999-000001"}).context["form"].errors
    assert office.post(act, {"invoice": made.name, "amount": "34.51"}).status_code == 302
    payment = Payment.objects.of(made.tenant).get()
    assert office.post(page(Payment, "act", payment.pk, "undo"), {"reason": "wrong"}).status_code == 302
    assert again(made).state == "finalised"
    assert "/act/undo/" not in office.get(page(Payment, "change", payment.pk)).content.decode()


def test_an_overdue_tenant_is_shown_and_reviewed(office, made):
    dunning.review(made.tenant, now=made.due_at + timedelta(days=1))
    case = DunningCase.objects.of(made.tenant).get()
    assert made.tenant.account in office.get(page(DunningCase, "changelist")).content.decode()
    assert office.post(page(DunningCase, "act", case.pk, "review")).status_code == 302


def test_money_that_left_is_assigned_and_released(office, made):
    upload(office, camt(entry("40.00", reference_of(made)), entry("20.00", "back", reference="D1", direction="DBIT")))
    gone, payment = StatementEntry.objects.get(bank_reference="D1"), Payment.objects.of(made.tenant).get()
    take_back, pay_out = page(StatementEntry, "act", gone.pk, "take_back"), page(StatementEntry, "act", gone.pk, "pay_out")
    assert office.post(take_back, {"payment": 10**9}).context["form"].errors
    assert office.post(take_back, {"payment": payment.pk, "amount": "5.00"}).status_code == 302
    assert office.post(pay_out, {"account": "nobody"}).context["form"].errors
    assert office.post(pay_out, {"account": made.tenant.account, "amount": "0.49"}).status_code == 302
    assert concessions.balance_of(made.tenant, "EUR") == 0
    shown = office.get(page(StatementEntry, "change", gone.pk)).content.decode()
    assert "-5.00 EUR" in shown
    assert "-0.49 EUR" in shown
    assert "-5.00 EUR" in office.get(page(Payment, "change", payment.pk)).content.decode()
    assert office.post(page(StatementEntry, "act", gone.pk, "release"), {"reason": "wrong"}).status_code == 302
    assert concessions.balance_of(made.tenant, "EUR") == 549


def test_an_undone_payment_is_brought_back(office, made):
    upload(office, camt(entry("34.51", reference_of(made))))
    payment = Payment.objects.of(made.tenant).get()
    office.post(page(Payment, "act", payment.pk, "undo"), {"reason": "wrong"})
    counter = payment.counters.get()
    assert "/act/bring_back/" in office.get(page(Payment, "change", counter.pk)).content.decode()
    assert office.post(page(Payment, "act", counter.pk, "bring_back"), {"reason": "it was right"}).status_code == 302
    assert again(made).state == "paid"
    assert "/act/bring_back/" not in office.get(page(Payment, "change", counter.pk)).content.decode()


def test_a_message_that_was_kept_is_looked_at_again(office, made):
    event = ProviderEvent.objects.create(
        id="evt_1", kind="customer.created", object_id="cus_1", said_at=made.issued_at, received_at=made.issued_at, state="kept"
    )
    assert "/act/again/" in office.get(page(ProviderEvent, "change", event.pk)).content.decode()
    assert office.post(page(ProviderEvent, "act", event.pk, "again")).status_code == 302
    event.refresh_from_db()
    assert event.state == "ignored"


def test_dunning_is_held_from_its_page_and_its_own_and_ends(office, made):
    dunning.review(made.tenant, now=made.due_at + timedelta(days=1))
    case = DunningCase.objects.of(made.tenant).get()
    until = f"{timezone.now() + timedelta(days=9):%Y-%m-%d}"
    assert office.post(page(DunningCase, "act", case.pk, "hold"), {"until": "2020-01-01", "reason": "x"}).context["form"].errors
    assert office.post(page(DunningCase, "act", case.pk, "hold"), {"until": until, "reason": "as agreed"}).status_code == 302
    held = DunningHold.objects.of(made.tenant).get()
    assert page(DunningHold, "change", held.pk) in office.get(page(DunningCase, "changelist")).content.decode()
    assert "as agreed" in office.get(page(DunningHold, "changelist")).content.decode()
    assert office.post(page(DunningHold, "act", held.pk, "end")).status_code == 302
    said = {"tenant": str(made.tenant_id), "until": until, "reason": "again"}
    assert office.post(page(DunningHold, "add"), said).status_code == 302
    assert DunningHold.objects.of(made.tenant).get().reason == "again"


def test_a_notice_that_was_given_up_is_shown_and_tried_again(office, made):
    Notice.objects.of(made.tenant).update(state="given_up", settled_at=timezone.now(), problem="550 no such mailbox")
    notice = Notice.objects.of(made.tenant).get()
    assert "550 no such mailbox" in office.get(page(Notice, "changelist"), {"state": "given_up"}).content.decode()
    assert office.post(page(Notice, "act", notice.pk, "again")).status_code == 302
    assert Notice.objects.of(made.tenant).get().state == "waiting"
    assert "/act/again/" not in office.get(page(Notice, "change", notice.pk)).content.decode()
