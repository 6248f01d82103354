"""Pages of one tenant's network policy: who reaches what and why, and the way to a new version in two steps, looked at and then stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from placement.admin.netpolicies import marked
from placement.errors import PlacementError, PolicyNotProven
from placement.policies import explaining, matrix, storing
from placement.policies.explaining import Explanation
from placement.policies.matrix import Alike, Change, Matrix
from placement.policies.preview import Preview, preview
from tenants import netpolicy
from tenants.errors import MalformedRequest, StaleVersion, TenantError
from tenants.models import Tenant
from tenants.office import actor_of
from tenants.policies.document import Fault, PolicyRefused
from tenants.policies.hujson import LONGEST

MOST_COLUMNS, MOST_ROWS = 10, 40  # of a table; what is more is told as a list of pairs
MOST_PAIRS, MOST_NAMES = 200, 40


class PolicyForm(forms.Form):
    text = forms.CharField(
        label=gettext_lazy("policy"),
        required=False,
        strip=False,
        max_length=LONGEST,
        widget=forms.Textarea(attrs={"rows": 24, "spellcheck": "false", "class": "document", "autocomplete": "off"}),
        help_text=gettext_lazy("HuJSON. Empty: the default policy, every device of the network reaches every other."),
    )
    note = forms.CharField(
        label=gettext_lazy("note"), required=False, max_length=200, help_text=gettext_lazy("Why, for those who come later.")
    )
    expected = forms.IntegerField(widget=forms.HiddenInput, min_value=0)

    def clean_text(self) -> str:
        """Browsers send line ends of their own."""
        return str(self.cleaned_data["text"]).replace("\r\n", "\n")


@dataclass(frozen=True)
class Named:
    """A class with what a page says of it."""

    alike: Alike

    @property
    def title(self) -> str:
        kinds = {"internet": _("the Internet"), "peering": _("peering with %(label)s") % {"label": self.alike.labels[0]}}
        return self.alike.word or kinds.get(self.alike.kind, self.alike.labels[0])

    @property
    def count(self) -> int:
        return len(self.alike.points)

    @property
    def others(self) -> int:
        """Points that the title does not name."""
        return 0 if self.alike.word else self.count - 1

    @property
    def names(self) -> tuple[str, ...]:
        return self.alike.labels[:MOST_NAMES] if self.count > 1 else ()

    @property
    def unnamed(self) -> int:
        return max(0, self.count - MOST_NAMES)


def reach_page(request: HttpRequest, account: str) -> HttpResponse:
    """`?src=&dst=&service=` asks why the one reaches the other."""
    _allow(request, "view_networkpolicy", "change_networkpolicy")
    tenant = get_object_or_404(Tenant, account=account)
    reach = storing.world_of(tenant).reach
    asked = {name: request.GET.get(name, "").strip() for name in ("src", "dst", "service")}
    told, wrong = _asked(reach, asked) if asked["src"] or asked["dst"] else (None, {})
    context = {
        **admin.site.each_context(request),
        "title": _("Who reaches what: %(account)s") % {"account": account},
        "tenant": tenant,
        "version": netpolicy.current(tenant),
        "may_edit": request.user.has_perm("tenants.change_networkpolicy"),
        "asked": asked,
        "told": told,
        "wrong": wrong,
        **table(matrix.matrix(reach)),
    }
    return TemplateResponse(request, "admin/policy_reach.html", context)


def edit_page(request: HttpRequest, account: str) -> HttpResponse:
    """Looked at first; what is stored is what was looked at, on top of the version that was seen."""
    _allow(request, "change_networkpolicy")
    tenant = get_object_or_404(Tenant, account=account)
    current = netpolicy.current(tenant)
    seen = {"expected": current.number if current else 0, "text": current.text if current else ""}
    form = PolicyForm(request.POST if request.method == "POST" else None, initial=seen)
    context: dict[str, Any] = {"tenant": tenant, "form": form, "current": current, "account": account}
    if request.method == "POST" and form.is_valid():
        if "store" in request.POST:
            if (done := _store(request, tenant, form, context)) is not None:
                return done
        elif "look" in request.POST:
            context |= _looked_at(tenant, form.cleaned_data["text"])
    title = _("Edit the policy of %(account)s") % {"account": account}
    return TemplateResponse(request, "admin/policy_edit.html", {**admin.site.each_context(request), "title": title, **context})


def table(found: Matrix) -> dict[str, Any]:
    """A matrix as a table, or where it would be too large as the pairs that reach each other."""
    named = [Named(alike) for alike in found.classes]
    if len(found.columns) > MOST_COLUMNS or len(found.rows) > MOST_ROWS:
        pairs = [(named[src], named[dst], services) for (src, dst), services in sorted(found.cells.items())]
        return {"pairs": pairs[:MOST_PAIRS], "unlisted": max(0, len(pairs) - MOST_PAIRS), "classes": len(named)}
    rows = [
        {
            "head": named[row],
            "cells": [(found.of(row, column), row == column and found.classes[row].alone) for column in found.columns],
        }
        for row in found.rows
    ]
    return {"heads": [named[column] for column in found.columns], "rows": rows, "classes": len(named)}


def _asked(reach: Any, asked: dict[str, str]) -> tuple[Explanation | None, dict[str, str]]:
    try:
        return explaining.explain(reach, asked["src"], asked["dst"], explaining.service_of(asked["service"])), {}
    except MalformedRequest as error:
        return None, error.errors


def _looked_at(tenant: Tenant, text: str) -> dict[str, Any]:
    try:
        found = preview(tenant, text)
    except PolicyRefused as refusal:
        return {"faults": _placed(text, refusal.faults)}
    except TenantError as error:
        return {"refused": str(error)}
    return {"looked": True, **_told(found), "failed": _placed(text, found.tests.failed)}


def _told(found: Preview) -> dict[str, Any]:
    changes = {"gained": found.difference.gained, "lost": found.difference.lost}
    return {
        "preview": found,
        **{name: [_change(change) for change in those[:MOST_PAIRS]] for name, those in changes.items()},
        **table(found.matrix),
    }


def _change(change: Change) -> tuple[Named, Named, Any]:
    return Named(change.src), Named(change.dst), change.services


def _store(request: HttpRequest, tenant: Tenant, form: PolicyForm, context: dict[str, Any]) -> HttpResponse | None:
    said = form.cleaned_data
    told: dict[str, Any] = {"actor": actor_of(request), "now": timezone.now()}
    try:
        done = storing.store(tenant, said["text"], expected=said["expected"], note=said["note"], **told)
    except StaleVersion as stale:
        context |= _stale(tenant, said["expected"], stale)
    except PolicyRefused as refusal:
        context["faults"] = _placed(said["text"], refusal.faults)
    except PolicyNotProven as error:
        context |= {"refused": str(error), "evidence": error.evidence, "faults": _placed(said["text"], error.faults)}
    except (TenantError, PlacementError) as error:
        context["refused"] = str(error)
    else:
        messages.success(request, _("Version %(number)d counts now.") % {"number": done.version.number})
        return HttpResponseRedirect(reverse("admin:tenants_networkpolicy_change", args=[tenant.pk]))
    return None


def _stale(tenant: Tenant, expected: int, stale: StaleVersion) -> dict[str, Any]:
    """What the other one has changed, so that somebody can decide; nothing is merged."""
    theirs = netpolicy.version(tenant, stale.current)
    changes = marked(netpolicy.diff(netpolicy.version(tenant, expected), theirs)) if theirs else []
    return {"stale": stale, "theirs": theirs, "changes": changes}


def _placed(text: str, faults: tuple[Fault, ...]) -> list[tuple[Fault, str]]:
    """Each fault with the line that it stands in."""
    lines = text.splitlines()
    return [(fault, lines[fault.place.line - 1].strip()[:200] if fault.place.line <= len(lines) else "") for fault in faults]


def _allow(request: HttpRequest, *rights: str) -> None:
    if not any(request.user.has_perm(f"tenants.{right}") for right in rights):
        raise PermissionDenied
