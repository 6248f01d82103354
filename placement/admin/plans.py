"""The operators' page of plans of moves: what would move where, who cannot, and how the pool stands before and after."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _

from placement import explaining, moveplans
from placement.admin.base import PlacementAdmin
from placement.models import MovePlan
from tenants import columns
from tenants.models import Tenant
from tenants.office import Verb

SHOWN = 100  # moves on the page; `manage.py placement plan export` has all
LINE = mark_safe("<br>")

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


@admin.register(MovePlan)
class MovePlanAdmin(PlacementAdmin):
    list_display = (columns.at("made_at", _("made")), "kind", "subject", columns.stated(), "moves", "evenness", "made_by")
    list_display_links = ("subject",)
    list_filter = ("kind", "state")
    search_fields = ("subject", "made_by")
    fields = (
        "kind",
        "subject",
        columns.stated(),
        "evenness",
        "moves",
        "what_moves",
        "who_stays",
        "made_at",
        "made_by",
        "reviewed_at",
        "reviewed_by",
    )
    verbs = MOVE_PLAN_VERBS

    @admin.display(description=_("max/mean"))
    def evenness(self, row: MovePlan) -> str:
        return f"{row.document['before']['ratio']:.3f} → {row.document['after']['ratio']:.3f}"

    @admin.display(description=_("from, to, devices"))
    def what_moves(self, row: MovePlan) -> str:
        moves = row.document["moves"]
        accounts = self._accounts(moves)
        told = ((accounts.get(m["tenant_id"], m["tenant_id"]), m["source"], m["target"], m["load"]) for m in moves[:SHOWN])
        rest = format_html("<br>+ {}", len(moves) - SHOWN) if len(moves) > SHOWN else ""
        return format_html("{}{}", format_html_join(LINE, "{}: {} → {}, {}", told), rest) if moves else columns.NOTHING

    @admin.display(description=_("who cannot leave"))
    def who_stays(self, row: MovePlan) -> str:
        stays = row.document["stays"]
        accounts = self._accounts(stays)
        told = ((accounts.get(s["tenant_id"], s["tenant_id"]), explaining.rule_in_words(s["why"])) for s in stays[:SHOWN])
        return format_html_join(LINE, "{}: {}", told) or columns.NOTHING

    def _accounts(self, rows: list[dict[str, Any]]) -> dict[str, str]:
        known = Tenant.objects.filter(pk__in=[row["tenant_id"] for row in rows[:SHOWN]])
        return {str(pk): account for pk, account in known.values_list("pk", "account")}

    def audit_query(self, obj: MovePlan) -> str:
        return f"move_plan:{obj.pk}"
