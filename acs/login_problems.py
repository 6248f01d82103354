"""Why a device login does not go on, for the person in front of it: what it means, what to do next, and the HTTP status."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from acs.device_login import LivesElsewhere
from placement import errors as placement
from placement.names import headscale_url
from tenants import errors as tenants

if TYPE_CHECKING:
    from acs.register_pages import Visit


@dataclass(frozen=True)
class Problem:
    """One page: its heading, what it means, what to do next, and when a repeat may help (seconds)."""

    code: str
    status: int
    title: Promise
    meaning: Promise
    remedy: Promise
    retry_after: int | None = None


START_ANEW = _("On the device, run tailscale up again. It shows a new address; open that one.")
MALFORMED = Problem(
    "malformed", 400, _("This address is not complete"), _("The end of the address got lost or changed."),
    _("Copy the whole address that the device shows, up to its last character, and open it again."),
)  # fmt: skip
EXPIRED = Problem(
    "expired", 410, _("This login is no longer waiting"),
    _("The server does not know it any more: it is older than 15 minutes, the server was restarted, or the device has begun anew."), START_ANEW,
)  # fmt: skip
TAKEN = Problem(
    "taken", 409, _("This login was used already"),
    _("Somebody confirmed it before, or you did for another network. A login can be confirmed once. If it was not you, nobody but who confirmed it has the device."),
    _("On the device, run tailscale logout, then tailscale up, and open the new address."),
)  # fmt: skip
FOREIGN = Problem(
    "foreign", 409, _("This device belongs to another network"),
    _("It is a managed device of another network and was not let into yours. Its session has been ended."),
    _("To move it, have it removed from the other network first. Then run tailscale up again."),
)  # fmt: skip
NOBODY = Problem(
    "not-entitled", 403, _("You may not add devices here"),
    _("You are signed in, but no network lets you add devices. Owners, admins and members of a network may."),
    _("Ask an owner of the network to make you a member, or sign in with another account."),
)  # fmt: skip
SUSPENDED = Problem(
    "tenant-suspended", 403, _("This network is suspended"), _("It takes no new devices for now. Nothing was registered."),
    _("Ask an owner of the network, or the operator of this service, why."),
)  # fmt: skip
OVERDUE = Problem(
    "payment-overdue", 403, _("A payment is overdue"), _("This network takes no new devices until it has been paid for. Nothing was registered."),
    _("Ask an owner of the network to see to it, then open the address again."),
)  # fmt: skip
FULL = Problem(
    "quota-exceeded", 403, _("Every device slot is taken"),
    _("The network has as many devices as its plan allows, or keys that were handed out and not used yet. Nothing was registered."),
    _("Remove devices that are no longer needed, wait until unused keys expire, or ask an owner for a larger plan. Then open the address again."),
)  # fmt: skip
ELSEWHERE = Problem(
    "other-login-server", 409, _("This network is at another login server"),
    _("The device asked at a server on which this network does not live. Nothing was registered."), _("On the device, run:"),
)  # fmt: skip
NO_ROOM = Problem(
    "no-cluster-available", 503, _("There is no room right now"), _("No server can take a new network at the moment. It keeps its place in the queue."),
    _("Open the address again in a minute."), 60,
)  # fmt: skip
REFUSED = Problem(
    "cluster-error", 502, _("The server refused"), _("The server of this network did not let the device in. Nothing was registered."),
    START_ANEW, 30,
)  # fmt: skip
DOWN = Problem(
    "cluster-busy", 503, _("The server cannot be reached"), _("The server of this network is away right now. Nothing was registered."),
    _("Open the address again in a minute."), 30,
)  # fmt: skip
TOO_MANY = Problem(
    "too-many-requests", 429, _("Too many attempts"), _("You have confirmed too often in a short time."),
    _("Wait a minute, then open the address again."),
)  # fmt: skip
SIGN_INS = Problem(
    "too-many-requests", 429, _("Too many attempts"), _("Somebody has tried to sign in too often in a short time, from this address or under this name."),
    _("Wait a few minutes, then try again."),
)  # fmt: skip

PAGES: dict[type[Exception], Problem] = {
    tenants.NotEntitled: NOBODY,
    tenants.TenantSuspended: SUSPENDED,
    tenants.PaymentOverdue: OVERDUE,
    tenants.QuotaExceeded: FULL,
    tenants.TooManyRequests: TOO_MANY,
    placement.LoginTaken: TAKEN,
    placement.ForeignDevice: FOREIGN,
    LivesElsewhere: ELSEWHERE,
    placement.RegionNotInPlan: NO_ROOM,
    placement.NoClusterAvailable: NO_ROOM,
    placement.ClusterRefused: REFUSED,
    placement.ClusterUnreachable: DOWN,
    placement.ClusterSilent: DOWN,
}
GONE = ("registration cache", "not found in cache", "auth session")  # in a refusal: the server knows no such login


def answer(request: HttpRequest, error: Exception, visit: Visit) -> HttpResponse:
    """The page of a foreseen error; what nobody foresaw goes on."""
    found = next((PAGES[kind] for kind in type(error).__mro__ if kind in PAGES), None)
    if found is None:
        raise error
    if isinstance(error, placement.ClusterRefused):
        found = EXPIRED if any(word in error.reason for word in GONE) else found
    command = ""
    if isinstance(error, LivesElsewhere):
        url = headscale_url(error.binding.tenant.account, error.binding.cluster.client_url)
        command = f"tailscale up --login-server={url} --force-reauth"
    wait = math.ceil(error.retry_after.total_seconds()) if isinstance(error, tenants.TooManyRequests) else found.retry_after
    return page(request, found, command=command, retry_after=wait, visit=visit)


def page(
    request: HttpRequest, problem: Problem, *, command: str = "", retry_after: int | None = None, visit: Visit | None = None
) -> HttpResponse:
    context = {"problem": problem, "command": command, "visit": visit}
    response = render(request, "acs/login/problem.html", context, status=problem.status)
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    return response
