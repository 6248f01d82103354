"""The doors of a network policy in one process: versions and their tags, refusals with their places, and what the questions answer."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from django.test import Client
from django.utils import timezone

from placement.models import Binding, ClusterPolicy, Device
from tenants import lifecycle
from tenants.models import AuditEvent, PolicyVersion
from tests import factories
from tests.api.callers import operator, program_of, said
from tests.fakes.fleet_server import serving

pytestmark = pytest.mark.django_db
WEB = '{"tagOwners": {"tag:web": []}, "acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["tag:web:443"]}]}'


@contextmanager
def living(fleet_clusters, account="acme", **devices):
    """A tenant on a served cluster with devices: `laptop=""` is untagged, `shop="web"` has a tag."""
    cluster = fleet_clusters()
    with serving(cluster) as server:
        tenant = factories.tenant(account)
        Binding.objects.create(tenant=tenant, cluster=cluster.row, headscale_user_id=1, expected_load=5, reason="tests")
        for number, (name, tag) in enumerate(devices.items(), 1):
            Device.objects.create(
                tenant=tenant, cluster=cluster.row, node_id=number, machine_key=f"m{number}", node_key=f"n{number}", name=name, hostname=name,
                ipv4=f"100.64.7.{number}", tags=[f"tag:{account}--{tag}"] if tag else [], joined_at=timezone.now(), seen_at=timezone.now(),
            )  # fmt: skip
        yield tenant, server


def put(program, text, match, account="acme", **more):
    headers = {} if match is None else {"If-Match": match}
    return program.call("PUT", f"tenants/{account}/policy", {"text": text, **more}, **headers)


def test_without_any_version_the_default_is_version_0(db):
    program = program_of(factories.tenant("acme"))
    answer = program.get("tenants/acme/policy")
    assert (answer.json()["version"], answer.json()["text"], answer["ETag"]) == (0, "", '"0"')
    assert said(program.post("tenants/acme/policy/rollback", {"expected": 0})) == (409, "wrong-state")


def test_a_text_is_stored_read_as_it_was_written_and_rolled_back(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, _):
        program = program_of(tenant)
        assert said(put(program, WEB, None)) == (428, "version-required")
        assert said(put(program, WEB, "*")) == (428, "version-required")
        assert said(put(program, WEB, "W/7")) == (400, "malformed-request")
        first = put(program, WEB, '"0"', note="webs only")
        assert (first.status_code, first["ETag"], first.json()["version"]) == (200, '"1"', 1)
        assert first.json()["verdict"]["proven_on"]
        assert (first.json()["note"], first.json()["author"].split(":")[0]) == ("webs only", "token")
        again = put(program, WEB, '"1"')
        assert again.json()["version"] == 1, "the same text again is no new version"
        stale = put(program, "{}", '"0"')
        assert said(stale) == (412, "stale-version")
        assert stale.json()["current_version"] == 1
        raw = Client().generic(
            "PUT", "/api/v1/tenants/acme/policy", f"// as it is\n{WEB}", content_type="application/hujson",
            headers={"Authorization": f"Bearer {program.secret}", "If-Match": '"1"', "Accept": "application/hujson"},
        )  # fmt: skip
        assert (raw.status_code, raw["Content-Type"], raw.content.decode()) == (
            200,
            "application/hujson; charset=utf-8",
            f"// as it is\n{WEB}",
        )
        assert program.get("tenants/acme/policy/versions/1").json()["text"] == WEB
        assert "+// as it is" in program.get("tenants/acme/policy/versions/2/diff").json()["diff"]
        assert program.get("tenants/acme/policy/versions/2/diff?against=2").json()["diff"] == ""
        assert said(program.post("tenants/acme/policy/rollback", {})) == (428, "version-required")
        assert said(program.post("tenants/acme/policy/rollback", {"expected": 1})) == (409, "stale-version")
        back = program.post("tenants/acme/policy/rollback", {"expected": 2})
        assert (back.json()["version"], back.json()["restores"], back.json()["text"]) == (3, 1, WEB)
        default = program.post("tenants/acme/policy/rollback", {"expected": 3, "to": 0})
        assert (default.json()["restores"], default.json()["text"]) == (0, "")
        assert said(program.post("tenants/acme/policy/rollback", {"expected": 4, "to": 9})) == (409, "wrong-state")
        assert [row["version"] for row in program.get("tenants/acme/policy/versions").json()["results"]] == [4, 3, 2, 1]
        assert AuditEvent.objects.of(tenant).filter(verb="policy.put").count() == 4
        assert ClusterPolicy.objects.get().wanted >= 4


def test_a_refused_text_tells_every_fault_with_its_place_and_stores_nothing(fleet_clusters):
    with living(fleet_clusters, laptop="") as (tenant, _):
        program = program_of(tenant)
        text = (
            '{"acls": [\n {"action": "accept", "src": ["tag:x"], "dst": ["nobody:*"]},\n {"action": "drop", "src": ["*"], "dst": ["*:*"]}]}'
        )
        for answer in (
            put(program, text, '"0"'),
            program.post("tenants/acme/policy/validate", {"text": text}),
            program.post("tenants/acme/policy/preview", {"text": text}),
        ):
            assert said(answer) == (422, "policy-refused")
            faults = answer.json()["faults"]
            assert [(fault["line"], fault["path"]) for fault in faults] == [(2, "acls[0].src[0]"), (3, "acls[1].action")]
        unknown = put(program, '{"acls": [{"action": "accept", "src": ["laptop"], "dst": ["printer:9100"]}]}', '"0"').json()["faults"]
        assert [(fault["path"], "printer" in fault["reason"]) for fault in unknown] == [("acls[0].dst[0]", True)]
        assert not PolicyVersion.objects.of(tenant).exists()


def test_own_tests_that_fail_are_told_with_their_path(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, _):
        tested = json.dumps({**json.loads(WEB), "tests": [{"src": "laptop", "accept": ["tag:web:443", "tag:web:22"]}]})
        answer = put(program_of(tenant), tested, '"0"')
        assert said(answer) == (422, "policy-not-proven")
        assert [fault["path"] for fault in answer.json()["faults"]] == ["tests[0].accept[1]"]


def test_what_the_server_says_no_to_is_not_stored(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, server):
        server.rejects_policies = "grants: not today"
        assert said(put(program_of(tenant), WEB, '"0"')) == (422, "policy-not-proven")
        assert not PolicyVersion.objects.of(tenant).exists()


def test_a_dead_cluster_is_an_error_of_its_own_and_nothing_is_stored(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, server):
        server.stop()
        server.stop = lambda: None
        assert said(put(program_of(tenant), WEB, '"0"')) == (503, "cluster-busy")
        assert not PolicyVersion.objects.of(tenant).exists()
        assert program_of(tenant).post("tenants/acme/policy/preview", {"text": WEB}).status_code == 200


def test_a_tenant_that_lives_nowhere_stores_too_and_is_told_what_is_unproven(db):
    tenant = factories.tenant("acme")
    tested = json.dumps({**json.loads(WEB), "tests": [{"src": "tag:web", "deny": ["tag:web:22"]}]})
    stored = put(program_of(tenant), tested, '"0"').json()
    assert (stored["version"], stored["verdict"]["proven_on"]) == (1, "")
    assert [fault["path"] for fault in stored["verdict"]["unproven"]] == ["tests[0].src"]


def test_a_preview_tells_the_table_what_changes_and_what_is_said_in_vain(fleet_clusters):
    with living(fleet_clusters, laptop="", phone="", shop="web") as (tenant, _):
        text = json.dumps({**json.loads(WEB), "groups": {"group:idle": ["laptop"]}})
        seen = program_of(tenant).post("tenants/acme/policy/preview", {"text": text}).json()
        assert [(one["word"], [each["name"] for each in one["members"]]) for one in seen["matrix"]["classes"]] == [
            ("autogroup:member", ["laptop", "phone"]), ("", ["shop"]),
        ]  # fmt: skip
        assert seen["matrix"]["cells"] == [{"src": 0, "dst": 1, "services": ["443"]}]
        assert seen["gained"] == []
        assert sorted(change["services"] for change in seen["lost"]) == [["*"], ["*"], ["0-442", "444-65535"]]
        assert [one["code"] for one in seen["warnings"]] == ["unused-group"]
        assert seen["cost"]["form"] in ("self", "literal")
        assert not PolicyVersion.objects.of(tenant).exists()


def test_reach_and_its_reasons(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, _):
        program = program_of(tenant)
        assert put(program, WEB, '"0"').status_code == 200
        assert program.get("tenants/acme/policy/reach").json()["cells"] == [{"src": 0, "dst": 1, "services": ["443"]}]
        yes = program.get("tenants/acme/policy/explain?src=laptop&dst=tag:web&service=tcp:443").json()
        assert (yes["admitted"], [rule["path"] for rule in yes["rules"]]) == (True, ["acls[0]"])
        no = program.get("tenants/acme/policy/explain?src=shop&dst=laptop").json()
        assert (no["admitted"], no["reason"]) == (False, "no-rule-names-either")
        for query in ("src=nobody&dst=shop", "src=laptop", "src=laptop&dst=shop&service=80,443", "src=laptop&dst=shop&more=1"):
            assert said(program.get(f"tenants/acme/policy/explain?{query}")) == (400, "malformed-request")


def test_who_may_read_does_not_store_and_checks_are_reading(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, _):
        reader = program_of(tenant, "policy_file:read")
        for path in ("policy", "policy/versions", "policy/reach"):
            assert reader.get(f"tenants/acme/{path}").status_code == 200
        for path in ("policy/validate", "policy/preview"):
            assert reader.post(f"tenants/acme/{path}", {"text": WEB}).status_code == 200
        assert said(put(reader, WEB, '"0"')) == (403, "missing-scope")
        assert said(reader.post("tenants/acme/policy/rollback", {"expected": 0})) == (403, "missing-scope")
        assert said(program_of(tenant, "auth_keys").get("tenants/acme/policy")) == (403, "missing-scope")
        lifecycle.suspend(tenant, now=timezone.now(), actor="system:tests")
        assert said(put(program_of(tenant), WEB, '"0"')) == (403, "tenant-suspended")
        assert put(operator(), WEB, '"0"').status_code == 200


def test_bodies_are_bounded_and_texts_are_unicode(db):
    program = program_of(factories.tenant("acme"))
    assert said(put(program, "/" * 250_001, '"0"')) == (400, "malformed-request")
    assert said(put(program, "x" * 2_100_000, '"0"')) == (400, "malformed-request")
    long = f"// {'é' * 200_000}\n{WEB}"
    assert put(program, long, '"0"').status_code == 200
    assert program.get("tenants/acme/policy").json()["text"] == long
    for body in (b"\xff\xfe", b'{"acls": []}\x00'):
        answer = Client().generic(
            "PUT", "/api/v1/tenants/acme/policy", body, content_type="application/hujson",
            headers={"Authorization": f"Bearer {program.secret}", "If-Match": '"1"'},
        )  # fmt: skip
        assert said(answer) == (400, "malformed-request")
