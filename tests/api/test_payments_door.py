"""Payments through the API: what tenants read, what operators import, assign and undo."""

from __future__ import annotations

import base64

import pytest
from django.utils import timezone

from billing import dunning
from billing.models import StatementEntry
from billing.payments.references import reference_of
from tests.api.callers import operator, program_of, said
from tests.billing.invoices.conftest import SELLER
from tests.billing.payments.paid import IBAN, again, camt, entry, invoice
from tests.fakes import stripe_http

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(settings):
    settings.SELLER, settings.BANK_ACCOUNTS, settings.METERING_EVIDENCE_MONTHS = SELLER, [IBAN], 1200
    return invoice()


def file(*entries: str, **more):
    return {"format": "camt", "name": "june.xml", "content": base64.b64encode(camt(*entries)).decode(), **more}


def test_a_statement_is_imported_and_its_payment_told_to_the_tenant(made):
    chief, program = operator("billing"), program_of(made.tenant, "billing:read")
    asked = program.get(f"tenants/{made.tenant.account}/invoices/{made.name}/payment").json()
    assert (asked["amount"], asked["reference"], asked["account"]) == (3451, reference_of(made), IBAN)
    answer = chief.post("billing/statements", file(entry("40.00", reference_of(made))))
    assert answer.status_code == 200, answer.content
    assert (answer.json()["new"], answer.json()["again"]) == (1, False)
    assert chief.post("billing/statements", file(entry("40.00", reference_of(made)))).json()["again"] is True
    (payment,) = program.get(f"tenants/{made.tenant.account}/payments").json()["results"]
    assert (payment["invoice"], payment["amount"], payment["credited"]) == (made.name, 4000, 549)
    assert len(chief.get("billing/statements").json()["results"]) == 1


def test_what_is_left_is_assigned_and_undone(made):
    chief = operator("billing")
    chief.post("billing/statements", file(entry("34.51", "hello")))
    (row,) = chief.get("billing/entries?state=unmatched").json()["results"]
    assert (row["amount"], row["reason"]) == (3451, "no_hint")
    assign = f"billing/entries/{row['id']}/assign"
    assert said(chief.post(assign, {"invoice": "INV-1999-000001"})) == (404, "not-found")
    assert said(chief.post(assign, {"invoice": made.name, "amount": 9999})) == (400, "malformed-request")
    paid = chief.post(assign, {"invoice": made.name}).json()
    assert said(chief.post(assign, {"invoice": made.name})) == (409, "wrong-state")
    counter = chief.post(f"billing/payments/{paid['id']}/undo", {"reason": "wrong"}).json()
    assert (counter["amount"], counter["undoes"]) == (-3451, paid["id"])
    assert StatementEntry.objects.get().state == "unmatched"
    assert len(chief.get("billing/payments").json()["results"]) == 2


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"format": "camt", "content": "not base64!"}, (400, "malformed-request")),
        ({"format": "camt", "content": base64.b64encode(b"<a/>").decode()}, (422, "statement-refused")),
        ({"format": "csv", "content": base64.b64encode(b"a,b").decode()}, (400, "malformed-request")),
        (
            {
                "format": "csv",
                "content": base64.b64encode(b"a,b").decode(),
                "account": IBAN,
                "encoding": "utf-8",
                "columns": {"amount": "a"},
            },
            (422, "statement-refused"),
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_reason(made, body, answer):
    assert said(operator("billing").post("billing/statements", body)) == answer


def test_a_csv_comes_through_the_same_door(made):
    data = f"id;amount;day;text\n1;34,51;2026-07-03;{reference_of(made)}\n".encode()
    columns = {"reference": "id", "amount": "amount", "date": "day", "text": "text"}
    shape = {"account": IBAN, "encoding": "utf-8", "delimiter": ";", "decimal": ",", "currency": "EUR", "columns": columns}
    answer = operator("billing").post("billing/statements", {"format": "csv", "content": base64.b64encode(data).decode(), **shape})
    assert (answer.status_code, answer.json()["new"]) == (200, 1)
    assert StatementEntry.objects.get().state == "matched"


def test_a_page_to_pay_by_card_is_made_for_operators(made, settings):
    chief, address = operator("billing"), f"tenants/{made.tenant.account}/invoices/{made.name}/payment"
    assert said(chief.post(address)) == (409, "payment-provider-not-set-up")
    with stripe_http.serving() as fake:
        settings.STRIPE_API, settings.STRIPE_KEY = fake.url, "sk_test_only-in-tests"
        assert chief.post(address).json()["url"].endswith("/cs_1")
        assert chief.post(address).json()["url"].endswith("/cs_1")
        other, fake.fails = invoice(), 500
        assert said(chief.post(f"tenants/{other.tenant.account}/invoices/{other.name}/payment")) == (503, "payment-provider-away")
    assert said(program_of(made.tenant, "billing:read").post(address)) == (403, "missing-scope")


def test_who_is_overdue_is_told_to_operators(made):
    dunning.review(made.tenant, now=timezone.now() if made.due_at < timezone.now() else made.due_at.replace(year=made.due_at.year + 1))
    (case,) = operator("billing:read").get("billing/overdue").json()["results"]
    assert (case["account"], case["stage"], case["invoice"]) == (made.tenant.account, "past_due", made.name)


def test_money_that_left_is_assigned_and_released(made):
    chief = operator("billing")
    chief.post("billing/statements", file(entry("40.00", reference_of(made)), entry("20.00", "back", reference="D1", direction="DBIT")))
    (paid,) = chief.get("billing/payments").json()["results"]
    gone = f"billing/entries/{StatementEntry.objects.get(bank_reference='D1').pk}"
    assert said(chief.post(f"{gone}/take-back", {"payment": 10**9})) == (404, "not-found")
    assert said(chief.post(f"{gone}/take-back", {"payment": paid["id"], "amount": 2001})) == (400, "malformed-request")
    counter = chief.post(f"{gone}/take-back", {"payment": paid["id"], "amount": 500}).json()
    assert (counter["amount"], counter["credited"], counter["undoes"]) == (-500, -500, paid["id"])
    assert said(chief.post(f"{gone}/pay-out", {"account": "nobody"})) == (404, "not-found")
    assert said(chief.post(f"{gone}/pay-out", {"account": made.tenant.account})) == (409, "wrong-state")
    out = chief.post(f"{gone}/pay-out", {"account": made.tenant.account, "amount": 49}).json()
    assert out["amount"] == -49
    assert chief.post(f"{gone}/release", {"reason": "wrong"}).json()["state"] == "unmatched"
    moved = chief.get(f"tenants/{made.tenant.account}/credits").json()["results"]
    assert sum(each["amount"] for each in moved) == 549


def test_an_undone_payment_is_brought_back(made):
    chief = operator("billing")
    chief.post("billing/statements", file(entry("34.51", reference_of(made))))
    (paid,) = chief.get("billing/payments").json()["results"]
    chief.post(f"billing/payments/{paid['id']}/undo", {"reason": "wrong"})
    back = chief.post(f"billing/payments/{paid['id']}/bring-back", {"reason": "it was right"}).json()
    assert (back["amount"], back["invoice"]) == (3451, made.name)
    assert said(chief.post(f"billing/payments/{paid['id']}/bring-back", {"reason": "again"})) == (409, "wrong-state")
    assert again(made).state == "paid"
