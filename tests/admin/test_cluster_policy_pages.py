"""The operators' pages of the policies that clusters run."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils import timezone

from placement.policies import pushing
from tenants.models import AuditEvent
from tests.placement.policies.pushed import allows, row, serving, settled, write

pytestmark = pytest.mark.django_db


def test_a_push_shows_its_document_and_how_it_differs_from_the_one_before(fleet_cluster, office):
    with serving(fleet_cluster):
        tenant = settled(fleet_cluster.row, "acme", allows("a", "b"), "a", "b")
        pushing.push(fleet_cluster.cluster_id, timezone.now())
        write(tenant, allows("a", "b", 443))
        done = pushing.push(fleet_cluster.cluster_id, timezone.now())
    page = office.get(reverse("admin:placement_policypush_change", args=[done.pk])).content.decode()
    assert "fd7a:115c:a1e0:1::1" in page
    assert "+  {" in page
    assert "-  {" in page


def test_push_now_asks_the_worker_to_look_at_the_server(fleet_cluster, office):
    with serving(fleet_cluster):
        settled(fleet_cluster.row, "acme", allows("a", "b"), "a", "b")
        pushing.push(fleet_cluster.cluster_id, timezone.now())
    asked = row(fleet_cluster.row).wanted
    answer = office.post(reverse("admin:placement_clusterpolicy_act", args=[fleet_cluster.cluster_id, "push"]), {}, follow=True)
    assert answer.status_code == 200
    assert (row(fleet_cluster.row).wanted, row(fleet_cluster.row).running) == (asked + 1, None)
    assert AuditEvent.objects.across_tenants().get(verb="policy.push").target == fleet_cluster.cluster_id
