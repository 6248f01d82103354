"""Every address of the service."""

from django.contrib import admin
from django.urls import include, path

from acs import health, metrics, people, problems, register_pages
from acs.api import cards, schema

urlpatterns = [
    path("api/openapi.json", schema.openapi, name="openapi"),
    path("api/docs", schema.Docs.as_view(), name="docs"),
    path("api/v1/", include("acs.api.urls")),
    path("webhooks/stripe", cards.stripe),
    path("problems/<slug:code>", problems.page, name="problem"),
    path("register/<path:auth_id>", register_pages.page, name="register"),
    path("accounts/", people.home, name="account_home"),
    path("accounts/", include("allauth.account.urls")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.page),
    path("admin/", admin.site.urls),
]
handler400 = "acs.failures.bad_request"
handler403 = "acs.failures.denied"
handler404 = "acs.failures.not_found"
handler500 = "acs.failures.server_error"
