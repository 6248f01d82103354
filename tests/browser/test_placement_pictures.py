"""The placement engine's pages in a real browser: pools of two clusters, of two hundred and of ten thousand, and a decision."""

from __future__ import annotations

import pytest
from django.utils import timezone

from placement import bindings, moveplans, nearness
from placement.engine.regions import Wish
from placement.errors import NoClusterAvailable
from placement.models import Binding, Decision
from tests import factories
from tests.placement import many

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.browser]


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_pools_and_a_decision_in_both_languages(language, at_the_browser):
    olga = at_the_browser
    many.make(2, name="p", region="ap"), many.make(12, name="e", region="eu"), many.make(200, name="u", region="us")
    now = timezone.now()
    nearness.describe("eu", title="Europe", neighbours=["ap"], now=now, actor="system:tests")
    nearness.learn("DE", "eu", now=now, actor="system:tests")
    tenants = [factories.tenant(expected_devices=5, default_region="us") for _ in range(3)]
    for tenant in tenants:
        bindings.settle(tenant, wish=Wish(), now=now)
    bindings.settle(factories.tenant(expected_devices=2), wish=Wish(latencies={"eu": 12, "ap": 80}), now=now)
    lost = factories.tenant(expected_devices=1900, default_region="eu")
    with pytest.raises(NoClusterAvailable):
        bindings.settle(lost, wish=Wish(), now=now)
    if language != "en":
        olga.goes("/admin/")
        with olga.page.expect_navigation():
            olga.page.locator("form.language button").click()
    olga.goes("/admin/placement/pools/")
    olga.shows(f"pools-{language}")
    plan = moveplans.make_drain([Binding.objects.of(tenants[0]).get().cluster_id], actor="system:tests", now=now)
    olga.goes(f"/admin/placement/moveplan/{plan.pk}/change/")
    olga.shows(f"plan-{language}")
    olga.goes("/admin/placement/pools/?pool=us%2Fstandard%2F*")
    olga.shows(f"pool-{language}")
    for name, tenant in (("decision", tenants[0]), ("refusal", lost)):
        olga.goes(f"/admin/placement/decision/{Decision.objects.of(tenant).get().pk}/change/")
        olga.shows(f"{name}-{language}")
    for name in ("decision", "waiting", "alert", "heat", "region", "nearness", "cluster", "moveplan", "region/add", "nearness/add"):
        olga.goes(f"/admin/placement/{name}/")
        olga.shows(f"{name.replace('/', '-')}-list-{language}")
    olga.page.emulate_media(color_scheme="dark")
    for name, address in (
        ("pools", "/admin/placement/pools/"),
        ("decision", f"/admin/placement/decision/{Decision.objects.of(tenants[0]).get().pk}/change/"),
    ):
        olga.goes(address)
        olga.shows(f"{name}-dark-{language}")
    olga.goes("/admin/")
    olga.shows(f"index-{language}")
