"""Network policies in a real browser: the list, a version, who reaches what and why, and the way to a new version, in both languages and sizes."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from placement.models import Binding, Device
from tenants import netpolicy
from tests import factories
from tests.fakes.fleet_server import serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.browser]

OWNERS = {"tag:web": [], "tag:db": [], "tag:router": []}
FIRST = {"tagOwners": OWNERS, "acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["*:*"]}]}
SECOND = {
    "groups": {"group:admins": ["laptop-01"], "group:idle": ["laptop-02"]},
    "tagOwners": OWNERS,
    "acls": [
        {"action": "accept", "src": ["autogroup:member"], "dst": ["tag:web:80,443"]},
        {"action": "accept", "src": ["tag:web"], "dst": ["tag:db:5432"]},
        {"action": "accept", "src": ["group:admins"], "dst": ["tag:web:22", "tag:db:22", "10.20.0.0/16:*"]},
    ],
    "tests": [{"src": "laptop-02", "deny": ["tag:db:5432"]}],
}


def acme(cluster):
    tenant = factories.tenant("acme")
    Binding.objects.create(tenant=tenant, cluster=cluster.row, headscale_user_id=1, expected_load=5, reason="tests")
    names = [
        *((f"laptop-{n:02}", "") for n in range(1, 31)),
        *((f"web-{n}", "web") for n in range(1, 4)),
        ("orders-database", "db"),
        ("router", "router"),
    ]
    for number, (name, tag) in enumerate(names, 1):
        Device.objects.create(
            tenant=tenant, cluster=cluster.row, node_id=number, machine_key=f"m{number}", node_key=f"n{number}", name=name, hostname=name,
            ipv4=f"100.64.7.{number}", tags=[f"tag:acme--{tag}"] if tag else [], joined_at=timezone.now(), seen_at=timezone.now(),
        )  # fmt: skip
    netpolicy.put(tenant, json.dumps(FIRST, indent=2), expected=0, note="to begin with", actor="operator:olga", now=timezone.now())
    return tenant


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_policy_is_read_asked_and_edited_in_two_steps(language, at_the_browser, fleet_cluster):
    olga, tenant = at_the_browser, acme(fleet_cluster)
    if language != "en":
        olga.goes("/admin/")
        with olga.page.expect_navigation():
            olga.page.locator("form.language button").click()
    with serving(fleet_cluster):
        olga.goes("/admin/placement/policies/acme/edit/")
        olga.shows(f"policy-edit-{language}")
        olga.page.fill("#id_text", '{"acls": [\n  {"action": "accept", "src": ["tag:wbe"], "dst": ["*:*"]},\n]}')
        press(olga, "look")
        assert olga.page.locator(".faults li").count() == 1
        olga.shows(f"policy-faults-{language}")
        olga.page.fill("#id_text", json.dumps(SECOND, indent=2))
        olga.page.fill("#id_note", "least privilege")
        press(olga, "look")
        olga.shows(f"policy-preview-{language}")
        press(olga, "store")
    assert netpolicy.current(tenant).number == 2
    assert netpolicy.current(tenant).text == json.dumps(SECOND, indent=2)
    olga.shows(f"policy-{language}")
    olga.goes(f"/admin/tenants/policyversion/{netpolicy.current(tenant).pk}/change/")
    olga.shows(f"policy-version-{language}")
    for name in ("networkpolicy", "policyversion"):
        olga.goes(f"/admin/tenants/{name}/")
        olga.shows(f"{name}-list-{language}")
    olga.goes("/admin/placement/policies/acme/?src=laptop-02&dst=orders-database&service=tcp%3A5432")
    olga.page.locator(".reach summary").first.click()
    olga.shows(f"policy-reach-{language}")
    if language == "en":
        olga.page.emulate_media(color_scheme="dark")
        olga.shows("policy-reach-dark")


def press(olga, name):
    with olga.page.expect_navigation():
        olga.page.locator(f"input[name={name}]").click()
