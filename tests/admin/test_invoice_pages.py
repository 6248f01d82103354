"""The operators' pages of invoices: lists, one invoice with its lines, files, and what the buttons do."""

from __future__ import annotations

import re
from datetime import date, timedelta
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from billing import concessions, invoicing
from billing.admin import drilling
from billing.closing import close
from billing.metering import partitions, rolling
from billing.models import ClosedPeriod, Invoice, Session
from placement import pollruns
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.billing.invoices.used import after, lives, used
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
    for kind, start in (("pdf", b"%PDF-"), ("csv", b"number,"), ("html", b"<!DOCTYPE html>")):
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


# ---- the way down ------------------------------------------------------------------------------------------------------


@pytest.fixture
def drilled(subscriber, fleet_cluster, settings):
    """An invoice with a line of one device that was online for a day, seen by 1,440 polls; its address."""
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    day, device = JUNE.start + timedelta(days=3), uuid4()
    concessions.override(subscriber, component="devices", included=0, until=None, now=sold.BEGIN, actor="system:tests")
    lives(subscriber, fleet_cluster)
    partitions.make(day, day)
    facts = {"cluster_id": fleet_cluster.cluster_id, "tenant": subscriber, "device_id": device, "node_id": 7, "reason": "doubt"}
    Session.objects.create(began=day, ended=day + timedelta(hours=23), told_at=day + timedelta(hours=23), **facts)
    for minute in range(0, 24 * 60, 5):
        pollruns.write(fleet_cluster.cluster_id, started_at=day + timedelta(minutes=minute), seconds=0.1, outcome="ok")
    rolling.again(fleet_cluster.cluster_id, day.date(), day.date())
    rolling.roll(now=timezone.now())
    close(JUNE, now=after(), actor="system:tests")
    line = Invoice.objects.of(subscriber).get().lines.get(component="devices")
    return page("line", line.invoice_id, line.position), str(day.date()), str(device)


def test_an_operator_follows_a_line_down_to_its_polls(office, drilled, subscriber):
    address, day, device = drilled
    assert address in office.get(page("change", Invoice.objects.of(subscriber).get().pk)).content.decode()
    assert "<td>82800</td>" in office.get(address).content.decode()
    assert device in office.get(address, {"day": day}).content.decode()
    sessions = office.get(address, {"day": day, "device": device}).content.decode()
    assert "not back after a restart of its server" in sessions
    assert f"session={day}T00:00:00Z" in sessions
    asked = {"day": day, "device": device, "session": f"{day}T00:00:00Z"}
    first, second = (office.get(address, asked | {"page": number}).content.decode() for number in (1, 2))
    assert tuple(len(re.findall(r"pollrun/\d+/change", text)) for text in (first, second)) == (200, 77)
    assert "page=2" in first
    assert "page=1" in second


def test_the_way_down_is_for_those_who_may_see_invoices_and_leads_nowhere_else(office, drilled, visitor_with):
    address, day, device = drilled
    for wrong in (
        {"day": "x"},
        {"day": "2020-01-01"},
        {"day": day, "device": "x"},
        {"day": day, "device": device, "session": "then"},
        {"day": day, "after": "x"},
    ):
        assert office.get(address, wrong).status_code == 404
    assert office.get(address.replace("/lines/", "/lines/9")).status_code == 404
    assert visitor_with("view_tenant").get(address).status_code == 403


def test_devices_of_a_day_come_in_pages(office, drilled, monkeypatch, subscriber, fleet_cluster):
    address, day, _ = drilled
    monkeypatch.setattr(drilling, "SHOWN", 2)
    used(subscriber, fleet_cluster, date.fromisoformat(day), 3, "3", first=100)
    first = office.get(address, {"day": day}).content.decode()
    [after_first] = re.findall(r"amp;after=([0-9a-f-]{36})", first)
    second = office.get(address, {"day": day, "after": after_first}).content.decode()
    assert len(set(re.findall(r"device=([0-9a-f-]{36})", first + second))) == 4
    assert "&amp;after=" not in second.split("<h2>")[-1]
