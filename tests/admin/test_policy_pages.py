"""The operators' pages of network policies: what counts and what runs, who reaches what and why, and the two steps to a new version."""

from __future__ import annotations

import re

import pytest
from django.utils import timezone

from placement.models import Device
from tenants import netpolicy
from tenants.models import AuditEvent, NetworkPolicy, PolicyVersion
from tests import factories
from tests.api.test_policy_door import WEB, living

pytestmark = pytest.mark.django_db
ACTED = {"actor": "system:tests"}


def words(answer):
    html = answer.content.decode()
    assert "style=" not in html
    assert "<script>" not in html
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("&#x27;", "'")


def put(tenant, text, expected=None):
    return netpolicy.put(tenant, text, expected=expected, now=timezone.now(), **ACTED)


def test_the_list_tells_which_version_counts_which_runs_and_what_is_in_the_way(office):
    one, two = factories.tenant("acme"), factories.tenant("bolt")
    put(one, "{}"), put(one, WEB), put(two, WEB)
    NetworkPolicy.objects.of(one).update(
        running=netpolicy.version(one, 1), trouble="the server refuses this policy", trouble_at=timezone.now()
    )
    text = words(office.get("/admin/tenants/networkpolicy/"))
    assert "acme 2 1 behind the server refuses this policy" in text
    assert "bolt 1 none yet" in text
    assert "bolt" not in words(office.get("/admin/tenants/networkpolicy/", {"has_trouble_at": "1"}))


def test_a_version_shows_its_text_and_what_it_changed(office):
    tenant = factories.tenant("acme")
    put(tenant, "{\n  // one\n}"), put(tenant, "{\n  // <two>\n}")
    answer = office.get(f"/admin/tenants/policyversion/{netpolicy.version(tenant, 2).pk}/change/")
    assert '<span class="diff-removed">-  // one' in answer.content.decode()
    assert '<span class="diff-added">+  // &lt;two&gt;' in answer.content.decode()
    assert "version 2" in words(office.get(f"/admin/tenants/networkpolicy/{tenant.pk}/change/")).lower()


def test_who_reaches_what_is_a_table_and_an_answer_with_its_rule(office, fleet_clusters):
    with living(fleet_clusters, laptop="", phone="", shop="web") as (tenant, _):
        put(tenant, WEB)
        html = office.get("/admin/placement/policies/acme/")
        text = words(html)
        assert html.content.decode().count('class="reached"') == 1
        assert "autogroup:member 2 laptop phone – 443" in text
        yes = words(office.get("/admin/placement/policies/acme/", {"src": "laptop", "dst": "shop", "service": "tcp:443"}))
        assert "reaches laptop reaches shop. By these rules acls[0] (line 1) → 443" in yes
        no = words(office.get("/admin/placement/policies/acme/", {"src": "shop", "dst": "laptop"}))
        assert "does not reach No rule has shop as a source" in no
        assert "This stands for nothing" in words(office.get("/admin/placement/policies/acme/", {"src": "shop", "dst": "nobody"}))


def test_many_kinds_of_devices_become_a_list_of_pairs(office, fleet_clusters):
    devices = {f"d-{n}": f"t{n}" for n in range(14)}
    with living(fleet_clusters, **devices) as (tenant, _):
        owners = ", ".join(f'"tag:t{n}": []' for n in range(14))
        rules = ", ".join(f'{{"action": "accept", "src": ["tag:t{n}"], "dst": ["tag:t{(n + 1) % 14}:{n + 1}"]}}' for n in range(14))
        put(tenant, f'{{"tagOwners": {{{owners}}}, "acls": [{rules}]}}')
        assert "too many for a table" in words(office.get("/admin/placement/policies/acme/"))


def test_a_text_is_looked_at_and_then_stored_as_it_was_looked_at(office, fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, _):
        page = "/admin/placement/policies/acme/edit/"
        assert "Look at what it would change" in office.get(page).content.decode()
        crlf = WEB.replace(", ", ",\r\n", 1)
        looked = office.post(page, {"text": crlf, "note": "webs", "expected": "0", "look": "1"})
        text = words(looked)
        assert "Pairs that lose 2" in text
        assert "Gained" not in text
        assert not PolicyVersion.objects.of(tenant).exists()
        hidden = {name: looked.context["form"][name].value() for name in ("text", "note", "expected")}
        stored = office.post(page, {**hidden, "store": "1"}, follow=True)
        assert "Version 1 counts now." in words(stored)
        version = netpolicy.current(tenant)
        assert (version.text, version.author, version.note) == (WEB.replace(", ", ",\n", 1), "operator:olga", "webs")
        assert AuditEvent.objects.of(tenant).filter(verb="policy.put", actor="operator:olga").exists()
        again = office.post(page, {"text": "{}", "expected": "0", "store": "1"})
        assert "Version 1 counts now. Nothing of yours was stored" in words(again)
        assert "operator:olga has changed this" in words(again)
        assert netpolicy.current(tenant).number == 1


def test_faults_are_shown_with_line_and_column_and_nothing_is_stored(office, fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, server):
        page = "/admin/placement/policies/acme/edit/"
        broken = '{"acls": [\n  {"action": "accept", "src": ["tag:wbe"], "dst": ["*:*"]}\n]}'
        for button in ("look", "store"):
            text = words(office.post(page, {"text": broken, "expected": "0", button: "1"}))
            assert "line 2, column 32" in text
            assert "acls[0].src[0]" in text
        failing = WEB[:-1] + ', "tests": [{"src": "laptop", "accept": ["tag:web:22"]}]}'
        assert "Tests that fail" in words(office.post(page, {"text": failing, "expected": "0", "look": "1"}))
        assert "own tests fail" in words(office.post(page, {"text": failing, "expected": "0", "store": "1"}))
        server.rejects_policies = "not today"
        assert "not today" in words(office.post(page, {"text": WEB, "expected": "0", "store": "1"}))
        assert not PolicyVersion.objects.of(tenant).exists()


def test_the_pages_are_for_those_with_the_rights(visitor_with):
    factories.tenant("acme")
    viewer = visitor_with("view_networkpolicy")
    assert viewer.get("/admin/placement/policies/acme/").status_code == 200
    assert viewer.get("/admin/placement/policies/acme/edit/").status_code == 403
    assert viewer.get("/admin/placement/policies/nobody/").status_code == 404


def test_they_are_not_for_others(visitor_with):
    factories.tenant("acme")
    assert visitor_with("view_tenant").get("/admin/placement/policies/acme/").status_code == 403


def test_a_thousand_devices_make_a_page_that_can_be_read(office, fleet_clusters, django_assert_max_num_queries):
    with living(fleet_clusters, laptop="") as (tenant, _):
        cluster = Device.objects.of(tenant).get().cluster
        Device.objects.bulk_create(
            Device(tenant=tenant, cluster=cluster, node_id=100 + n, machine_key=f"m{n}", node_key=f"n{n}", name=f"d-{n:04}",
                   ipv4=f"100.65.{n // 250}.{n % 250}", tags=["tag:acme--web"] if n % 2 else [], joined_at=timezone.now(), seen_at=timezone.now())
            for n in range(1000)
        )  # fmt: skip
        put(tenant, WEB)
        with django_assert_max_num_queries(25):
            html = office.get("/admin/placement/policies/acme/").content.decode()
        assert "and 461 more" in html
        assert len(html) < 60_000
