"""The operators' pages of what audits found: each finding with its evidence."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from placement.admin.base import ClusterFilter, PlacementAdmin, cluster, tenant
from placement.models import AuditFinding, Cluster
from placement.policies import auditing
from tenants import columns
from tenants.office import Verb


def _serves(cluster: Cluster) -> bool:
    return cluster.registered_at is not None and cluster.state != Cluster.State.OFFLINE


class IsOver(admin.EmptyFieldListFilter):
    """Whether it is so still, under a title that says so."""

    def __init__(self, *facts: Any, **more: Any) -> None:
        super().__init__(*facts, **more)
        self.title = _("over")


@admin.register(AuditFinding)
class AuditFindingAdmin(PlacementAdmin):
    list_display = (
        *("id", cluster, columns.stated("kind", _("kind")), "subject", tenant, "times", columns.at("last_at", _("last found"))),
        *(columns.at("over_at", _("over")), "repair"),
    )
    list_filter = (("over_at", IsOver), "kind", ("cluster", ClusterFilter))
    list_select_related = ("cluster", "tenant")
    search_fields = ("cluster__cluster_id", "subject", "tenant__account")
    fields = (
        *(cluster, columns.stated("kind", _("kind")), "subject", tenant, "first_at", "last_at", "times", "over_at", "repair"),
        "repaired_at",
    )
    change_form_template = "admin/finding.html"
    verbs = (
        Verb(
            "audit",
            _("Audit now"),
            _(
                "The cluster of this finding is audited within seconds: what is over ends, and what is still so is repaired where that is safe."
            ),
            lambda row, act: auditing.demand(row.cluster, **act.told),
            fits=lambda row: _serves(row.cluster),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditFinding]:
        return super().get_queryset(request).defer("evidence")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        extra = evidence(row) if row and self.has_view_permission(request, row) else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def audit_query(self, obj: AuditFinding) -> str:
        return str(obj.cluster_id)


def evidence(row: AuditFinding) -> dict[str, Any]:
    """What the page shows of it: a document as it was, and all else as JSON."""
    facts = dict(row.evidence)
    document = str(facts.pop("document", ""))
    return {"document": document, "facts": json.dumps(facts, indent=2, ensure_ascii=False, sort_keys=True) if facts else ""}
