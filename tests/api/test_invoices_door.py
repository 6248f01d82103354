"""Invoices through the API: read by tenants and operators, changed by operators, and the way down to the polls."""

from __future__ import annotations

import csv
import html
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
from placement import pollruns
from tests import factories
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
        pollruns.write(fleet_cluster.cluster_id, started_at=day + timedelta(hours=hour), seconds=0.1, outcome="ok", nodes=1, online=1)
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
        "days": [{"day": f"{day}", "active_devices": 1, "device_seconds": 21600}],
        "next": None,
    }
    devices = mine.get(address(invoice, f"/lines/{line}?day={day}")).json()
    assert devices == {"devices": [{"device_id": str(DEVICE), "device_seconds": 21600}], "next": None}
    session = f"/lines/{line}?day={day}&device={DEVICE}"
    (part,) = mine.get(address(invoice, session)).json()["sessions"]
    assert (part["billed"], part["reason"], part["began"]) == (21600, "offline", f"{day}T08:00:00Z")
    polls = mine.get(address(invoice, f"{session}&session={part['began']}")).json()
    assert ([poll["started_at"] for poll in polls["polls"]], polls["next"]) == (
        [f"{day}T{hour}:00:00Z" for hour in ("08", "11", "14")],
        None,
    )
    for wrong in (f"{session}&session={day}T08:00:01Z", f"/lines/{line}?day={day}&session={day}T08:00:00Z", f"{session}&session=then"):
        assert said(mine.get(address(invoice, wrong))) == (400, "malformed-request")
    base = invoice.lines.get(component="base").position
    assert mine.get(address(invoice, f"/lines/{base}")).json()["days"] == []
    assert said(mine.get(address(invoice, f"/lines/{line}?day=2020-01-01"))) == (400, "malformed-request")
    assert said(mine.get(address(invoice, f"/lines/{line}?device={DEVICE}"))) == (400, "malformed-request")
    assert said(mine.get(address(invoice, "/lines/99"))) == (404, "not-found")


def test_polls_and_devices_come_in_pages_and_none_is_left_out(tenant, invoice, fleet_cluster):
    mine, day = program_of(tenant, "billing:read"), MONTH.start + timedelta(days=2)
    for minute in range(250):
        started_at = day + timedelta(hours=9, minutes=minute)
        pollruns.write(fleet_cluster.cluster_id, started_at=started_at, seconds=0.1, outcome="ok", nodes=1, online=1)
    facts = {
        "cluster_id": fleet_cluster.cluster_id,
        "tenant": tenant,
        "node_id": 2,
        "reason": "offline",
        "told_at": day + timedelta(hours=2),
    }
    for _ in range(4):
        Session.objects.create(began=day + timedelta(hours=1), ended=day + timedelta(hours=2), device_id=uuid4(), **facts)
    line = invoice.lines.get(component="hours").position
    session = f"/lines/{line}?day={day.date()}&device={DEVICE}&session={day.date()}T08:00:00Z"
    polls = [row["started_at"] for page in pages(mine, address(invoice, f"{session}&limit=100")) for row in page["polls"]]
    assert (len(polls), len(set(polls)), polls) == (253, 252, sorted(polls))
    for rolled in (False, True):
        if rolled:
            rolling.again(fleet_cluster.cluster_id, day.date(), day.date())
            rolling.roll(now=timezone.now())
        else:
            rolling.again(fleet_cluster.cluster_id, day.date(), day.date())
        told = [page["devices"] for page in pages(mine, address(invoice, f"/lines/{line}?day={day.date()}&limit=2"))]
        assert [len(page) for page in told] == [2, 2, 1]
        assert sum(row["device_seconds"] for page in told for row in page) == 21600 + 4 * 3600
    for wrong in ("cursor=x", "limit=0", "limit=201"):
        assert said(mine.get(address(invoice, f"/lines/{line}?day={day.date()}&{wrong}"))) == (400, "malformed-request")


def pages(program, path):
    while path:
        page = program.get(path).json()
        yield page
        path = page["next"]


def test_the_page_says_what_the_pdf_says_and_runs_nothing(tenant, invoice):
    from billing.documents import telling
    from billing.papers import paper_of

    answer = program_of(tenant, "billing:read").call("GET", address(invoice, ".html"), Accept="application/json")
    assert (answer.status_code, answer["Content-Type"], answer["Cache-Control"]) == (200, "text/html; charset=utf-8", "no-store")
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    page, told = html.unescape(answer.content.decode()), telling.tell(paper_of(invoice))
    assert [text for text in texts(told) if text not in page] == ["Page"], "a screen has one page"
    assert "<script" not in page
    assert "style=" not in page
    assert said(program_of(factories.tenant(), "billing:read").call("GET", address(invoice, ".html"))) == (404, "not-found")


def texts(told):
    """Every text of a telling, but the words for columns that it has no use for here."""
    if isinstance(told, str):
        yield told
    for each in told.values() if isinstance(told, dict) else told if isinstance(told, list) else ():
        yield from texts(each)


def test_what_customers_write_is_text_on_the_page(tenant, settings):
    from billing import accounts

    settings.SELLER = {**SELLER, "name": "Fleet <script>alert(1)</script> GmbH"}
    accounts.put(tenant, name='"><img src=x onerror=alert(2)>', now=timezone.now(), actor="system:tests")
    chief = operator("billing")
    number = Invoice.objects.of(tenant).get().name
    note = chief.post(f"tenants/{tenant.account}/invoices/{number}/credit", {"reason": "<b>bold</b>"}).json()["credit_note"]["number"]
    page = chief.call("GET", f"tenants/{tenant.account}/invoices/{note}.html").content.decode()
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;bold" in page
    assert "<img" not in page
    assert "<script" not in page


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
