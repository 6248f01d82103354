"""People at ACS's own pages: how allauth is to behave, and the page on which somebody who is signed in lands."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from acs.callers import address_of
from tenants.models import Membership, Tenant


class Adapter(DefaultAccountAdapter):
    """Links in e-mails lead to the public address, whatever Host a request named; limits count the address that our own proxies saw."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002 - allauth's signature
        return bool(settings.SIGNUP_OPEN)

    def get_client_ip(self, request: HttpRequest) -> str:
        return address_of(request)

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:  # noqa: ARG002 - allauth's signature
        return settings.PUBLIC_URL + reverse("account_confirm_email", args=[emailconfirmation.key])

    def get_reset_password_from_key_url(self, key: str) -> str:
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": "UID", "key": "KEY"})
        return settings.PUBLIC_URL + path.replace("UID-KEY", quote(key))

    def get_reset_password_url(self, request: HttpRequest) -> str:  # noqa: ARG002 - allauth's signature
        return settings.PUBLIC_URL + reverse("account_reset_password")


def surroundings(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - a context processor's signature
    return {"signup_open": settings.SIGNUP_OPEN}


@require_safe
@never_cache
@login_required
def home(request: HttpRequest) -> HttpResponse:
    person: Any = request.user
    held = Membership.objects.across_tenants().filter(user=person).exclude(tenant__state=Tenant.State.CLOSED)
    return render(request, "acs/login/home.html", {"memberships": held.select_related("tenant").order_by("tenant__account")})
