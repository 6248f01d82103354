"""Invoices in a real browser: the page of one in both languages, light and dark, wide, narrow and on paper; the way down from a line."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from billing import concessions, corrections
from billing.closing import close
from billing.metering import partitions, rolling
from billing.models import Invoice, Session
from billing.rating.cycles import month_of, months_after
from placement import pollruns
from tests.billing import sold
from tests.billing.invoices.conftest import SELLER
from tests.billing.invoices.used import lives

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.browser]
MONTH = month_of(months_after(timezone.now(), -1))


def invoice_of(fleet_cluster, **account) -> Invoice:
    from billing import accounts, subscriptions

    tenant = sold.tenant(**account)
    accounts.put(tenant, address="Lange Straße 17\n20095 Hamburg", now=MONTH.start, actor="system:tests")
    subscriptions.start(tenant, sold.version(), **sold.told(MONTH.start))
    for key in ("devices", "hours"):
        concessions.override(tenant, component=key, included=0, until=None, now=MONTH.start, actor="system:tests")
    lives(tenant, fleet_cluster, since=MONTH.start)
    day = MONTH.start + timedelta(days=2)
    partitions.make(day, day)
    facts = {
        "cluster_id": fleet_cluster.cluster_id,
        "tenant": tenant,
        "node_id": 1,
        "reason": "offline",
        "told_at": day + timedelta(hours=20),
    }
    for _ in range(3):
        Session.objects.create(began=day + timedelta(hours=8), ended=day + timedelta(hours=20), device_id=uuid4(), **facts)
    for minute in range(0, 12 * 60, 3):
        started_at = day + timedelta(hours=8, minutes=minute)
        pollruns.write(fleet_cluster.cluster_id, started_at=started_at, seconds=0.1, outcome="ok", nodes=3, online=3)
    subscriptions.change_plan(tenant, sold.version("59.00"), when="now", **sold.told(MONTH.start + timedelta(days=12, hours=6)))
    rolling.again(fleet_cluster.cluster_id, day.date(), day.date())
    rolling.roll(now=timezone.now())
    close(MONTH, now=timezone.now(), actor="system:tests")
    return Invoice.objects.of(tenant).get()


@pytest.mark.parametrize(("language", "title"), [("en", "Credit note"), ("zh-hans", "贷项通知单")])
def test_the_page_of_an_invoice_and_of_its_credit_note(language, title, fleet_cluster, at_the_browser, settings):
    settings.SELLER, olga = SELLER, at_the_browser
    made = invoice_of(fleet_cluster, name="Acme Incorporated" if language == "en" else "上海测试网络有限公司", language=language)
    corrections.credit_whole(made, reason="the wrong company", now=timezone.now(), actor="system:tests")
    for document, name in ((made, "invoice"), (made.credit_notes.get(), "credit-note")):
        for scheme in ("light", "dark"):
            olga.page.emulate_media(color_scheme=scheme)
            olga.goes(f"/admin/billing/invoice/{document.pk}/as/html/")
            assert olga.page.evaluate("document.documentElement.lang") == {"en": "en", "zh-hans": "zh-Hans"}[language]
            assert document.name in olga.page.content()
            colour = olga.page.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor")
            assert (colour == "rgb(255, 255, 255)") == (scheme == "light"), "the style sheet is there, and knows the dark"
            olga.shows(f"{name}-{language}-{scheme}")
    assert title in olga.page.title()
    olga.page.emulate_media(media="print", color_scheme="dark")
    assert olga.page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)", "paper is white"
    olga.shows(f"credit-note-{language}-print")
    olga.page.emulate_media(media="screen", color_scheme="light")


def test_a_line_is_followed_down_to_the_polls(fleet_cluster, at_the_browser, settings):
    settings.SELLER, olga = SELLER, at_the_browser
    made = invoice_of(fleet_cluster)
    olga.goes(f"/admin/billing/invoice/{made.pk}/change/")
    olga.shows("invoice-row")
    position = made.lines.filter(component="hours").first().position
    olga.clicks(str(position))
    olga.shows("drill-days")
    day = (MONTH.start + timedelta(days=2)).date()
    olga.clicks(str(day))
    olga.shows("drill-devices")
    with olga.page.expect_navigation():
        olga.page.locator("#content tbody a").first.click()
    olga.shows("drill-sessions")
    olga.clicks("08:00:00")
    olga.shows("drill-polls")
    olga.clicks("Next page")
    assert olga.page.locator("#content tbody tr").count() == 40
    olga.clicks("Previous page")
    assert olga.page.locator("#content tbody tr").count() == 200
