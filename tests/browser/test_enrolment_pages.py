"""Enrolment groups, single devices, trust policies and the page that tells why a device is not in its network, in a real browser."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from placement.diagnosis import notes
from placement.diagnosis.notes import Refused
from placement.models import Cluster, Device, Grant, Slot
from tenants import enrolments, groups, trust
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes, pytest.mark.browser]


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_enrolment_in_both_languages(language, at_the_browser, fleet_cluster):
    olga, now = at_the_browser, timezone.now()
    customer = factories.customer("acme-inc")
    tenant, acted = customer.tenant, {"now": now, "actor": "system:tests"}
    group, _secrets = groups.make(tenant, "tills", allowed=["till-*"], denied=["till-9"], max_devices=50, approval=True, **acted)
    trust.make(tenant, "ci", issuer="https://token.actions.githubusercontent.com", audience="acs", subject="repo:acme/app:*", **acted)
    enrolments.apply_for(tenant.pk, "till-7", key_id=group.pk, hostname="till-7", os="linux", now=now)
    enrolments.put(tenant, "till-8", state="disabled", reason="stolen in November", **acted)
    failing(customer, "till-7", now)
    joined(customer, fleet_cluster, "till-1", now)
    if language != "en":
        olga.goes("/admin/")
        with olga.page.expect_navigation():
            olga.page.locator("form.language button").click()
    for name in ("enrolmentgroup", "enrolmentgroup/add", "enrolment", "trustpolicy", "trustpolicy/add", "enrolmentkey"):
        olga.goes(f"/admin/tenants/{name}/")
        olga.shows(f"{name.replace('/', '-')}-{language}")
    olga.goes(f"/admin/tenants/enrolmentgroup/{group.pk}/change/")
    olga.shows(f"group-{language}")
    olga.goes(f"/admin/tenants/enrolmentgroup/{group.pk}/act/rotate-primary/")
    with olga.page.expect_navigation():
        olga.page.locator("#content-main input[type=submit]").click()
    assert re.search(r"acs-group-[\w-]{43}", olga.sees)
    olga.shows(f"group-secret-{language}")
    for name in ("refusal", "netreport", "devicelogin", "stockedkey"):
        olga.goes(f"/admin/placement/{name}/")
        olga.shows(f"{name}-list-{language}")
    olga.goes("/admin/placement/why/?registration_id=till-7")
    assert "443" in olga.sees
    assert "acme-inc" in olga.sees
    olga.shows(f"why-stalled-{language}")
    olga.goes("/admin/placement/why/?registration_id=till-1")
    olga.shows(f"why-reached-{language}")
    olga.goes("/admin/placement/why/?registration_id=nobody")
    olga.shows(f"why-unknown-{language}")


def failing(customer, device, now) -> None:
    """Refused twice, granted then, and its side reported: TCP 443 is closed."""
    for _ in range(2):
        notes.note(
            Refused(
                "quota-exceeded", "every device slot is taken", customer.account, device, "192.0.2.7", device, "linux", customer.tenant.pk
            ),
            now=now - timedelta(minutes=9),
        )
    grant(customer, device, now - timedelta(minutes=5))
    report = {"netcheck": {"UDP": False, "IPv6": False}, "probes": {"dns": "ok", "tcp": "timed out", "clock_off": 0.2}}
    notes.report(customer.tenant, device, report, by="system:tests", now=now)


def joined(customer, cluster, device, now) -> None:
    given = grant(customer, device, now - timedelta(minutes=5))
    Grant.objects.of(customer.tenant).filter(pk=given.pk).update(state="redeemed", redeemed_at=now, settled_at=now, key_id=7)
    for number, name in enumerate((device, "till-2")):
        Device.objects.create(
            tenant=customer.tenant, cluster=cluster.row, node_id=number + 1, slot=given.slot if number == 0 else None,
            grant=given if number == 0 else None, machine_key="m", node_key="n", hostname=name, name=name, online=True, first_online_at=now,
            joined_at=now, seen_at=now,
        )  # fmt: skip


def grant(customer, device, at) -> Grant:
    slot = Slot.objects.create(tenant=customer.tenant, registration_id=device, taken_at=at)
    return Grant.objects.create(
        tenant=customer.tenant, cluster=Cluster.objects.first(), slot=slot, enrolment_key=customer.key, state="issued",
        request_digest=b"x" * 32, hostname=device, keyring_id="t1", key_prefix=device[:12], key_id=hash(device) % 10**6 + 100,
        created_at=at, issued_at=at, expires_at=at + timedelta(hours=1),
    )  # fmt: skip
