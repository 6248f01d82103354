"""Invoices through the API: read by tenants and operators, changed by operators, and the way down to the polls."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from billing import invoicing
from billing.closing import close
from billing.metering import partitions, rolling
from billing.models import Invoice, Session
from billing.rating.cycles import month_of, months_after
from placement.models import PollRun
from tests.api.callers import operator, program_of, said
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.billing.invoices.used import lives

pytestmark = pytest.mark.django_db
MONTH = month_of(months_after(timezone.now(), -1))
DEVICE = uuid4()


@pytest.fixture
def tenant(fleet_cluster, settings):
    """With an invoice of last month, in which one device was online for six hours of its third day."""
    settings.SELLER = SELLER
    made = sold.subscriber(now=MONTH.start)
    lives(made, fleet_cluster, since=MONTH.start)
    day = MONTH.start + timedelta(days=2)
    partitions.make(day, day)
    told = {"cluster_id": fleet_cluster.cluster_id, "tenant": made, "node_id": 1, "reason": "offline", "device_id": DEVICE}
    began, ended = day + timedelta(hours=8), day + timedelta(hours=14)
    Session.objects.create(began=began, ended=ended, told_at=ended, **told)
    for hour in (8, 11, 14):
        PollRun.objects.create(
            cluster=fleet_cluster.row, started_at=day + timedelta(hours=hour), seconds=0.1, outcome="ok", nodes=1, online=1
        )
    from billing import concessions

    concessions.override(made, component="hours", included=0, until=None, now=MONTH.start, actor="system:tests")
    concessions.override(made, component="devices", included=0, until=None, now=MONTH.start, actor="system:tests")
    rolling.again(fleet_cluster.cluster_id, day.date(), day.date())
    rolling.roll(now=timezone.now())
    close(MONTH, now=MONTH.end + timedelta(hours=1), actor="system:tests")
    return made


@pytest.fixture
def invoice(tenant):
    return Invoice.objects.of(tenant).get()


def address(invoice, rest=""):
    return f"tenants/{invoice.tenant.account}/invoices/{invoice.name}{rest}"


def test_a_tenant_reads_its_invoices_and_every_line(tenant, invoice):
    mine = program_of(tenant, "billing:read")
    (row,) = mine.get(f"tenants/{tenant.account}/invoices").json()["results"]
    assert (row["number"], row["gross"], row["state"]) == (invoice.name, invoice.gross, "finalised")
    told = mine.get(address(invoice)).json()
    assert [line["amount"] for line in told["lines"]] == [2900, 150, 1]
    assert told["buyer"]["account"] == tenant.account
    assert told["seller"]["tax_id"] == SELLER["tax_id"]
    assert sum(tax["amount"] for tax in told["taxes"]) == told["tax"]


def test_a_line_leads_down_to_days_devices_sessions_and_polls(tenant, invoice):
    mine, day = program_of(tenant, "billing:read"), (MONTH.start + timedelta(days=2)).date()
    line = invoice.lines.get(component="hours").position
    assert mine.get(address(invoice, f"/lines/{line}")).json() == {
        "days": [{"day": f"{day}", "active_devices": 1, "device_seconds": 21600}]
    }
    devices = mine.get(address(invoice, f"/lines/{line}?day={day}")).json()["devices"]
    assert devices == [{"device_id": str(DEVICE), "device_seconds": 21600}]
    (part,) = mine.get(address(invoice, f"/lines/{line}?day={day}&device={DEVICE}")).json()["sessions"]
    assert (part["billed"], part["reason"], len(part["polls"])) == (21600, "offline", 3)
    base = invoice.lines.get(component="base").position
    assert mine.get(address(invoice, f"/lines/{base}")).json() == {"days": []}
    assert said(mine.get(address(invoice, f"/lines/{line}?day=2020-01-01"))) == (400, "malformed-request")
    assert said(mine.get(address(invoice, f"/lines/{line}?device={DEVICE}"))) == (400, "malformed-request")
    assert said(mine.get(address(invoice, "/lines/99"))) == (404, "not-found")


def test_pdf_and_csv_come_whatever_the_caller_accepts(tenant, invoice):
    mine = program_of(tenant, "billing:read")
    for accepts in ("application/json", "application/pdf", "*/*"):
        answer = mine.call("GET", address(invoice, ".pdf"), Accept=accepts)
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/pdf")
        assert answer.content.startswith(b"%PDF-")
    answer = mine.call("GET", address(invoice, ".csv"), Accept="text/csv")
    assert f'filename="{invoice.name}.csv"' in answer["Content-Disposition"]
    assert [row["amount"] for row in csv.DictReader(io.StringIO(answer.content.decode()))] == ["29.00", "1.50", "0.01"]


def test_a_preview_says_what_the_invoice_will(tenant, invoice):
    mine = program_of(tenant, "billing:read")
    stored = mine.get(f"tenants/{tenant.account}/invoices/preview?month={MONTH.start:%Y-%m}").json()
    assert stored == mine.get(address(invoice)).json()
    present = mine.get(f"tenants/{tenant.account}/invoices/preview").json()
    assert (present["number"], present["state"], present["net"]) == ("", "draft", 2900)
    assert Invoice.objects.of(tenant).count() == 1
    for month in ("2026-13", "soon", "0000-01"):
        assert said(mine.get(f"tenants/{tenant.account}/invoices/preview?month={month}"))[0] == 400
    assert said(mine.get(f"tenants/{tenant.account}/invoices/preview?month=2019-01")) == (404, "not-found")


def test_tenants_see_no_drafts_and_change_nothing(tenant, invoice):
    invoicing.draft(tenant.subscription, month_of(datetime.now(UTC)), now=timezone.now())
    mine, chief = program_of(tenant), operator("billing")
    assert len(mine.get(f"tenants/{tenant.account}/invoices").json()["results"]) == 1
    assert len(chief.get("billing/invoices").json()["results"]) == 2
    assert said(mine.get("billing/invoices")) == (404, "not-found")
    for verb in ("void", "uncollectible", "correct", "credit"):
        assert said(mine.post(address(invoice, f"/{verb}"), {"reason": "mine"})) == (404, "not-found")
    assert said(operator("billing:read").post(address(invoice, "/void"), {"reason": "mine"})) == (403, "missing-scope")


def test_operators_correct_credit_and_void(tenant, invoice):
    chief = operator("billing")
    assert said(chief.post(address(invoice, "/correct"), {})) == (400, "malformed-request")
    assert chief.post(address(invoice, "/correct"), {"reason": "asked"}).json() == {"difference": 0, "credit_note": None}
    told = chief.post(address(invoice, "/credit"), {"reason": "the wrong company"}).json()
    assert (told["difference"], told["credit_note"]["corrects"]) == (-invoice.gross, invoice.name)
    assert said(chief.post(address(invoice, "/void"), {"reason": "twice"})) == (409, "wrong-state")
    assert said(chief.post(address(invoice, "/uncollectible"), {"reason": "twice"})) == (409, "wrong-state")


def test_what_is_not_configured_is_said_so(tenant, invoice, settings):
    settings.SELLER = {}
    assert said(operator("billing").post(address(invoice, "/credit"), {"reason": "x"})) == (503, "no-seller")
    settings.INVOICE_FONTS = []
    from billing import accounts

    accounts.put(tenant, name="上海测试有限公司", language="zh-hans", now=timezone.now(), actor="system:tests")
    settings.SELLER = {**SELLER, "name": "测试"}
    note = operator("billing").post(address(invoice, "/credit"), {"reason": "x"}).json()["credit_note"]
    assert said(operator("billing").get(f"tenants/{tenant.account}/invoices/{note['number']}.pdf")) == (503, "no-invoice-font")
