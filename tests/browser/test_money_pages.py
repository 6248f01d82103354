"""Metering, billing, peerings, routes and pushes in a real browser: every list in both languages and sizes, and one row of each."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import override_settings
from django.utils import timezone

from billing import corrections
from billing.models import Invoice
from tests.admin import rows
from tests.billing.invoices.conftest import SELLER
from tests.browser.conftest import PICTURES

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.browser]
POLICIES = ("policypush", "clusterpolicy", "auditfinding", "route", "pollrun")


def pages():
    """Lists of every model of billing, and of what network policies are told by."""
    known = [each._meta for each in admin.site._registry]
    return sorted(
        f"{each.app_label}/{each.model_name}" for each in known if each.app_label == "billing" or each.model_name in ("peering", *POLICIES)
    )


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_every_list_and_a_row_of_it_fit_both_sizes(language, at_the_browser, fleet_clusters):
    olga = at_the_browser
    rows.fill([fleet_clusters(), fleet_clusters()], tenants=3)
    invoice = Invoice.objects.across_tenants().exclude(name="").first()
    with override_settings(SELLER=SELLER):
        corrections.credit_whole(invoice, reason="the wrong company", now=timezone.now(), actor="system:tests")
    if language != "en":
        olga.goes("/admin/")
        with olga.page.expect_navigation():
            olga.page.locator("form.language button").click()
    for each in pages():
        name = each.rpartition("/")[2]
        olga.goes(f"/admin/{each}/")
        olga.shows(f"{name}-list-{language}")
        first = olga.page.locator("#result_list tbody th a").first
        if first.count() and (language == "en" or PICTURES):
            olga.goes(first.get_attribute("href"))
            olga.shows(f"{name}-{language}")
    olga.goes("/admin/billing/books/?check=1")
    olga.shows(f"books-{language}")
    olga.page.emulate_media(color_scheme="dark")
    olga.goes(f"/admin/billing/invoice/{invoice.pk}/change/")
    olga.shows(f"invoice-dark-{language}")
