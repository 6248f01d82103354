"""The operators' page of plans of moves: what would move where, who cannot, and how the pool stands before and after."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _

from placement import explaining, moveplans
from placement.admin.base import PlacementAdmin
from placement.models import Cluster, MovePlan
from tenants import columns
from tenants.models import Tenant
from tenants.office import Verb

SHOWN = 100  # moves on the page; the export has all

MOVE_PLAN_VERBS = (
    Verb(
        "approve",
        _("Approve"),
        _("The plan is reviewed and to be carried out. Nobody is moved by this."),
        lambda row, act: moveplans.approve(row, **act.told),
        fits=lambda row: row.state == MovePlan.State.DRAFT,
    ),
    Verb(
        "discard",
        _("Discard"),
        _("The plan is not to be carried out. It stays to be read."),
        lambda row, act: moveplans.discard(row, **act.told),
        fits=lambda row: row.state == MovePlan.State.DRAFT,
    ),
)


@dataclass
class Share:
    """What a plan changes for one cluster: tenants and devices that leave it and that come to it. `row` None: it is gone since."""

    cluster_id: str
    row: Cluster | None = None
    leaving: int = 0
    devices_leaving: int = 0
    coming: int = 0
    devices_coming: int = 0


@admin.register(MovePlan)
class MovePlanAdmin(PlacementAdmin):
    list_display = (columns.at("made_at", _("made")), "kind", "subject", columns.stated(), "moves", "evenness", "made_by")
    list_display_links = ("subject",)
    list_filter = ("kind", "state")
    search_fields = ("subject", "made_by")
    fields = (
        *("kind", "subject", columns.stated(), columns.at("made_at", _("made")), "made_by"),
        *(columns.at("reviewed_at", _("reviewed")), "reviewed_by"),
    )
    change_form_template = "admin/plan.html"
    verbs = MOVE_PLAN_VERBS

    @admin.display(description=_("max/mean"))
    def evenness(self, row: MovePlan) -> str:
        return f"{row.document['before']['ratio']:.3f} → {row.document['after']['ratio']:.3f}"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        extra = plan_context(row) if row and self.has_view_permission(request, row) else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def links(self, obj: MovePlan) -> list[tuple[Any, str]]:
        return [(_("Export"), reverse("admin:placement_moveplan_export", args=[obj.pk]))]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export_view)
        return [path("<uuid:object_id>/export/", view, name="placement_moveplan_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest, object_id: Any) -> HttpResponse:
        """The whole document as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = MovePlan.objects.filter(pk=object_id).first()
        if row is None:
            raise Http404
        answer = HttpResponse(json.dumps(row.document, indent=2, ensure_ascii=False), content_type="application/json")
        answer["Content-Disposition"] = f'attachment; filename="plan-{row.pk}.json"'
        return answer

    def audit_query(self, obj: MovePlan) -> str:
        return f"move_plan:{obj.pk}"


def plan_context(row: MovePlan) -> dict[str, Any]:
    """What the page of a plan shows besides its fields."""
    moves, stays = row.document["moves"], row.document["stays"]
    tenants = Tenant.objects.in_bulk([told["tenant_id"] for told in (*moves[:SHOWN], *stays[:SHOWN])])
    known = {str(pk): tenant for pk, tenant in tenants.items()}
    return {
        "document": row.document,
        "shares": _shares(moves),
        "moves": [{**move, "tenant": known.get(move["tenant_id"])} for move in moves[:SHOWN]],
        "unlisted_moves": max(0, len(moves) - SHOWN),
        "stays": [
            {**stay, "tenant": known.get(stay["tenant_id"]), "words": explaining.rule_in_words(stay["why"])} for stay in stays[:SHOWN]
        ],
        "unlisted_stays": max(0, len(stays) - SHOWN),
    }


def _shares(moves: list[dict[str, Any]]) -> list[Share]:
    """The clusters that change, those that lose most first."""
    shares: dict[str, Share] = defaultdict(lambda: Share(""))
    for move in moves:
        source, target = shares[move["source"]], shares[move["target"]]
        source.cluster_id, target.cluster_id = move["source"], move["target"]
        source.leaving, source.devices_leaving = source.leaving + 1, source.devices_leaving + move["load"]
        target.coming, target.devices_coming = target.coming + 1, target.devices_coming + move["load"]
    rows = Cluster.objects.in_bulk(list(shares))
    for share in shares.values():
        share.row = rows.get(share.cluster_id)
    return sorted(shares.values(), key=lambda share: (share.devices_coming - share.devices_leaving, share.cluster_id))[:SHOWN]
