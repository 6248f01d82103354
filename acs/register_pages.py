"""/register/<id>: the page that a device without a key shows its person. The gateway leads here from whatever login server the device used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from acs import device_login, login_problems, throttle
from acs.device_login import LivesElsewhere
from acs.throttle import Hit
from placement import logins
from placement.errors import ClusterUnreachable, LoginTaken, PlacementError
from placement.models import Binding, Cluster, DeviceLogin
from placement.names import account_of_host, cluster_of_page
from tenants import members
from tenants.errors import NotEntitled, PaymentOverdue, QuotaExceeded, TenantError, TenantSuspended
from tenants.models import Membership, Tenant

State = DeviceLogin.State
STATUS = {State.REGISTERED: 200, State.CLAIMED: 202, State.UNKNOWN: 503}


@dataclass(frozen=True)
class Visit:
    """Who opened which login's page, of which cluster, and what they may choose from. `host` and `cluster` are hints and grant nothing."""

    person: User
    auth_id: str
    host: str
    cluster_id: str
    choices: list[Membership] = field(default_factory=list)

    @property
    def opened(self) -> Cluster | None:
        return cluster_of_page(cluster_id=self.cluster_id, host=self.host)

    @property
    def query(self) -> str:
        return urlencode({name: value for name, value in (("cluster", self.cluster_id), ("host", self.host)) if value})

    @property
    def shortened(self) -> str:
        return f"{self.auth_id.removeprefix('hskey-authreq-')[:6]}…"

    def choice(self, account: str) -> Tenant | None:
        """The tenant named, or the only one there is to choose. Raises: NotEntitled."""
        wished = account or account_of_host(self.host)
        found = next((held.tenant for held in self.choices if held.tenant.account == wished), None)
        if account and found is None:
            raise NotEntitled
        return found or (self.choices[0].tenant if len(self.choices) == 1 else None)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def page(request: HttpRequest, auth_id: str) -> HttpResponse:
    """Explain, choose, confirm, and say what became of it."""
    if not logins.AUTH_ID.match(auth_id):
        return login_problems.page(request, login_problems.MALFORMED)
    return _for_person(request, auth_id)


@login_required
def _for_person(request: HttpRequest, auth_id: str) -> HttpResponse:
    person: Any = request.user
    host, cluster_id = request.GET.get("host", "")[:260] or _forwarded(request), request.GET.get("cluster", "")[:64]
    visit = Visit(person, auth_id, host, cluster_id, list(members.who_add_devices(person)))
    try:
        return _confirm(request, visit) if request.method == "POST" else _show(request, visit)
    except (TenantError, PlacementError) as error:
        return login_problems.answer(request, error, visit)


def _forwarded(request: HttpRequest) -> str:
    """The host that a proxy in front was asked for, where the gateway hands the page on instead of redirecting."""
    return request.headers.get("X-Forwarded-Host", "").split(",")[0].strip()[:260]


def _show(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Raises: LoginTaken, NotEntitled, and what _offer raises."""
    if held := logins.find(visit.auth_id):
        if held.user_id != visit.person.pk:
            raise LoginTaken
        return _outcome(request, visit, held)
    tenant = visit.choice(request.GET.get("tenant", ""))
    if not visit.choices:
        raise NotEntitled
    if tenant is None:
        return render(request, "acs/login/choose.html", {"visit": visit})
    return _offer(request, visit, tenant)


def _offer(request: HttpRequest, visit: Visit, tenant: Tenant) -> HttpResponse:
    """What is about to be approved. Raises: TenantSuspended, PaymentOverdue, QuotaExceeded, LivesElsewhere, ClusterUnreachable."""
    if tenant.state != Tenant.State.ACTIVE:
        raise TenantSuspended(tenant.account)
    if tenant.restricted_at is not None:
        raise PaymentOverdue(tenant.account)
    if not tenant.quota.free:
        raise QuotaExceeded(tenant.account)
    binding, opened = Binding.objects.of(tenant).select_related("cluster").first(), visit.opened
    if binding is not None and opened is not None and binding.cluster_id != opened.cluster_id:
        raise LivesElsewhere(binding)
    if binding is not None and binding.cluster.state == Cluster.State.OFFLINE:
        raise ClusterUnreachable(binding.cluster_id, "the cluster is out of service")
    cluster = binding.cluster if binding else None
    return render(request, "acs/login/confirm.html", {"visit": visit, "tenant": tenant, "cluster": cluster, "opened": opened})


def _confirm(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Raises: TooManyRequests, NotEntitled, LoginTaken, and what device_login.approve raises."""
    throttle.spend([], Hit("device-login", str(visit.person.pk)))
    tenant = visit.choice(request.POST.get("tenant", ""))
    if tenant is None:
        raise NotEntitled
    login = device_login.approve(tenant, visit.person, visit.auth_id, opened=visit.opened, now=timezone.now())
    if login.state != State.REGISTERED:
        return _outcome(request, visit, login)
    return HttpResponseRedirect(f"{request.path}?{visit.query}" if visit.query else request.path, status=303)


def _outcome(request: HttpRequest, visit: Visit, login: DeviceLogin) -> HttpResponse:
    response = render(request, "acs/login/outcome.html", {"visit": visit, "login": login}, status=STATUS[State(login.state)])
    if login.state != State.REGISTERED:
        response["Retry-After"] = "30"
    return response
