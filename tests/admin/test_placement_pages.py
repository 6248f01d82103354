"""The operators' pages of the placement engine: pools in pictures, decisions in words, regions by their verbs."""

from __future__ import annotations

import pytest
from django.utils import timezone

from placement import bindings
from placement.engine.regions import Wish
from placement.models import Decision
from tests import factories

pytestmark = pytest.mark.django_db


def test_pools(office, fleet_clusters):
    for n in range(3):
        fleet_clusters(committed=100 * n)
    tenant = factories.tenant(expected_devices=5)
    bindings.settle(tenant, wish=Wish(), now=timezone.now())
    page = office.get("/admin/placement/pools/")
    assert page.status_code == 200
    print(page.content.decode()[6000:12000])
    stored = Decision.objects.of(tenant).get()
    page = office.get(f"/admin/placement/decision/{stored.pk}/change/")
    assert page.status_code == 200
    assert "ring&#x27;s own" in page.content.decode() or "coolest" in page.content.decode()
