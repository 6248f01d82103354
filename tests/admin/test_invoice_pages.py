"""The operators' pages of invoices: lists, one invoice with its lines, files, and what the buttons do."""

from __future__ import annotations

import pytest
from django.urls import reverse

from billing import invoicing
from billing.closing import close
from billing.models import ClosedPeriod, Invoice
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.billing.invoices.used import after
from tests.billing.rating.bills import JUNE

pytestmark = pytest.mark.django_db


@pytest.fixture
def subscriber(settings):
    settings.SELLER, settings.METERING_EVIDENCE_MONTHS = SELLER, 1200
    return sold.subscriber()


def page(name, *arguments, model=Invoice):
    return reverse(f"admin:billing_{model._meta.model_name}_{name}", args=arguments)


def act(office, made, verb, **said):
    answer = office.post(page("act", made.pk, verb), said)
    assert answer.status_code == 302, answer.context["form"].errors
    return Invoice.objects.across_tenants().filter(pk=made.pk).first()


def test_a_draft_is_shown_finalised_and_credited(office, subscriber):
    made = invoicing.draft(subscriber.subscription, JUNE, now=after())
    text = office.get(page("change", made.pk)).content.decode()
    assert "€29.00" in text
    assert "/act/finalise/" in text
    assert "/act/void/" not in text
    made = act(office, made, "finalise")
    assert made.name == "INV-2026-000001" or made.number == 1
    assert made.name in office.get(page("changelist")).content.decode()
    act(office, made, "credit", reason="the wrong company")
    note = made.credit_notes.get()
    assert note.name in office.get(page("change", made.pk)).content.decode()
    assert made.name in office.get(page("change", note.pk)).content.decode()
    assert "/act/" not in office.get(page("change", note.pk)).content.decode()


def test_an_open_invoice_is_corrected_voided_or_given_up(office, subscriber):
    other = sold.subscriber()
    close(JUNE, now=after(), actor="system:tests")
    first, second = Invoice.objects.of(subscriber).get(), Invoice.objects.of(other).get()
    assert act(office, first, "correct", reason="asked").credit_notes.count() == 0
    assert act(office, first, "void", reason="never owed").state == "void"
    assert act(office, second, "uncollectible", reason="bankrupt").state == "uncollectible"
    answer = office.post(page("act", first.pk, "void"), {"reason": "again"})
    assert answer.context["form"].errors


def test_files_are_for_those_who_may_see_the_invoice(office, visitor_with, subscriber):
    close(JUNE, now=after(), actor="system:tests")
    made = Invoice.objects.of(subscriber).get()
    for kind, start in (("pdf", b"%PDF-"), ("csv", b"number,")):
        assert office.get(page("file", made.pk, kind)).content.startswith(start)
        assert visitor_with("view_tenant").get(page("file", made.pk, kind)).status_code == 404
        from django.contrib.auth.models import User

        User.objects.filter(username="vera").delete()
    assert office.get(page("file", made.pk, "exe")).status_code == 404


def test_what_could_not_be_billed_is_listed_with_its_reason(office, subscriber):
    subscriber.subscription.phases.update(currency="USD")
    close(JUNE, now=after(), actor="system:tests")
    text = office.get(page("changelist", model=ClosedPeriod), {"outcome__exact": "refused"}).content.decode()
    assert "NoPriceInCurrency" in text
    assert subscriber.account in text
