"""Network policies through a live service: editors that race, a server of ours that is asked, and what the command tells."""

from __future__ import annotations

import json
from collections import Counter

import httpx2
import pytest
from django.utils import timezone

from placement.models import Binding, ClusterPolicy, Device
from tenants.models import AuditEvent, NetworkPolicy, PolicyVersion
from tests import factories
from tests.api.callers import program_of
from tests.conftest import manage
from tests.fakes.fleet_server import serving
from tests.live import race, run_web

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]
WEB = '{"tagOwners": {"tag:web": []}, "acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["tag:web:443"]}]}'


def settled(cluster, account, **devices):
    tenant = factories.tenant(account)
    Binding.objects.create(tenant=tenant, cluster=cluster.row, headscale_user_id=1, expected_load=5, reason="tests")
    for number, (name, tag) in enumerate(devices.items(), 1):
        Device.objects.create(
            tenant=tenant, cluster=cluster.row, node_id=number, machine_key=f"m{number}", node_key=f"n{number}", name=name, hostname=name,
            ipv4=f"100.64.7.{number}", tags=[f"tag:{account}--{tag}"] if tag else [], joined_at=timezone.now(), seen_at=timezone.now(),
        )  # fmt: skip
    return tenant


def put(service, program, text, match, account="acme"):
    return httpx2.put(
        f"{service.url}/api/v1/tenants/{account}/policy", json={"text": text}, timeout=60,
        headers={"Authorization": f"Bearer {program.secret}", "If-Match": f'"{match}"'},
    )  # fmt: skip


def test_of_editors_who_saw_the_same_version_exactly_one_wins_each_round(fleet_cluster, tmp_path):
    tenant = settled(fleet_cluster, "acme", laptop="", shop="web")
    program = program_of(tenant)
    with serving(fleet_cluster), run_web(tmp_path) as service:
        for seen in range(3):
            answers = race(8, lambda n, seen=seen: put(service, program, WEB.replace("443", str(1000 * (seen + 1) + n)), seen))
            assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 7}, [answer.text for answer in answers]
            assert {answer.json().get("current_version", answer.text) for answer in answers if answer.status_code == 412} == {seen + 1}
            winner = next(answer.json() for answer in answers if answer.status_code == 200)
            assert NetworkPolicy.objects.of(tenant).get().current.text == winner["text"]
    assert [row.number for row in PolicyVersion.objects.of(tenant).order_by("number")] == [1, 2, 3]
    assert AuditEvent.objects.of(tenant).filter(verb="policy.put").count() == 3
    assert ClusterPolicy.objects.get().wanted >= 3


def test_the_doors_rights_suffice_for_all_that_a_tenant_does_with_its_policy(fleet_cluster, tmp_path):
    tenant = settled(fleet_cluster, "acme", laptop="", shop="web")
    program = program_of(tenant)
    headers = {"Authorization": f"Bearer {program.secret}"}
    with (
        serving(fleet_cluster),
        run_web(tmp_path) as service,
        httpx2.Client(base_url=f"{service.url}/api/v1/tenants/acme/policy", headers=headers, timeout=60) as client,
    ):
        assert put(service, program, WEB, 0).status_code == 200
        assert client.post("/validate", json={"text": WEB}).json()["proven_on"] == fleet_cluster.cluster_id
        assert client.post("/preview", json={"text": ""}).json()["gained"]
        assert client.get("/explain", params={"src": "laptop", "dst": "shop"}).json()["admitted"] is True
        assert client.get("/reach").json()["cells"]
        assert client.post("/rollback", json={"expected": 1}).json()["restores"] == 0
        text = client.get(f"{service.url}/api/v1/tenants/acme/policy", headers={"Accept": "application/hujson"})
        assert (text.headers["content-type"], text.headers["etag"], text.text) == ("application/hujson; charset=utf-8", '"2"', "\n")


def test_the_command_tells_what_the_doors_tell(fleet_cluster, tmp_path):
    settled(fleet_cluster, "acme", laptop="", phone="", shop="web")
    (file := tmp_path / "policy.hujson").write_text(WEB)
    (broken := tmp_path / "broken.hujson").write_text('{"acls": [\n {"action": "accept", "src": ["tag:x"], "dst": ["*:*"]}]}')

    def policy(*words, **more):
        return manage("policy", *words, role="web", **more)

    with serving(fleet_cluster):
        assert "default policy" in policy("show", "acme").stderr
        assert f"proven on {fleet_cluster.cluster_id}" in policy("check", "acme", str(file)).stdout
        refused = policy("set", "acme", str(broken), "--expected", "0", check=False)
        assert refused.returncode != 0
        assert "line 2, column 31" in refused.stderr
        assert "[acls[0].src[0]]" in refused.stderr
        seen = policy("preview", "acme", str(file)).stdout
        assert "autogroup:member (2)" in seen
        assert "lost: autogroup:member (2) -> autogroup:member (2): *" in seen
        assert "version 1 counts" in policy("set", "acme", str(file), "--expected", "0", "--note", "webs").stdout
        stale = policy("set", "acme", str(file), "--expected", "0", check=False)
        assert "version 1 is current" in stale.stderr
        assert "yes: laptop reaches shop." in policy("explain", "acme", "laptop", "shop", "--service", "tcp:443").stdout
        assert "by acls[0] (line 1): 443" in policy("explain", "acme", "laptop", "shop", "--service", "tcp:443").stdout
        no = policy("explain", "acme", "shop", "laptop").stdout
        assert no.startswith("no: No rule has shop as a source")
        assert "stands for nothing" in policy("explain", "acme", "shop", "nobody", check=False).stderr
        assert "which restores 0" in policy("rollback", "acme").stdout
        assert json.loads(policy("show", "acme", "--version", "1").stdout) == json.loads(WEB)
        assert [line.split()[0] for line in policy("versions", "acme").stdout.splitlines()] == ["version", "2", "1"]
        assert "-{" in policy("diff", "acme").stdout
        assert "version 3 counts" in policy("set", "acme", str(file), "--force").stdout
