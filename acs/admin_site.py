"""The operators' site: Django's admin with the fleet at a glance on its first page, and a choice of language."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.i18n import set_language

from tenants.errors import TooManyRequests

log = structlog.get_logger(__name__)
ORDER = ["tenants", "placement", "billing"]


class OperatorSite(AdminSite):
    site_header = _("Fleet control")
    site_title = _("Fleet control")
    index_title = _("The fleet at a glance")
    site_url = None  # there is no public site to view
    empty_value_display = "-"

    def get_urls(self) -> list[Any]:
        from billing.admin import books, metering  # models are loaded by now
        from placement.admin import diagnosis, pages, policy_pages

        pools = path("placement/pools/", self.admin_view(pages.pools_page), name="placement_pools")
        why = path("placement/why/", self.admin_view(diagnosis.why_page), name="placement_why")
        policy = [
            path("placement/policies/<slug:account>/", self.admin_view(policy_pages.reach_page), name="placement_policy_reach"),
            path("placement/policies/<slug:account>/edit/", self.admin_view(policy_pages.edit_page), name="placement_policy_edit"),
        ]
        use = [
            path("billing/usage/<slug:account>/", self.admin_view(metering.usage_page), name="billing_usage"),
            path("billing/coverage/", self.admin_view(metering.coverage_page), name="billing_coverage"),
            path("billing/books/", self.admin_view(books.books_page), name="billing_books"),
            path("billing/books/journal/<slug:month>/", self.admin_view(books.journal_file), name="billing_journal"),
            path("billing/books/receivables/", self.admin_view(books.receivables_file), name="billing_receivables"),
        ]
        return [path("language/", set_language, name="language"), pools, why, *policy, *use, *super().get_urls()]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Attempts are counted, right or wrong, by their address and by the name that they try."""
        from acs import callers, login_problems, throttle  # models are loaded by now

        if request.method == "POST":
            address = callers.address_of(request)
            try:
                throttle.spend(
                    [], throttle.Hit("admin-login", address), throttle.Hit("admin-login", _tried(request.POST.get("username", "")))
                )
            except TooManyRequests as error:
                log.warning("admin_login_limited", address=address)  # what was typed as a name may be a password
                wait = math.ceil(error.retry_after.total_seconds())
                return login_problems.page(request, login_problems.SIGN_INS, retry_after=wait)
        return super().login(request, extra_context)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """What is looked at most comes first."""
        apps = super().get_app_list(request, app_label)
        return sorted(apps, key=lambda app: ORDER.index(app["app_label"]) if app["app_label"] in ORDER else len(ORDER))

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from placement import overview  # models are loaded by now

        seen: dict[str, Any] = {}
        if request.user.has_perm("placement.view_cluster"):
            seen["overview"] = overview.look(timezone.now(), interval=timedelta(seconds=settings.POLL_SECONDS))
        return super().index(request, {**(extra_context or {}), **seen})


def _tried(name: str) -> str:
    """A name as Django's form reads it, in whatever case and writing it comes; unlike any address, and fit for a key."""
    same = unicodedata.normalize("NFKC", name.strip()).strip().casefold()
    return "name-" + hashlib.sha256(same.encode("utf-8", "surrogatepass")).hexdigest()[:32]
