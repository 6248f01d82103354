"""A text becomes a policy: in which order it is asked, what is stored together, who is told what, and what no server has to be asked for."""

from __future__ import annotations

import json

import psycopg
import pytest
from django.utils import timezone

from placement.errors import ClusterUnreachable, PolicyNotProven
from placement.models import ClusterPolicy, Device
from placement.policies import storing
from placement.policies.preview import preview
from tenants import lifecycle, netpolicy
from tenants.errors import MalformedRequest, StaleVersion, WrongState
from tenants.models import AuditEvent, NetworkPolicy, PolicyVersion
from tenants.policies.document import PolicyRefused
from tests import factories
from tests.api.test_policy_door import WEB, living
from tests.conftest import url_as

pytestmark = pytest.mark.django_db
NOW = timezone.now
TESTED = WEB[:-1] + ', "tests": [{"src": "laptop", "accept": ["tag:web:443"], "deny": ["tag:web:22"]}]}'


def acted(**more):
    return {"actor": "system:tests", "now": NOW(), **more}


# ---- versions --------------------------------------------------------------------------------------------------------


def test_versions_count_from_one_and_the_same_text_makes_none():
    tenant = factories.tenant()
    assert [netpolicy.put(tenant, text, expected=None, **acted()).number for text in ("a", "b", "b", "a", " \n")] == [1, 2, 2, 3, 4]
    assert netpolicy.current(tenant).text == "", "nothing but space is the default policy"
    assert [each.number for each in netpolicy.versions(tenant)] == [4, 3, 2, 1]
    assert AuditEvent.objects.of(tenant).filter(verb="policy.put").count() == 4


def test_who_has_not_seen_the_current_version_is_told_which_it_is():
    tenant = factories.tenant()
    for expected in (1, 7):
        with pytest.raises(StaleVersion) as stale:
            netpolicy.put(tenant, "a", expected=expected, **acted())
        assert stale.value.current == 0
    netpolicy.put(tenant, "a", expected=0, **acted())
    for expected in (0, 2):
        with pytest.raises(StaleVersion) as stale:
            netpolicy.put(tenant, "a", expected=expected, **acted())
        assert stale.value.current == 1


def test_a_text_that_is_too_long_and_a_closed_tenant_are_refused():
    tenant = factories.tenant()
    with pytest.raises(MalformedRequest) as refusal:
        netpolicy.put(tenant, "x" * 250_001, expected=0, note="n" * 201, **acted())
    assert refusal.value.errors.keys() == {"text", "note"}
    lifecycle.close(tenant, **acted())
    tenant.refresh_from_db()
    with pytest.raises(WrongState):
        netpolicy.put(tenant, "x", expected=0, **acted())
    with pytest.raises(WrongState):
        storing.check(tenant, "{}", NOW())


def test_a_difference_is_unified_and_begins_with_nothing():
    tenant = factories.tenant()
    one, two = (netpolicy.put(tenant, text, expected=None, **acted()) for text in ("a\nb\n", "a\nc\n"))
    assert netpolicy.diff(one, two) == "--- version 1\n+++ version 2\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    assert netpolicy.diff(None, one).endswith("+a\n+b\n")
    assert netpolicy.diff(two, two) == ""


def test_a_stored_version_never_changes():
    tenant = factories.tenant()
    netpolicy.put(tenant, "{}", expected=0, **acted())
    with psycopg.connect(url_as("acs_web"), autocommit=True) as web:
        for statement in ("update tenants_policyversion set text = ''", "delete from tenants_policyversion"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                web.execute(statement)


# ---- the order -------------------------------------------------------------------------------------------------------


def test_what_passes_is_stored_with_a_wish_for_a_push(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, _):
        done = storing.store(tenant, TESTED, expected=0, note="why", **acted())
        assert (done.version.number, done.verdict.passed, done.verdict.unproven) == (1, 2, ())
        assert NetworkPolicy.objects.of(tenant).get().running is None
        assert ClusterPolicy.objects.get().wanted == 1
        assert done.verdict.proven_on == ClusterPolicy.objects.get().cluster_id


def test_each_refusal_comes_before_the_next_question_and_stores_nothing(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, server):
        server.rejects_policies = "the server would say no"
        asked = [
            (("{", 3), StaleVersion),
            (("{", 0), PolicyRefused),
            (('{"acls": [{"action": "accept", "src": ["nobody"], "dst": ["*:*"]}]}', 0), PolicyRefused),
            ((TESTED.replace('"deny": ["tag:web:22"]', '"deny": ["tag:web:443"]'), 0), PolicyNotProven),
        ]
        for (text, expected), refusal in asked:
            with pytest.raises(refusal):
                storing.store(tenant, text, expected=expected, **acted())
        with pytest.raises(PolicyNotProven) as told:
            storing.store(tenant, TESTED, expected=0, **acted())
        assert "the server would say no" not in str(told.value), "it may speak of other tenants"
        assert "the server would say no" in told.value.evidence
        server.stop()
        server.stop = lambda: None
        with pytest.raises(ClusterUnreachable):
            storing.store(tenant, TESTED, expected=0, **acted())
        assert not PolicyVersion.objects.of(tenant).exists()
        assert not ClusterPolicy.objects.filter(wanted__gt=0).exists()


def test_words_that_only_a_neighbour_has_are_as_unknown_as_any(fleet_clusters):
    with living(fleet_clusters, laptop="") as (tenant, _):
        neighbour = factories.tenant("bolt")
        row = Device.objects.of(tenant).get()
        Device.objects.create(
            tenant=neighbour, cluster=row.cluster, node_id=99, machine_key="m99", node_key="n99", name="vault", ipv4="100.64.9.9",
            joined_at=NOW(), seen_at=NOW(),
        )  # fmt: skip
        reasons = []
        for name in ("vault", "xault"):
            with pytest.raises(PolicyRefused) as refusal:
                storing.check(tenant, f'{{"acls": [{{"action": "accept", "src": ["*"], "dst": ["{name}:*"]}}]}}', NOW())
            reasons.append(refusal.value.faults[0].reason.replace(name, "?"))
        assert reasons[0] == reasons[1]


# ---- going back ------------------------------------------------------------------------------------------------------


def test_rolling_back_is_a_new_version_that_says_which_it_restores(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, _):
        with pytest.raises(WrongState):
            storing.roll_back(tenant, expected=None, **acted())
        storing.store(tenant, WEB, expected=0, **acted()), storing.store(tenant, TESTED, expected=1, **acted())
        back = storing.roll_back(tenant, expected=2, **acted()).version
        assert (back.number, back.restores, back.text) == (3, 1, WEB)
        again = storing.roll_back(tenant, expected=3, to_number=2, **acted()).version
        assert (again.number, again.restores, again.text) == (4, 2, TESTED)
        for number in (4, 5, -1):
            with pytest.raises(WrongState):
                storing.roll_back(tenant, expected=4, to_number=number, **acted())
        with pytest.raises(StaleVersion):
            storing.roll_back(tenant, expected=3, **acted())
        assert storing.roll_back(tenant, expected=4, to_number=0, **acted()).version.text == ""


def test_an_earlier_text_is_checked_again_for_the_world_may_have_changed(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, _):
        storing.store(
            tenant,
            '{"acls": [{"action": "accept", "src": ["laptop"], "dst": ["*:*"]}]}'.replace("{", '{"tagOwners": {"tag:web": []}, ', 1),
            expected=0,
            **acted(),
        )
        storing.store(tenant, WEB, expected=1, **acted())
        Device.objects.of(tenant).filter(name="laptop").update(gone_at=NOW())
        with pytest.raises(PolicyRefused):
            storing.roll_back(tenant, expected=2, **acted())


def test_the_default_policy_can_be_had_back_whatever_tags_there_are(fleet_clusters):
    with living(fleet_clusters, laptop="", shop="web") as (tenant, _):
        with pytest.raises(PolicyRefused, match="tag:web is still carried"):
            storing.store(tenant, "{}", expected=0, **acted())
        storing.store(tenant, WEB, expected=0, **acted())
        assert storing.store(tenant, "", expected=1, **acted()).version.text == ""


def test_a_stored_text_that_nobody_can_read_any_more_does_not_keep_its_tenant_from_a_better_one(fleet_clusters):
    nowhere = factories.tenant()
    netpolicy.put(nowhere, "{broken", expected=0, **acted())
    assert storing.world_of(nowhere).reach.statements == ()
    assert storing.store(nowhere, "{}", expected=1, **acted()).version.number == 2
    with living(fleet_clusters, laptop="", phone="") as (tenant, _):
        netpolicy.put(tenant, "{broken", expected=0, **acted())
        assert storing.world_of(tenant).reach.statements == ()
        assert storing.store(tenant, "{}", expected=1, **acted()).version.number == 2


def test_few_words_that_are_very_many_names_are_refused_before_anything_is_made_of_them():
    """Five hundred tags that every one of two thousand rules stands for: 200 MB for the server."""
    tags = {f"tag:{'x' * 35}{number:04}"[:44]: [] for number in range(500)}
    rules = [{"action": "accept", "src": ["*"], "dst": [f"*:{port}"]} for port in range(1, 2001)]
    text = json.dumps({"tagOwners": tags, "acls": rules})
    tenant = factories.tenant()
    for ask in (lambda: storing.check(tenant, text, NOW()), lambda: preview(tenant, text)):
        with pytest.raises(PolicyRefused) as refused:
            ask()
        assert "too long" in str(refused.value)
