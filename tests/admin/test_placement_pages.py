"""The operators' pages of the placement engine: pools in pictures, decisions and plans in words, regions and residency by their verbs."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from placement import bindings, explaining, moveplans
from placement.engine.eligibility import RULES
from placement.engine.facts import PoolKey
from placement.engine.regions import Wish
from placement.errors import NoClusterAvailable
from placement.models import Decision, Heat, MovePlan, Nearness, Region
from tenants.models import AuditEvent
from tests import factories
from tests.placement import many

pytestmark = pytest.mark.django_db
POOLS = "/admin/placement/pools/"


def settled(**plan_fields):
    tenant = factories.tenant(**{"expected_devices": 5, **plan_fields})
    bindings.settle(tenant, wish=Wish(), now=timezone.now())
    return tenant


def page_of(office, row, **headers):
    answer = office.get(reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk]), headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def words(html):
    """What a person reads, without the markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def act(office, row, verb, **said):
    page = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_act", args=[row.pk, verb])
    assert office.get(page).status_code == 200
    return office.post(page, said, follow=True)


# ---- pools -----------------------------------------------------------------------------------------------------------


def test_every_pool_has_its_pictures_with_words_beside_them(office, fleet_clusters):
    full, hot, shut = fleet_clusters(capacity=100, committed=60), fleet_clusters(), fleet_clusters(state="cordoned")
    fleet_clusters(region="us"), fleet_clusters(kind="dedicated")
    Heat.objects.create(cluster_id=hot.cluster_id, at=timezone.now(), measured=0.25, breaker_open=True)
    html = office.get(POOLS).content.decode()
    assert html.count('role="img"') == 4
    for picture in re.findall(r"<svg class=\"(?:ring|columns)\".*?</svg>", html, re.DOTALL):
        assert "<title id=" in picture
        assert "<desc id=" in picture
    labels = re.findall(r'aria-labelledby="([^"]+)"', html)
    assert {name for label in labels for name in label.split()} <= set(re.findall(r'id="([^"]+)"', html))
    assert len(re.findall(r'\bid="', html)) == len(set(re.findall(r'\bid="([^"]+)"', html))), "an id stands once"
    assert "style=" not in html
    text = words(html)
    assert f"{full.cluster_id} active 60.0 % 60 / 100 -" in text
    assert "breaker open 25.0 %" in text
    assert f"{shut.cluster_id} cordoned" in text
    assert "Dedicated clusters" in text


def test_a_pool_alone_lists_more_and_one_that_is_not_there_is_not_found(office, fleet_clusters):
    for _ in range(10):
        fleet_clusters()
    assert "and 2 more, less full" in words(office.get(POOLS).content.decode())
    alone = office.get(POOLS, {"pool": "eu/standard/*"})
    assert words(alone.content.decode()).count(" active ") >= 10
    assert "less full" not in words(alone.content.decode())
    assert office.get(POOLS, {"pool": "mars/standard/*"}).status_code == 404


def test_a_blind_pool_says_that_promises_alone_decide(office, fleet_clusters):
    cluster = fleet_clusters(metrics_url="http://127.0.0.1:9/metrics")
    Heat.objects.create(cluster_id=cluster.cluster_id, at=timezone.now() - timedelta(hours=1), measured=0.9)
    assert "promises alone decide" in words(office.get(POOLS).content.decode())


def test_an_empty_fleet_has_an_empty_page(office):
    assert "there is no pool" in words(office.get(POOLS).content.decode())


def test_pools_are_for_those_who_may_see_clusters(visitor_with, fleet_cluster):
    assert visitor_with("view_tenant").get(POOLS).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_thousands_of_clusters_make_a_page_that_can_still_be_read(office, django_assert_max_num_queries):
    many.make(3, name="a", region="eu")
    with CaptureQueriesContext(connection) as few:
        office.get(POOLS)
    many.make(2_000, name="b", region="us")
    with django_assert_max_num_queries(len(few)):
        html = office.get(POOLS, {"pool": "us/standard/*"}).content.decode()
    assert "Each column is the fullest of 9 clusters." in html
    assert html.count('class="columns-promised"') <= 240
    assert html.count("<path") <= 800
    assert len(html) < 400_000
    first = office.get("/admin/").content.decode()
    assert "and 1943 clusters more" in words(first)


# ---- decisions -------------------------------------------------------------------------------------------------------


def test_a_decision_is_told_in_words_with_its_ring(office, fleet_clusters):
    home, hot = fleet_clusters(), fleet_clusters()
    Heat.objects.create(cluster_id=hot.cluster_id, at=timezone.now(), measured=1.1, breaker_open=True)
    tenant = settled()
    html = page_of(office, Decision.objects.of(tenant).get())
    text = words(html)
    assert f"{tenant.account}: placed {home.cluster_id}" in text
    assert "that is expected to bring 5 devices" in text
    assert "Regions in order: eu" in text
    assert "the ring&#x27;s own choice" in text
    assert f"1 {home.cluster_id} chosen 0.0 % 1.0 %" in text
    assert f"{hot.cluster_id} its breaker is open" in text
    assert "the answer is the same" in text
    assert html.count('class="ring-point"') == 1
    assert html.count("walk-chosen") == html.count("walk-refused") == 1
    assert "other members" not in text
    fleet_clusters()
    assert "other members or weights since" in words(page_of(office, Decision.objects.of(tenant).get()))


def test_a_refusal_tells_every_region_that_was_asked(office, fleet_clusters):
    fleet_clusters(region="eu", capacity=4), fleet_clusters(region="us", state="draining")
    tenant = factories.tenant(expected_devices=5, default_region="eu")
    Region.objects.create(name="eu", neighbours=["us"])
    with pytest.raises(NoClusterAvailable):
        bindings.settle(tenant, wish=Wish(), now=timezone.now())
    text = words(page_of(office, Decision.objects.of(tenant).get()))
    assert "Regions in order: eu, us (the plan&#x27;s default)" in text
    assert "its only cluster may not: it has not enough room under its cap" in text
    assert "its only cluster may not: it is not active" in text
    listed = words(office.get("/admin/placement/waiting/").content.decode())
    assert "a shared cluster of the service class standard in eu with room for 5 devices" in listed
    assert "it is not active" in listed


def test_a_decision_of_another_engine_keeps_its_own_words(office, fleet_cluster):
    tenant = settled()
    stored = Decision.objects.of(tenant).get()
    stored.document["looks"][0] |= {"engine": "0", "reason": "a coin was tossed"}
    Decision.objects.of(tenant).update(document=stored.document)
    text = words(page_of(office, stored))
    assert "a coin was tossed" in text
    assert "It cannot be decided again" in text


def test_a_decision_about_a_dedicated_cluster_has_no_ring(office, fleet_clusters):
    fleet_clusters(kind="dedicated")
    html = page_of(office, Decision.objects.of(settled(strategy="dedicated")).get())
    assert "the smallest that fits" in html
    assert 'class="ring"' not in html


def test_a_decision_reads_in_chinese(office, fleet_clusters):
    fleet_clusters(), fleet_clusters(state="cordoned")
    text = words(page_of(office, Decision.objects.of(settled()).get(), **{"Accept-Language": "zh-Hans"}))
    for english in ("ring", "own choice", "not active", "Regions", "Utilisation", "The walk", "Decided"):
        assert english not in text.replace("Fleet control", ""), english


def test_every_rule_of_the_engine_has_its_words():
    assert set(explaining.RULES) == {rule.__name__ for rule in RULES}


# ---- plans -----------------------------------------------------------------------------------------------------------


def test_a_plan_shows_what_it_changes_is_exported_and_approved(office, fleet_clusters):
    full = fleet_clusters(capacity=200)
    tenants = [settled() for _ in range(10)]
    target = fleet_clusters(capacity=200)
    made = moveplans.make_drain([full.cluster_id], actor="system:tests", now=timezone.now())
    text = words(page_of(office, made))
    assert "Moves 10" in text
    assert f"{full.cluster_id} active 50 / 200 10 50 0 0" in text
    assert f"{target.cluster_id} active 0 / 200 0 0 10 50" in text
    assert all(f"{tenant.account} {full.cluster_id} {target.cluster_id} 5" in text for tenant in tenants)
    exported = office.get(f"/admin/placement/moveplan/{made.pk}/export/")
    assert exported.json() == made.document
    assert "attachment" in exported["Content-Disposition"]
    act(office, made, "approve")
    made.refresh_from_db()
    assert (made.state, made.reviewed_by) == ("approved", "operator:olga")
    assert "The plan is approved" in act(office, made, "discard").content.decode()


def test_a_plan_says_who_cannot_leave_and_when_there_is_nothing_to_do(office, visitor_with, fleet_clusters):
    only = fleet_clusters()
    tenant = settled()
    stuck = moveplans.make_drain([only.cluster_id], actor="system:tests", now=timezone.now())
    assert f"{tenant.account} {only.cluster_id} no other cluster of the pool may take tenants" in words(page_of(office, stuck))
    idle = moveplans.make_rebalance(PoolKey("eu", "standard"), at_once=True, actor="system:tests", now=timezone.now())
    assert "There is nothing to move" in words(page_of(office, idle))
    assert visitor_with("view_cluster").get(f"/admin/placement/moveplan/{idle.pk}/export/").status_code == 403
    assert office.get(f"/admin/placement/moveplan/{tenant.pk}/export/").status_code == 404
    assert MovePlan.objects.count() == 2


# ---- regions and residency -------------------------------------------------------------------------------------------


def test_regions_and_what_is_near_them_are_told_at_the_desk(office):
    office.post("/admin/placement/region/add/", {"name": "eu", "title": "Europe", "neighbours": "us,ap"})
    region = Region.objects.get()
    assert (region.title, region.neighbours) == ("Europe", ["us", "ap"])
    act(office, region, "change", title="The continent", neighbours="ap")
    region.refresh_from_db()
    assert (region.title, region.neighbours) == ("The continent", ["ap"])
    refused = office.post("/admin/placement/nearness/add/", {"place": "Germany", "region": "eu"})
    assert "place" in refused.context["form"].errors
    office.post("/admin/placement/nearness/add/", {"place": "DE", "region": "eu"})
    answer = act(office, Nearness.objects.get(), "forget")
    assert answer.redirect_chain[-1][0] == "/admin/placement/nearness/"
    assert not Nearness.objects.exists()
    told = AuditEvent.objects.across_tenants().filter(verb__startswith="region.").order_by("id").values_list("verb", "actor")
    assert list(told) == [(f"region.{verb}", "operator:olga") for verb in ("describe", "describe", "learn", "unlearn")]


def test_a_tenants_residency_is_changed_where_its_cluster_keeps_it(office, fleet_clusters):
    fleet_clusters(residency="de")
    tenant = settled()
    assert "has to move to another cluster first" in act(office, tenant, "residency", residency="us").content.decode()
    act(office, tenant, "residency", residency="de")
    tenant.refresh_from_db()
    assert tenant.residency == "de"
