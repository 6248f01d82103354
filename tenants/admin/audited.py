"""The operators' pages of the audit."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _

from tenants import audit, columns
from tenants.columns import TenantFilter
from tenants.models import AuditEvent
from tenants.office import OperatorAdmin


@admin.register(AuditEvent)
class AuditEventAdmin(OperatorAdmin):
    list_display = (columns.at("at", _("at")), "verb", "target", columns.linked("tenant", _("tenant")), "actor", "sealed")
    list_filter = (TenantFilter,)  # acts are searched: listing the distinct ones would read the whole audit
    search_fields = ("verb", "target", "actor", "request_id", "tenant__account")
    list_select_related = ("tenant", "seal")
    fields = ("at", "verb", "target", columns.linked("tenant", _("tenant")), "actor", "detail", "request_id", "sealed")

    @admin.display(description=_("sealed"), boolean=True)
    def sealed(self, event: AuditEvent) -> bool:
        return hasattr(event, "seal")

    def audit_query(self, obj: AuditEvent) -> str:
        return obj.target

    def list_links(self) -> list[tuple[Any, str]]:
        return [(_("Verify the chains"), reverse("admin:tenants_auditevent_verify"))]

    def get_urls(self) -> list[URLPattern]:
        return [path("verify/", self.admin_site.admin_view(self.verify_view), name="tenants_auditevent_verify"), *super().get_urls()]

    def verify_view(self, request: HttpRequest) -> HttpResponse:
        """Recompute every chain. A POST, for it reads the whole audit."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        verdicts = list(audit.verify()) if request.method == "POST" else None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Verify the chains"),
            "verdicts": verdicts,
            "whole": verdicts is not None and all(verdict.whole for verdict in verdicts),
            "back": reverse("admin:tenants_auditevent_changelist"),
        }
        return TemplateResponse(request, "admin/verify.html", context)
