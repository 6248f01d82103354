"""What audits found, for operators' programs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from placement.models import AuditFinding
from placement.policies import findings
from tests import factories
from tests.api.callers import operator, program_of, said

pytestmark = pytest.mark.django_db
Kind = AuditFinding.Kind


def test_findings_of_a_cluster_are_listed_open_ones_or_all_by_kind(fleet_clusters):
    here, elsewhere = fleet_clusters(), fleet_clusters()
    now, acme = timezone.now(), factories.tenant("acme-inc")
    findings.keep(here.cluster_id, Kind.TAG, "node 1", {"odd": ["tag:web"]}, now=now, tenant_id=acme.pk)
    findings.keep(here.cluster_id, Kind.STRANGER_USER, "eve", {}, now=now + timedelta(seconds=1))
    findings.keep(here.cluster_id, Kind.STRANGER_USER, "mallory", {}, now=now)
    findings.over(here.cluster_id, Kind.STRANGER_USER, "mallory", now=now)
    findings.keep(elsewhere.cluster_id, Kind.STRANGER_USER, "eve", {}, now=now)
    chief = operator("clusters:read")

    def listed(query=""):
        answer = chief.get(f"clusters/{here.cluster_id}/findings{query}")
        assert answer.status_code == 200
        return answer.json()["results"]

    first, second = listed()
    assert (first["kind"], first["subject"], first["account"], first["over_at"]) == ("stranger-user", "eve", None, None)
    assert (second["account"], second["evidence"], second["times"]) == ("acme-inc", {"odd": ["tag:web"]}, 1)
    assert {row["subject"] for row in listed("?over=true&kind=stranger-user")} == {"eve", "mallory"}
    assert said(chief.get(f"clusters/{here.cluster_id}/findings?kind=other")) == (400, "malformed-request")


def test_findings_are_for_operators(fleet_cluster):
    assert said(operator("tenants").get(f"clusters/{fleet_cluster.cluster_id}/findings"))[0] == 403
    assert said(program_of(factories.tenant()).get(f"clusters/{fleet_cluster.cluster_id}/findings"))[0] in (403, 404)
    assert said(operator().get("clusters/nowhere/findings")) == (404, "not-found")
